"""hoshikage model ..., and the short add, rm and list, run as a person does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gguf_files import split
from tiny_gguf import TinyModel

from hoshikage_server.api.build import open_peaks
from hoshikage_server.cli.model.listing import _plan
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.messages import text
from hoshikage_server.registry.inspection import DevicePlan, Plan
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import build_settings


def hoshikage(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hoshikage_server", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "XDG_"))}
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_LANG": "en", "HOME": str(folder), **environ}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


def told(folder: Path, *arguments: str, **environ: str) -> str:
    result = hoshikage(folder, *arguments, **environ)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def refused(folder: Path, *arguments: str, status: int = 1, **environ: str) -> str:
    """The one sentence of a command that failed."""
    result = hoshikage(folder, *arguments, **environ)
    assert (result.returncode, result.stdout) == (status, "")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "model_map.json").read_text())
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TinyModel(n_layer=1).write(tmp_path / "x.gguf")
    return tmp_path


@pytest.mark.parametrize("group", [(), ("model",)])
def test_add_list_rm(folder: Path, group: tuple[str, ...]) -> None:
    """The short commands are those of the group: path first, then the label, then stop texts."""
    told(folder, *group, "add", "x.gguf", "mine", "</s>", "###", "--n-ctx", "8192", "--no-thinking")
    expected = {"path": str(folder), "model": "x.gguf", "stop": ["</s>", "###"], "n_ctx": 8192, "thinking": False}
    assert entries(folder) == {"mine": expected}
    assert told(folder, *group, "list") == f"mine\t{folder}/x.gguf\n"
    [listed] = json.loads(told(folder, *group, "list", "--json"))
    assert listed["file"] == f"{folder}/x.gguf"
    assert listed["size_bytes"] == (folder / "x.gguf").stat().st_size
    assert listed["entry"]["n_ctx"] == 8192
    details = told(folder, *group, "list", "--details")
    assert "n_ctx=8192" in details
    (folder / "x.gguf").unlink()
    assert "no file" in told(folder, *group, "list", "--details")
    assert json.loads(told(folder, *group, "list", "--json"))[0]["is_there"] is False
    told(folder, *group, "rm", "mine")
    assert json.loads(told(folder, *group, "list", "--json")) == []
    assert "mine" in refused(folder, *group, "rm", "mine", status=4)


@pytest.mark.parametrize(("language", "word"), [("en", "comes first"), ("ja", "順序")])
def test_swapped_arguments_get_the_line_to_type(folder: Path, language: str, word: str) -> None:
    """An earlier version had the name first."""
    sentence = refused(folder, "add", "my model", "x.gguf", HOSHIKAGE_LANG=language)
    assert word in sentence
    assert "hoshikage add x.gguf 'my model'" in sentence


def test_a_model_in_several_files(folder: Path) -> None:
    """The first part stands for all; another one, or too few, are refused by name."""
    parts = [folder / f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    split(folder / "x.gguf", parts)
    assert "big-00001-of-00002.gguf" in refused(folder, "add", "big-00002-of-00002.gguf", "big")
    told(folder, "add", "big-00001-of-00002.gguf", "big")
    assert json.loads(told(folder, "list", "--json"))[0]["size_bytes"] == sum(part.stat().st_size for part in parts)
    (folder / "big-00002-of-00002.gguf").unlink()
    assert "big-00002-of-00002.gguf" in refused(folder, "add", "big-00001-of-00002.gguf", "other")


def test_set(folder: Path) -> None:
    """JSON or words, keys below keys, removal; unknown keys of others stay."""
    raw = {"m": {"path": str(folder), "model": "x.gguf", "mine": 1, "sampling": {"top_k": 5}}}
    (folder / "model_map.json").write_text(json.dumps(raw))
    changes = ("n_ctx=4096", "sampling.temperature=0.7", "description=a good one", 'stop=["</s>"]', "kv_type=q8_0")
    told(folder, "model", "set", "m", *changes)
    entry = entries(folder)["m"]
    assert entry["sampling"] == {"top_k": 5, "temperature": 0.7}
    assert (entry["n_ctx"], entry["stop"], entry["mine"]) == (4096, ["</s>"], 1)
    assert (entry["description"], entry["kv_type"]) == ("a good one", "q8_0")
    told(folder, "model", "set", "m", "n_ctx=", "sampling.top_k=", "mine=")
    entry = entries(folder)["m"]
    assert entry.keys() == {"path", "model", "sampling", "description", "stop", "kv_type"}
    assert entry["sampling"] == {"temperature": 0.7}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("n_ctx", ("KEY=VALUE",)),
        ("=1", ("KEY=VALUE",)),
        ("nctx=1", ("nctx", "Did you mean n_ctx")),
        ("sampling.temp=1", ("sampling.temp", "temperature")),
        ("n_ctx.x=1", ("n_ctx", "integer")),
        ("n_ctx=many", ("n_ctx", "integer")),
        ("sampling.temperature=-1", ("temperature",)),
        ("kv_type=q3", ("kv_type", "q8_0")),
        ("path=", ("path",)),
    ],
)
def test_what_cannot_be_set(folder: Path, change: str, words: tuple[str, ...]) -> None:
    """Is refused with its name, and the file is as it was."""
    told(folder, "add", "x.gguf", "m")
    before = (folder / "model_map.json").read_bytes()
    sentence = refused(folder, "model", "set", "m", change)
    assert all(word in sentence for word in words), sentence
    assert (folder / "model_map.json").read_bytes() == before
    assert "nope" in refused(folder, "model", "set", "nope", "n_ctx=1", status=4)


def test_scan(folder: Path, tiny_model_path: Path) -> None:
    """What is new is registered, once; what is no model is told with its reason."""
    models = folder / "models"
    models.mkdir()
    (models / "tiny.gguf").write_bytes(tiny_model_path.read_bytes())
    (models / "broken.gguf").write_text("x")
    result = hoshikage(folder, "model", "scan", HOSHIKAGE_MODELS_DIR=str(models))
    assert result.returncode == 0
    assert "'tiny'" in result.stdout
    assert "broken.gguf" in result.stderr
    again = json.loads(told(folder, "model", "scan", str(models), "--json"))
    assert again["added"] == []
    assert again["skipped"][0]["code"] == "not_a_gguf"
    assert list(entries(folder)) == ["tiny"]
    assert "nowhere" in refused(folder, "model", "scan", "nowhere")


def test_verify(folder: Path) -> None:
    """Exit status 1 where a file is not what its entry says, or is not there."""
    sha256 = hashlib.sha256((folder / "x.gguf").read_bytes()).hexdigest()
    told(folder, "add", "x.gguf", "m")
    assert "--write" in told(folder, "model", "verify")
    assert sha256 in told(folder, "model", "verify", "--write")
    assert entries(folder)["m"]["sha256"] == sha256
    assert json.loads(told(folder, "model", "verify", "m", "--json"))[0]["state"] == "ok"
    (folder / "x.gguf").write_bytes(b"GGUF...x")
    changed = hoshikage(folder, "model", "verify", HOSHIKAGE_LANG="ja")
    assert changed.returncode == 1
    assert "不一致" in changed.stdout
    assert hoshikage(folder, "model", "verify", "--write").returncode == 1, "what is wrong is not written over"
    assert entries(folder)["m"]["sha256"] == sha256
    (folder / "x.gguf").unlink()
    assert hoshikage(folder, "model", "verify").returncode == 1
    assert "nope" in refused(folder, "model", "verify", "nope", status=4)


def test_schema(folder: Path) -> None:
    """A JSON Schema that editors can use."""
    schema = json.loads(told(folder, "model", "schema"))
    assert "$schema" in schema


@pytest.mark.parametrize("language", ["en", "ja"])
def test_show(folder: Path, tiny_model_path: Path, language: str) -> None:
    """A registered model or a file: what it is, what it needs, what its entry says."""
    told(folder, "add", str(tiny_model_path), "tiny", "--n-ctx", "512")
    shown = told(folder, "model", "show", "tiny", HOSHIKAGE_LANG=language)
    for word in (text("show_memory", language), text("show_template", language), "llama", "RAM", "n_ctx=512"):
        assert word in shown
    assert "n_ctx=" not in told(folder, "model", "show", str(tiny_model_path), HOSHIKAGE_LANG=language)
    found = json.loads(told(folder, "model", "show", "tiny", "--json"))
    assert found["arch"] == "llama"
    assert found["entry"] == {"n_ctx": 512, "stop": []}
    assert found["memory"][0].keys() == {"n_ctx", "ram_bytes", "vram_bytes"}
    assert (found["plan"]["n_ctx"], found["plan"]["kv_type"], found["measured"]) == (512, "f16", None)
    assert found["plan"]["devices"][-1]["name"] == "host"
    for key in ("plan_weights", "plan_kv", "plan_compute", "plan_total"):
        assert text(key, language, size="") in shown
    assert text("show_measured", language) not in shown
    assert "nope" in refused(folder, "model", "show", "nope", status=4)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_show_what_cannot_be_planned(folder: Path, tiny_model_path: Path, language: str) -> None:
    """Why not, and what to change, where somebody can."""
    told(folder, "add", str(tiny_model_path), "tiny")
    told(folder, "model", "set", "tiny", "tensor_split=[3,1]", "split_mode=none")
    shown = told(folder, "model", "show", "tiny", HOSHIKAGE_LANG=language)
    [line] = [line for line in shown.splitlines() if line.startswith(text("show_plan", language))]
    assert "'tensor_split'" in line
    assert text("reason_split_of_one", language) in line
    found = json.loads(told(folder, "model", "show", "tiny", "--json", HOSHIKAGE_LANG=language))
    assert found["plan"] is None
    assert found["no_plan"] in line


def test_show_what_it_took(folder: Path) -> None:
    """With these settings, and not with others."""
    told(folder, "add", "x.gguf", "mine", "--n-ctx", "512")
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_CACHE_DIR": str(folder)})
    peaks = open_peaks(folder)
    peaks.note(spec_of(ModelMap(settings.model_map).entries()["mine"], settings), (), 300 * 2**20, 2**30)
    peaks.write()
    cache = {"HOSHIKAGE_CACHE_DIR": str(folder)}
    assert "RAM 300.0 MiB, VRAM 1.00 GiB" in told(folder, "model", "show", "mine", **cache)
    found = json.loads(told(folder, "model", "show", "mine", "--json", **cache))
    assert (found["measured"]["private_bytes"], found["measured"]["vram_bytes"]) == (300 * 2**20, 2**30)
    told(folder, "model", "set", "mine", "n_ctx=256")
    assert "Measured" not in told(folder, "model", "show", "mine", **cache)


def test_a_plan_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device by device, with the driver's names; where it would not fit, that is said."""
    monkeypatch.setenv("HOSHIKAGE_LANG", "en")
    gib = 2**30
    gpu = DevicePlan("CUDA0", 4 * gib, gib, gib, 8 * gib, 12 * gib, "NVIDIA GeForce RTX 4070 SUPER")
    host = DevicePlan("host", 2 * gib, 0, gib, 2 * gib, 16 * gib)
    head, first, last = _plan(Plan(8192, 2, "q8_0", (gpu, host)))
    assert head == "8192 tokens, 2 at once, KV q8_0"
    assert first.startswith("CUDA0 NVIDIA GeForce RTX 4070 SUPER  weights 4.00 GiB  KV cache 1.00 GiB  compute")
    assert first.endswith("in all 6.00 GiB  8.00 GiB of 12.00 GiB free")
    assert last.startswith("RAM ")
    assert last.endswith("in all 3.00 GiB  2.00 GiB of 16.00 GiB free  too little")


def test_show_of_what_is_no_model(folder: Path) -> None:
    """One sentence with its name."""
    (folder / "y.gguf").write_text("hello")
    assert "y.gguf" in refused(folder, "model", "show", "y.gguf")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_group_lists_its_commands(folder: Path, language: str) -> None:
    """In both languages."""
    names = ("add", "rm", "list", "show", "set", "scan", "verify", "pull", "demo", "schema")
    shown = told(folder, "model", "--help", HOSHIKAGE_LANG=language)
    assert all(f"\n  {name} " in shown for name in names)
