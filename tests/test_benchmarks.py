"""The benchmarks: the parts that could lie (how samples become figures), and that every script runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from fake_nvml import build
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_on_path() -> Iterator[None]:
    sys.path.append(str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def report() -> ModuleType:
    import report

    return report


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


def test_ratios_are_of_medians(report: ModuleType) -> None:
    """One repetition that was disturbed changes neither the median nor the ratio."""
    found = report.Report(title="", settings={}, build={}, references=["theirs"], busy_cpus_before=0.0)
    for ours, theirs in [(90.0, 100.0), (1.0, 100.0), (90.0, 5.0)]:
        found.add("ours", {"decode": ours})
        found.add("theirs", {"decode": theirs})
    assert found.ratios() == {"theirs": {"ours": {"decode": 0.9}, "theirs": {"decode": 1.0}}}
    assert "| ours" in found.table()


@pytest.mark.parametrize(
    ("bounds", "is_met"), [({"at_least": 0.9}, True), ({"at_least": 0.91}, False), ({"at_most": 0.89}, False)]
)
def test_a_goal_is_met_or_not(bounds: dict[str, float], is_met: bool, report: ModuleType, tmp_path: Path) -> None:
    """A goal is judged by the medians, and a report that was written and read again says the same."""
    goal = report.Goal("fast enough", ("ours", "decode"), ("theirs", "decode"), **bounds)
    found = report.Report(title="", settings={}, build={}, goals=[goal], busy_cpus_before=0.0)
    found.add("ours", {"decode": 90.0})
    found.add("theirs", {"decode": 100.0})
    report.write_json(tmp_path / "found.json", [found])
    [again] = report.read_json(tmp_path / "found.json")
    assert (again.samples, again.goals) == (found.samples, [goal])
    assert goal.is_met(again.medians()) is is_met
    assert f"0.900 | {'yes' if is_met else ' no'} |" in again.goals_table()


def test_a_goal_without_its_peer_is_not_judged(report: ModuleType) -> None:
    """Without llama-server there is no ratio to it: neither met nor missed."""
    goal = report.Goal("fast enough", ("ours", "decode"), ("theirs", "decode"), at_least=1.0)
    found = report.Report(title="", settings={}, build={}, goals=[goal], busy_cpus_before=0.0)
    found.add("ours", {"decode": 90.0})
    assert "not measured" in found.goals_table()


def test_percentiles() -> None:
    """One slow answer in a hundred is the 99th percentile's business, not the median's."""
    from p99 import percentiles

    figures = percentiles([10.0] * 99 + [110.0])
    assert figures["p50"] == figures["p90"] == 10.0
    assert 10.0 < figures["p99"] < 20.0
    assert percentiles([10.0] * 97 + [110.0] * 3)["p99/p50"] == 11.0


def test_soak_counts_what_goes_wrong() -> None:
    """A visitor's failure is an error of the run, not the end of it."""
    from soak import Record

    class Unlucky:
        def do(self, name: str) -> None:
            raise ConnectionResetError(name)

    record = Record()
    record.do(Unlucky(), "plain")
    assert record.errors == {"plain": ["ConnectionResetError: plain"]}
    assert len(record.times_ms["plain"]) == 1


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


def run_script(script: str, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, arguments)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | environ
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def test_scripts_explain_themselves() -> None:
    """The help needs no build and no model."""
    for script in ("decode", "results"):
        run = run_script(script, "--help")
        assert run.returncode == 0, run.stderr
        assert "--quick" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("ttft", ["--no-peers"]),
        ("concurrency", ["--no-peers"]),
        ("long_context", ["--no-peers"]),
        ("p99", ["--no-peers"]),
        ("memory", ["--no-peers"]),
        ("soak", ["--minutes", "0.03"]),
        ("speculative", []),
    ],
)
def test_script_runs(
    script: str, options: list[str], report: ModuleType, tiny_model_path: Path, tmp_path: Path
) -> None:
    """Each script runs to its end with a tiny model, and what it shows is what it keeps."""
    output = tmp_path / "found.json"
    run = run_script(script, "--quick", "--model", tiny_model_path, "--threads", 1, "--json", output, *options)
    assert run.returncode == 0, run.stderr
    reports = report.read_json(output)
    assert all(len(measures) > 0 for found in reports for measures in found.samples.values())
    for found in reports:
        assert found.table() in run.stdout
    assert "error:" not in run.stdout  # soak's


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "candidate"),
    [
        ("decode", ["--no-peers"], "hoshikage HTTP"),
        ("quiet", [], "disconnect in prefill to free"),
        ("cancel", [], "hoshikage_core"),
        ("sampling", ["--no-peers"], "hoshikage"),
    ],
)
def test_script_runs_with_a_model_that_takes_its_time(
    script: str, options: list[str], candidate: str, report: ModuleType, smollm2_path: Path, tmp_path: Path
) -> None:
    """So that an answer does not come all at once, and a prompt can be left in the middle."""
    output = tmp_path / "found.json"
    run = run_script(script, "--quick", "--model", smollm2_path, "--json", output, *options)
    assert run.returncode == 0, run.stderr
    [found] = report.read_json(output)
    assert found.samples[candidate]
    assert found.table() in run.stdout


