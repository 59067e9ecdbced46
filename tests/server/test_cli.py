"""hoshikage's commands, run as a person does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import TinyModel

from hoshikage_server import __version__, messages


def environment(folder: Path, **environ: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_LANG": "en", **environ}
    return clean | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def hoshikage(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hoshikage_server", *arguments]
    env = environment(folder, **environ)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=folder)


def test_add_list_rm(tmp_path: Path) -> None:
    """A model's way onto the list and off it."""
    TinyModel(n_layer=1).write(tmp_path / "x.gguf")
    assert "No models" in hoshikage(tmp_path, "list").stdout
    assert hoshikage(tmp_path, "add", "x.gguf", "mine").returncode == 0
    assert hoshikage(tmp_path, "list").stdout == f"mine\t{tmp_path}/x.gguf\n"
    again = hoshikage(tmp_path, "add", "x.gguf", "mine")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert hoshikage(tmp_path, "add", "--force", "x.gguf", "mine").returncode == 0
    assert hoshikage(tmp_path, "rm", "mine").returncode == 0
    assert (tmp_path / "x.gguf").exists()
    gone = hoshikage(tmp_path, "rm", "mine")
    assert gone.returncode == 4
    assert "mine" in gone.stderr
    assert "hoshikage list" in gone.stderr


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2J", os.fsdecode(b"\xff")])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    """A name is shown in lists and logs, and written into JSON."""
    TinyModel(n_layer=1).write(tmp_path / "x.gguf")
    result = hoshikage(tmp_path, "add", "x.gguf", name)
    assert result.returncode == 1
    assert "name" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "model_map.json").exists()


def test_force_replaces(tmp_path: Path) -> None:
    """The stop strings and the sampling were the old model's."""
    TinyModel(n_layer=1).write(tmp_path / "x.gguf")
    entry = {"path": "/old", "model": "y.gguf", "stop": ["x"], "sampling": {"top_k": 1}}
    (tmp_path / "model_map.json").write_text(json.dumps({"mine": entry}))
    assert hoshikage(tmp_path, "add", "--force", "x.gguf", "mine").returncode == 0
    assert json.loads((tmp_path / "model_map.json").read_text()) == {"mine": {"path": str(tmp_path), "model": "x.gguf"}}


def test_only_gguf_files_are_added(tmp_path: Path) -> None:
    """Nothing that cannot be a model gets onto the list."""
    (tmp_path / "x.txt").write_text("hello")
    for name, reason in (
        ("x.txt", "not a GGUF"),
        ("missing.gguf", "no file"),
        (".", "a folder"),
        ("x.txt/y", "no file"),
    ):
        result = hoshikage(tmp_path, "add", name, "mine")
        assert result.returncode == (4 if reason == "no file" else 1)
        assert reason in result.stderr
    assert not (tmp_path / "model_map.json").exists()


def test_version_and_config(tmp_path: Path) -> None:
    """What is installed, and what is in effect."""
    assert hoshikage(tmp_path, "--version").stdout == f"hoshikage {__version__}\n"
    release, build = hoshikage(tmp_path, "version").stdout.splitlines()
    assert release == f"hoshikage {__version__}"
    assert re.fullmatch(r"llama\.cpp [0-9a-f]{12}, (cpu|cuda \d+\.\d+)", build)
    shown = json.loads(hoshikage(tmp_path, "config", "--json", HOSHIKAGE_API_KEYS="secret", HOSHIKAGE_PORT="99").stdout)
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


@pytest.mark.parametrize(
    ("chosen", "word"), [("en", "cannot be used"), ("ja", "正しくありません"), ("", "正しくありません")]
)
def test_a_bad_setting_is_told_in_the_persons_language(tmp_path: Path, chosen: str, word: str) -> None:
    """Also while the settings cannot be loaded."""
    assert word in hoshikage(tmp_path, "list", HOSHIKAGE_LANG=chosen, HOSHIKAGE_N_CTX="many").stderr


