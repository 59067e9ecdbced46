"""What an entry of the model map makes of its engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hoshikage_server.engines.engine_spec import Adapter, Devices, EngineSpec, SpecFile
from hoshikage_server.engines.spec import as_it_is, spec_of
from hoshikage_server.registry.entries import read_entry
from hoshikage_server.settings import build_settings

SETTINGS = {"HOSHIKAGE_PARALLEL": "3", "HOSHIKAGE_GPU_LAYERS": "5"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.gguf").write_text("a model")
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "lora.gguf").write_text("an adapter")
    return tmp_path


def spec(folder: Path, **keys: Any) -> EngineSpec:
    given = {name: keys.pop(name) for name in list(keys) if name.startswith("HOSHIKAGE_")}
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(folder), **SETTINGS, **given})
    raw = {"path": ".", "model": "m.gguf", **keys}
    return spec_of(read_entry("m", {key: msgspec.Raw(msgspec.json.encode(raw[key])) for key in raw}, folder), settings)


def file(path: Path) -> SpecFile:
    stat = path.stat()
    return SpecFile(str(path), stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"parallel": 3, "gpu_layers": 5, "kv_type": "f16", "flash_attention": None, "chat_template": None}),
        ({"parallel": 1, "gpu_layers": 0}, {"parallel": 1, "gpu_layers": 0}),
        ({"gpu_layers": "all"}, {"gpu_layers": "all"}),
        ({"kv_type": "q8_0", "flash_attention": False}, {"kv_type": "q8_0", "flash_attention": False}),
        ({"HOSHIKAGE_KV_TYPE": "q8_0", "HOSHIKAGE_FLASH_ATTENTION": "1"}, {"kv_type": "q8_0", "flash_attention": True}),
        (
            {"HOSHIKAGE_KV_TYPE": "q8_0", "HOSHIKAGE_FLASH_ATTENTION": "1", "kv_type": "f16", "flash_attention": False},
            {"kv_type": "f16", "flash_attention": False},
        ),
        ({"HOSHIKAGE_REQUIRE_GPU": "1"}, {"requires_gpu": True}),
        ({"chat_template": "{{ x }}"}, {"chat_template": "{{ x }}"}),
        ({"chat_template": "no\nfile"}, {"chat_template": "no\nfile"}),
    ],
)
def test_the_entry_wins(folder: Path, keys: dict[str, Any], expected: dict[str, Any]) -> None:
    """Over the settings, also with 0; what is missing is as set, or as the library has it."""
    made = spec(folder, **keys)
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ("a:1", "b:2")),
        ({"rpc_servers": ["c:3"]}, ("c:3",)),
        ({"rpc_servers": []}, ()),
        ({"gpu_layers": 0}, ()),
        ({"gpu_layers": 0, "rpc_servers": ["c:3"]}, ("c:3",)),
        ({"gpu_layers": "all"}, ("a:1", "b:2")),
    ],
)
def test_rpc_servers(folder: Path, keys: dict[str, Any], expected: tuple[str, ...]) -> None:
    """The entry wins; what it keeps on this machine's CPU goes nowhere else. What contradicts itself is not hidden."""
    assert spec(folder, HOSHIKAGE_RPC_SERVERS="a:1, b:2", **keys).devices.rpc_servers == expected


SPLIT = {"HOSHIKAGE_TENSOR_SPLIT": "3, 1", "HOSHIKAGE_SPLIT_MODE": "tensor"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, Devices()),
        ({"HOSHIKAGE_MAIN_GPU": "1"}, Devices(split_mode="none", main_gpu=1)),
        ({"HOSHIKAGE_MAIN_GPU": "0"}, Devices(split_mode="none")),
        (SPLIT, Devices(split_mode="tensor", tensor_split=(3.0, 1.0))),
        ({**SPLIT, "main_gpu": 2}, Devices(split_mode="none", main_gpu=2)),
        ({**SPLIT, "split_mode": "layer"}, Devices()),
        ({**SPLIT, "tensor_split": []}, Devices()),
        ({**SPLIT, "tensor_split": [1, 2.5]}, Devices(tensor_split=(1.0, 2.5))),
        ({"main_gpu": 1, "split_mode": "layer"}, Devices(main_gpu=1)),  # which loading refuses
    ],
)
def test_an_entry_says_all_of_its_gpus(folder: Path, keys: dict[str, Any], expected: Devices) -> None:
    """Or nothing, and the settings do: parts of both could contradict each other."""
    assert spec(folder, **keys).devices == expected


