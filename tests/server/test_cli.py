"""hoshikage's commands, run as a person does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hoshikage_server import __version__


def hoshikage(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hoshikage_server", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_LANG": "en", **environ}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False, cwd=folder)


def test_add_list_rm(tmp_path: Path) -> None:
    """A model's way onto the list and off it."""
    (tmp_path / "x.gguf").write_bytes(b"GGUF....")
    assert "No models" in hoshikage(tmp_path, "list").stdout
    assert hoshikage(tmp_path, "add", "mine", "x.gguf").returncode == 0
    assert hoshikage(tmp_path, "list").stdout == f"mine\t{tmp_path}/x.gguf\n"
    again = hoshikage(tmp_path, "add", "mine", "x.gguf")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert hoshikage(tmp_path, "add", "--force", "mine", "x.gguf").returncode == 0
    assert hoshikage(tmp_path, "rm", "mine").returncode == 0
    assert (tmp_path / "x.gguf").exists()
    gone = hoshikage(tmp_path, "rm", "mine")
    assert gone.returncode == 1
    assert "mine" in gone.stderr


def test_only_gguf_files_are_added(tmp_path: Path) -> None:
    """Nothing that cannot be a model gets onto the list."""
    (tmp_path / "x.txt").write_text("hello")
    for name in ("x.txt", "missing.gguf", "."):
        result = hoshikage(tmp_path, "add", "mine", name)
        assert result.returncode == 1
        assert "not a GGUF" in result.stderr
    assert not (tmp_path / "model_map.json").exists()


def test_version_and_config(tmp_path: Path) -> None:
    """What is installed, and what is in effect."""
    assert hoshikage(tmp_path, "version").stdout == f"hoshikage {__version__}\n"
    shown = json.loads(hoshikage(tmp_path, "config", HOSHIKAGE_API_KEYS="secret", HOSHIKAGE_PORT="99").stdout)
    assert shown["port"] == 99
    assert shown["api_keys"] == ["***"]
    assert shown["config_dir"] == str(tmp_path)


@pytest.mark.parametrize("command", ["serve", "list", "config"])
def test_a_bad_setting_is_one_sentence(tmp_path: Path, command: str) -> None:
    """Named, and no traceback."""
    result = hoshikage(tmp_path, command, HOSHIKAGE_N_CTX="many")
    assert result.returncode == 1
    assert "HOSHIKAGE_N_CTX" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bad_port_on_the_command_line(tmp_path: Path) -> None:
    """Named as it was written."""
    result = hoshikage(tmp_path, "serve", "--port", "70000")
    assert result.returncode == 1
    assert "--port" in result.stderr


def test_no_gevent_for_a_command_that_serves_nothing(tmp_path: Path) -> None:
    """Listing models does not wait for the server's imports."""
    program = (
        "import sys; from hoshikage_server.cli import hoshikage; hoshikage(['version'], standalone_mode=False);"
        "print([name for name in ('gevent', 'falcon', 'gunicorn', 'hoshikage_core') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