@pytest.mark.parametrize("chosen", ["en", "ja"])
def test_an_address_in_use_is_one_sentence(tmp_path: Path, chosen: str) -> None:
    """At once, instead of gunicorn's five tries."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = hoshikage(tmp_path, "serve", "--port", str(port), HOSHIKAGE_LANG=chosen)
    assert result.returncode == 1
    assert result.stderr == f"hoshikage: {messages.text('address_in_use', chosen, address=f'127.0.0.1:{port}')}\n"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b"])
def test_a_host_that_is_not_here_is_one_sentence(tmp_path: Path, host: str) -> None:
    """192.0.2.0/24 and .invalid belong to nobody (RFC 5737, RFC 2606)."""
    result = hoshikage(tmp_path, "serve", "--host", host, HOSHIKAGE_API_KEYS="k")
    assert result.returncode == 1
    assert f"Listening on {host}:3030" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_variable_that_sets_nothing_is_named(tmp_path: Path) -> None:
    """A typo would otherwise do nothing; the build's variables are none."""
    typos = {"HOSHIKAGE_TREADS": "2", "HOSHIKAGE_BACKEND": "cpu", "HOSHIKAGE_CUDA_ARCHS": "90"}
    result = hoshikage(tmp_path, "serve", "--host", "192.0.2.1", HOSHIKAGE_API_KEYS="k", **typos)
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert "HOSHIKAGE_TREADS" in lines[0]


def test_a_bad_port_on_the_command_line(tmp_path: Path) -> None:
    """Named as it was written."""
    result = hoshikage(tmp_path, "serve", "--port", "70000")
    assert result.returncode == 1
    assert "--port" in result.stderr


SLOW = ("gevent", "falcon", "gunicorn", "hoshikage_core", "rich", "prompt_toolkit", "openai")


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["run", "--help"], ["list"]])
def test_a_command_waits_for_no_import_it_does_not_need(tmp_path: Path, arguments: list[str]) -> None:
    """Neither for the server nor for the library nor for tables."""
    program = (
        f"import sys; from hoshikage_server.cli import run; run({arguments!r});"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def completed(folder: Path, *words: str) -> list[str]:
    """What the shell is offered for the last word."""
    line = {"COMP_WORDS": " ".join(["hoshikage", *words]), "COMP_CWORD": str(len(words))}
    result = hoshikage(folder, _HOSHIKAGE_COMPLETE="bash_complete", **line)
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, shell: str) -> None:
    """A script that asks the command again."""
    assert "_HOSHIKAGE_COMPLETE" in hoshikage(tmp_path, "completion", shell).stdout


def test_what_is_completed(tmp_path: Path) -> None:
    """Commands, options, and the names of models and personas."""
    for name in ("one", "other"):
        TinyModel(n_layer=1).write(tmp_path / "x.gguf")
        hoshikage(tmp_path, "add", "x.gguf", name)
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "keeper.toml").touch()
    assert completed(tmp_path, "benc") == ["plain,bench"]
    assert completed(tmp_path, "run", "-m", "o") == ["plain,one", "plain,other"]
    assert completed(tmp_path, "bench", "ot") == ["plain,other"]
    assert completed(tmp_path, "bench", "./") == ["file,./"]
    assert completed(tmp_path, "chat", "--persona", "k") == ["plain,keeper"]
    assert "plain,--no-thinking" in completed(tmp_path, "run", "--no")
    (tmp_path / "model_map.json").write_text("broken")
    assert completed(tmp_path, "run", "-m", "o") == ["file,o"]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`| head` on any command."""
    code = f"{sys.executable} -m hoshikage_server config | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert result.stdout.strip() in ("0", "141")


@pytest.mark.parametrize("arguments", [["list"], ["config"], ["version"], ["--help"]])
def test_output_that_finds_no_room(tmp_path: Path, arguments: list[str]) -> None:
    """One sentence and exit status 1, as when the disk is full that the output goes to."""
    environ = {**os.environ, "HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_LANG": "en"}
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "hoshikage_server", *arguments]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, check=False)
    assert (run.returncode, run.stderr) == (
        1,
        "hoshikage: The output could not be written: there is no space left on the disk\n",
    )
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    run = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (run.returncode, run.stderr) == (
        1,
        "hoshikage: The output could not be written: standard output is closed\n",
    )
