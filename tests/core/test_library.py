"""The library as a whole: its public names, its log, and that it stays out of the way."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import hoshikage_core
from hoshikage_core import Model, ModelLoadError


def test_public_names() -> None:
    """Everything exported exists, is sorted, and is all there is besides modules."""
    names = hoshikage_core.__all__
    assert sorted(names) == names
    public = {name for name, value in vars(hoshikage_core).items() if not name.startswith("_")}
    modules = {name for name in public if isinstance(vars(hoshikage_core)[name], type(sys))}
    assert public - modules | ({"build_info"} & set(names)) == set(names)


def test_every_error_has_a_code_of_its_own() -> None:
    """Codes are stable and distinct, so that nobody needs to read messages."""
    errors = [value for value in vars(hoshikage_core.errors).values() if isinstance(value, type)]
    codes = [error.code for error in errors if issubclass(error, hoshikage_core.HoshikageError)]
    assert len(codes) == len(set(codes)) == 19


def test_log_is_off_until_asked_for(
    tiny_model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """llama.cpp's lines reach Python's logging at their level when the logger has one; nothing is ever printed."""
    caplog.handler.setLevel(logging.DEBUG)
    with Model(tiny_model_path):
        assert not caplog.records
    native = logging.getLogger("hoshikage_core.native")
    before = native.level
    try:
        native.setLevel(logging.INFO)
        with Model(tiny_model_path):
            pass
        assert any("llama" in record.message for record in caplog.records)
        assert {record.levelno for record in caplog.records} <= {logging.INFO, logging.WARNING, logging.ERROR}
        caplog.clear()
        native.setLevel(logging.ERROR)
        (tmp_path / "bad.gguf").write_bytes(b"nonsense")
        with pytest.raises(ModelLoadError):
            Model(tmp_path / "bad.gguf")
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
    finally:
        native.setLevel(before)
    assert capfd.readouterr() == ("", "")


def test_importing_brings_no_server() -> None:
    """The library does not import HTTP or gevent."""
    code = "import sys, hoshikage_core; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "hoshikage_core" in imported
    assert not {"gevent", "falcon", "gunicorn", "hoshikage_server"} & set(imported)


def test_importing_is_quick() -> None:
    """What takes long to import and is seldom needed comes later: an engine that wakes up imports the library first."""
    code = "import sys, hoshikage_core; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]
    imported = subprocess.check_output(command, text=True).split()
    assert "hoshikage_core.engine" in imported
    assert not {"importlib.metadata", "secrets", "hashlib", "socket", "email"} & set(imported)
