"""The parts of the benchmarks that could lie: how samples become figures, and when a stream's text arrived."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_on_path() -> Iterator[None]:
    sys.path.append(str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def common() -> ModuleType:
    import common

    return common


@pytest.fixture(scope="module")
def streams() -> ModuleType:
    import streams

    return streams


def chunk(**fields: object) -> bytes:
    return b"data: " + json.dumps({"choices": [], **fields}).encode() + b"\n\n"


STREAM = [
    chunk(choices=[{"delta": {"role": "assistant", "content": ""}}]),
    chunk(choices=[{"delta": {"content": "星"}}]),
    b": ping\n\n",
    chunk(choices=[{"delta": {"content": "影"}}]),
    chunk(choices=[{"delta": {}, "finish_reason": "length"}]),
    chunk(usage={"prompt_tokens": 30, "completion_tokens": 5}),
    b"data: [DONE]\n\n",
]


def test_ratios_are_of_medians(common: ModuleType) -> None:
    """One repetition that was disturbed changes neither the median nor the ratio."""
    report = common.Report(title="", settings={}, build={}, busy_cpus_before=0.0)
    for ours, theirs in [(90.0, 100.0), (1.0, 100.0), (90.0, 5.0)]:
        report.add("ours", {"decode": ours})
        report.add("theirs", {"decode": theirs})
    assert report.ratios(["theirs"]) == {"theirs": {"ours": {"decode": 0.9}, "theirs": {"decode": 1.0}}}
    assert "| ours" in report.table(["theirs"])


@given(cuts=st.lists(st.integers(0, len(b"".join(STREAM))), max_size=12))
def test_text_is_timed_when_its_event_is_complete(cuts: list[int], streams: ModuleType) -> None:
    """However the bytes of a stream are cut, first and last text count from the piece that completed their event."""
    whole = b"".join(STREAM)
    borders = sorted({0, *cuts, len(whole)})
    arrivals = [(float(end), whole[start:end]) for start, end in pairwise(borders)]
    timing = streams._timing(arrivals)
    first_end, last_end = len(b"".join(STREAM[:2])), len(b"".join(STREAM[:4]))
    assert timing.first_text_s == next(end for end in borders if end >= first_end)
    assert timing.last_text_s == next(end for end in borders if end >= last_end)
    assert (timing.n_prompt, timing.n_completion, timing.text) == (30, 5, "星影")


def test_decode_explains_itself() -> None:
    """The script's help needs no build."""
    command = [sys.executable, str(BENCHMARKS / "decode.py"), "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--repetitions" in run.stdout
