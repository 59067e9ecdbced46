"""hoshikage bench: how fast a model is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asking import COMMAND, environment, hoshikage, register
from terminal import Terminal

from hoshikage_core import build_info
from hoshikage_server.machine import physical_cores

SMALL = ("--prompt", "32", "--decode", "8", "-r", "3")


@pytest.fixture
def tiny(tmp_path: Path, tiny_model_path: Path) -> Path:
    register(tmp_path, tiny=tiny_model_path)
    return tmp_path


def test_json_has_all_that_the_figures_depend_on(tiny: Path) -> None:
    """Samples, machine, build."""
    run = hoshikage(tiny, "bench", "tiny", *SMALL, "--json", "--n-ctx", "128", "--threads", "2", "--gpu-layers", "0")
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    for name in ("prefill", "decode"):
        samples = sorted(told[name]["samples"])
        assert len(samples) == 3
        assert samples[0] > 0
        assert [told[name][key] for key in ("least", "median", "most")] == samples
    assert told["task"] == {"n_prompt": 32, "n_decode": 8, "repetitions": 3}
    assert (told["n_ctx"], told["n_threads"], told["gpu_layers"]) == (128, 2, 0)
    assert told["physical_cores"] == physical_cores()
    assert told["llama_cpp_commit"] == build_info().llama_cpp_commit


@pytest.mark.parametrize(("chosen", "words"), [("en", ("prefill", "tokens/s")), ("ja", ("プロンプト処理", "最小"))])
def test_a_table_for_people(tiny: Path, tiny_model_path: Path, chosen: str, words: tuple[str, ...]) -> None:
    """In their language; a file needs no name."""
    shown = hoshikage(tiny, "bench", str(tiny_model_path), *SMALL, HOSHIKAGE_LANG=chosen).stdout
    for word in (*words, "32", "llama.cpp"):
        assert word in shown
    architecture = hoshikage(tiny, "model", "show", "tiny", HOSHIKAGE_LANG=chosen).stdout.splitlines()[2]
    assert architecture.split(maxsplit=1)[1] in shown, "in the same words"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nope"], 4, "nope"),
        (["tiny", "--n-ctx", "100"], 1, "641"),
        (["tiny", "--gpu-layers", "some"], 2, "--gpu-layers"),
        (["tiny", "--prompt", "0"], 2, "--prompt"),
        ([], 2, "MODEL"),
    ],
)
def test_what_cannot_be_measured(tiny: Path, arguments: list[str], status: int, words: str) -> None:
    """A sentence before anything is loaded."""
    run = hoshikage(tiny, "bench", *arguments)
    assert (run.returncode, run.stdout) == (status, "")
    assert words in run.stderr


def test_ctrl_c_ends_it(tiny: Path) -> None:
    """In the middle of a step."""
    command = [*COMMAND, "bench", "tiny", "--prompt", "16000", "--n-ctx", "16384", "-r", "1000"]
    with Terminal(command, environment(tiny)) as terminal:
        terminal.expect("Measuring")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert terminal.is_as_before
    assert "tokens/s" not in terminal.plain


def test_tuning(tiny: Path, tiny_model_path: Path) -> None:
    """What was measured is said, and what follows from it stands in the entry; a file has none."""
    run = hoshikage(tiny, "bench", "tiny", "--tune", "-r", "1", "--threads", "1", "--json")
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["tasks"].keys() == {"copy", "chat"}
    assert told["tasks"]["copy"]["without"]["median"] > 0
    assert told["speculation"] in ("off", "ngram")
    (model_map,) = tiny.rglob("model_map.json")
    assert json.loads(model_map.read_text())["tiny"]["speculation"] == told["speculation"]
    run = hoshikage(tiny, "bench", str(tiny_model_path), "--tune", "-r", "1", "--threads", "1", HOSHIKAGE_LANG="en")
    assert run.returncode == 0, run.stderr
    assert "nothing was written" in run.stdout


@pytest.mark.parametrize("option", ["--prompt", "--decode"])
def test_tuning_has_tasks_of_its_own(tiny: Path, option: str) -> None:
    run = hoshikage(tiny, "bench", "tiny", "--tune", option, "8", HOSHIKAGE_LANG="en")
    assert (run.returncode, run.stdout) == (2, "")
    assert f"--tune and {option} exclude each other" in run.stderr