def test_gpu_memory(report: ModuleType, tiny_model_path: Path, tmp_path: Path) -> None:
    """As a driver tells it that is none; on a GPU the script is much the same."""
    build(tmp_path)
    (tmp_path / "nvml").write_text(f"device {300 * 2**20} 0 0\nprocess 1 1000\n")
    output = tmp_path / "found.json"
    arguments = ["--quick", "--model", tiny_model_path, "--threads", 1, "--json", output]
    run = run_script("vram", *arguments, LD_LIBRARY_PATH=str(tmp_path), FAKE_NVML=str(tmp_path / "nvml"))
    assert run.returncode == 0, run.stderr
    [found] = report.read_json(output)
    assert {name: figures for name, figures in found.samples["hoshikage"].items() if name != "release"} == {
        name: [0.0] for name in ("dark", "loaded", "left", "processes left")
    }
    assert "not measured" not in found.goals_table()


def test_a_script_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a driver's call: those after it have their turn all the same."""
    import results

    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "ENDING_S", 0.2)
    (tmp_path / "hangs.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n"
    )
    began = time.monotonic()
    assert results.run_script("hangs", [], 1) is None
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_results_page(tmp_path: Path) -> None:
    """The page has machine and goals of what ran, and says so of a script that did not."""
    page, plot = tmp_path / "RESULTS.md", tmp_path / "kept" / "http_overhead.png"
    has_plots = importlib.util.find_spec("matplotlib") is not None
    arguments = ["--quick", "--output", page, "--folder", plot.parent, *(["--plots"] if has_plots else [])]
    run = run_script("results", "--only", "http_overhead", *arguments)
    assert run.returncode == 0, run.stderr
    text = page.read_text(encoding="utf-8")
    assert "* machine: " in text
    assert "HTTP layer per streamed token" in text
    assert plot.exists() == has_plots
    run = run_script("results", "--only", "decode", "--model", tmp_path / "none.gguf", "--output", page)
    assert run.returncode == 1
    assert "there is no model at" in run.stderr
    assert "It failed" in page.read_text(encoding="utf-8")


LLAMA_CPP = """
class Llama:  # llama-cpp-python 0.3.36, as far as the worker uses it
    def __init__(self, model_path, n_ctx, n_batch, n_threads, n_threads_batch, verbose): self.n_tokens = 0
    def reset(self): self.n_tokens = 0
    def create_chat_completion(self, messages, max_tokens, temperature, stream):
        yield {"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]}
        for number in range(max_tokens):
            self.n_tokens = 30 + number
            yield {"choices": [{"delta": {"content": f"{number} "}, "finish_reason": None}]}
        yield {"choices": [{"delta": {}, "finish_reason": "length"}]}
"""


def test_llama_cpp_python_takes_part(streams: ModuleType, tmp_path: Path) -> None:
    """The worker counts the prompt as the others do: an answer's last token is in no context."""
    (tmp_path / "llama_cpp.py").write_text(LLAMA_CPP)
    job = {"model": "m.gguf", "messages": [], "n_tokens": 5, "n_threads": 1, "n_ctx": 64, "n_batch": 64}
    command = [sys.executable, str(BENCHMARKS / "llama_cpp_worker.py"), json.dumps(job)]
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    timing = streams.StreamTiming(**json.loads(run.stdout))
    assert (timing.n_prompt, timing.n_completion, timing.text) == (30, 5, "0 1 2 3 4 ")
