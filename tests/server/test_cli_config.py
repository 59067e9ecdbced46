"""hoshikage config: every setting, its value, where it came from, and what it means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hoshikage_server.messages import CATALOGUE
from hoshikage_server.settings import Settings, sources


def config(folder: Path, *arguments: str, **environ: str) -> str:
    command = [sys.executable, "-m", "hoshikage_server", "config", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "XDG_"))}
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_LANG": "en", "HOME": str(folder), **environ}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    result = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_every_setting_has_a_meaning() -> None:
    """No other has one."""
    named = {key.removeprefix("setting_") for key in CATALOGUE if key.startswith("setting_")}
    assert named == set(Settings.__struct_fields__)


def test_for_programs(tmp_path: Path) -> None:
    """The values as they were, and where each comes from: a variable wins over the file."""
    toml = tmp_path / "hoshikage.toml"
    toml.write_text("n_ctx = 512\nport = 1\n")
    shown = json.loads(config(tmp_path, "--json", HOSHIKAGE_PORT="99", HOSHIKAGE_API_KEYS="secret"))
    origin = shown.pop("origin")
    assert shown.keys() == origin.keys() == set(Settings.__struct_fields__)
    assert (shown["port"], shown["n_ctx"], shown["api_keys"]) == (99, 512, ["***"])
    assert origin["port"] == {"kind": "environment", "name": "HOSHIKAGE_PORT"}
    assert origin["n_ctx"] == {"kind": "file", "name": str(toml)}
    assert origin["threads"] == {"kind": "default", "name": None}


def test_an_option_wins_over_all(tmp_path: Path) -> None:
    """As `hoshikage serve --port` has it."""
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_PORT": "99"}
    assert sources(environ, {"port": 1})["port"] == ("option", "--port")


@pytest.mark.parametrize(
    ("language", "words"), [("en", ("port to listen on", "default")), ("ja", ("ポート", "既定値"))]
)
def test_for_people(tmp_path: Path, language: str, words: tuple[str, ...]) -> None:
    """A line each, in their language; keys are not shown."""
    (tmp_path / "hoshikage.toml").write_text("n_ctx = 512\n")
    shown = config(tmp_path, HOSHIKAGE_LANG=language, HOSHIKAGE_API_KEYS="secret")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == list(Settings.__struct_fields__)
    assert all(word in shown for word in words)
    assert "secret" not in shown
    assert str(tmp_path / "hoshikage.toml") in next(line for line in shown.splitlines() if line.startswith("n_ctx"))