def test_files_are_found_from_the_maps_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their names there, absolutely, or from the home."""
    monkeypatch.setenv("HOME", str(folder))
    for name in ("chat.jinja", "./chat.jinja", str(folder / "chat.jinja"), "~/chat.jinja"):
        template = spec(folder, chat_template=name).chat_template
        assert isinstance(template, SpecFile)
        assert (os.path.normpath(template.path), template.size_bytes) == (str(folder / "chat.jinja"), 14)
    lora = [{"path": "lora.gguf", "scale": 0.5}, {"path": "lora.gguf"}]
    adapter = file(folder / "lora.gguf")
    assert spec(folder, lora=lora).lora == (Adapter(adapter, 0.5), Adapter(adapter, 1.0))


@pytest.mark.parametrize(
    ("setting", "keys", "guesses", "drafts"),
    [
        ("off", {}, False, False),
        ("ngram", {}, True, False),
        ("ngram", {"speculation": "off"}, False, False),
        ("off", {"speculation": "ngram"}, True, False),
        ("off", {"draft_model": "lora.gguf"}, False, True),
        ("ngram", {"draft_model": "lora.gguf"}, False, True),
        ("off", {"draft_model": "lora.gguf", "speculation": "ngram"}, True, False),
        ("ngram", {"draft_model": "lora.gguf", "speculation": "off"}, False, False),
    ],
)
def test_how_to_guess(folder: Path, setting: str, keys: dict[str, Any], guesses: bool, drafts: bool) -> None:
    """The entry's word wins, then its draft model, then the setting; never both ways at once."""
    made = spec(folder, HOSHIKAGE_SPECULATION=setting, **keys)
    assert made.guesses == guesses
    assert made.draft_model == (file(folder / "lora.gguf") if drafts else None)


@pytest.mark.parametrize("name", ["chat.jinja", "lora.gguf"])
def test_a_changed_file_is_another_model(folder: Path, name: str) -> None:
    """So is one that is gone, and another one in its place whose size and time are the same."""
    first = spec(folder, chat_template="chat.jinja", lora=[{"path": "lora.gguf"}])
    assert as_it_is(first) == first
    path = folder / name
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content + b" ")
    changed = as_it_is(first)
    assert changed != first
    path.unlink()
    assert as_it_is(changed) not in (first, changed)
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = as_it_is(changed)
    assert again != first
    assert as_it_is(again) == again


def test_what_a_vocabulary_knows(folder: Path) -> None:
    """The template, which prompts are counted by; not what changes the engine only."""
    plain, other = spec(folder), spec(folder, lora=[{"path": "lora.gguf"}], kv_type="q8_0", parallel=2)
    assert plain.vocabulary() == other.vocabulary()
    templated = spec(folder, chat_template="chat.jinja")
    assert templated.vocabulary().chat_template == file(folder / "chat.jinja")
    assert templated.vocabulary() != plain.vocabulary()


def test_a_spec_crosses_to_the_engine(folder: Path) -> None:
    """As it is."""
    for template in (None, "{{ x }}", "chat.jinja"):
        made = spec(folder, chat_template=template, lora=[{"path": "lora.gguf"}]) if template else spec(folder)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=EngineSpec) == made


def test_all_files_of_a_model_count(folder: Path) -> None:
    """One that was replaced is another model, whichever of them it was."""
    parts = [folder / f"big-{number:05}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF")
    first = as_it_is(EngineSpec(str(parts[0]), 64))
    assert first.size_bytes == 8
    parts[1].write_bytes(b"GGUV")
    assert as_it_is(first) != first
