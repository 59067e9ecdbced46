"""hoshikage status, load and unload, run as a person does against a running server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from server_process import FAKE_SERVER, ServerProcess, is_alive, read_until, wait_for

from hoshikage_server.api.status_objects import StatusObject
from hoshikage_server.cli import FAILED, INTERRUPTED, NO_SERVER, NOT_FOUND
from hoshikage_server.cli.client import Client
from hoshikage_server.cli.columns import columns, width
from hoshikage_server.cli.status_view import StatusView
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import build_settings

StartServer = Callable[..., ServerProcess]
MODELS = {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "never", "poor", "lean", "slow")}
MODELS["星/影:q4@x"] = {"path": "/nowhere", "model": "other.gguf"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), MODELS) as server:
        yield server


def environment(server: ServerProcess | None, **environ: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
    folder = server.log_path.parent / "elsewhere" if server else Path("/nonexistent")
    port = str(server.port) if server else "1"
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_PORT": port, "HOSHIKAGE_LANG": "en"}
    return clean | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environ}


def start(server: ServerProcess | None, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hoshikage_server", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(server, **environ), stdout=pipe, stderr=pipe, text=True)


def hoshikage(server: ServerProcess | None, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    process = start(server, *arguments, **environ)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def told(server: ServerProcess, *arguments: str, **environ: str) -> str:
    result = hoshikage(server, *arguments, **environ)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def refused(server: ServerProcess | None, *arguments: str, status: int = FAILED, **environ: str) -> str:
    """The one sentence of a command that failed, with a status that says of which kind that was."""
    result = hoshikage(server, *arguments, **environ)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith("hoshikage: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@contextmanager
def listener(answer: bytes | None, *, hangs_up: bool = True) -> Iterator[int]:
    """A port whose owner answers every request alike, or not at all."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            kept.append(connection)
            read_until(connection, b"\r\n\r\n")
            if answer is not None:
                connection.sendall(answer)
            if answer is not None and hangs_up:
                connection.close()

    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_load_status_unload(server: ServerProcess) -> None:
    """A model's life by hand; each command waits until it is so."""
    assert "RAM" in told(server, "load", "m")
    assert server.status["engines"][0]["state"] == "ready"
    pid = server.status["engines"][0]["pid"]
    assert "already" in told(server, "load", "m")
    shown = told(server, "status")
    for word in (server.url, "ready", "unloads in", "RAM", "0 of 1 running", "0 of 64 waiting"):
        assert word in shown
    assert "given back" in told(server, "unload", "m")
    assert not is_alive(pid)
    assert "not loaded" in told(server, "unload", "m")
    shown = told(server, "status")
    assert "dark" in shown
    assert "given back" in shown
    assert str(pid) not in shown


def test_json_is_what_the_server_told(server: ServerProcess) -> None:
    """Every field, for other programs."""
    shown = json.loads(told(server, "status", "--json"))
    assert shown.keys() == set(StatusObject.__struct_fields__)
    assert shown["object"] == "hoshikage.status"


@pytest.mark.parametrize(("chosen", "words"), [("en", ("State", "generating", "tokens")), ("ja", ("状態", "生成中"))])
def test_in_the_persons_language(server: ServerProcess, chosen: str, words: tuple[str, ...]) -> None:
    """What computes and who waits; no word of what they ask."""
    with server.connect() as first, server.connect() as second:
        first.sendall(server.chat_request("count 100000 20", stream=True))
        read_until(first, b'"2 "')
        second.sendall(server.chat_request("echo secret"))
        wait_for(lambda: server.status["queue"]["waiting"] == 1, 5, "it waits")
        shown = told(server, "status", HOSHIKAGE_LANG=chosen)
        in_use = refused(server, "unload", "m")
    for word in (*words, "req_"):
        assert word in shown
    assert "secret" not in shown
    assert "in use" in in_use
    wait_for(lambda: server.status["queue"]["running"] == 0, 5, "it has ended")


def test_a_name_of_any_kind(server: ServerProcess) -> None:
    """Slashes, colons, Japanese."""
    assert "星/影:q4@x" in told(server, "load", "星/影:q4@x")
    assert "星/影:q4@x" in told(server, "status")
    assert "星/影:q4@x" in told(server, "unload", "星/影:q4@x")


def test_what_was_given_up_for_memory_is_said(server: ServerProcess) -> None:
    """At the load and in the state."""
    assert "n_batch=128" in told(server, "load", "lean")
    assert "n_batch=128" in told(server, "status")


@pytest.mark.parametrize("chosen", ["en", "ja"])
def test_the_servers_errors_are_sentencein_the_persons_language(server: ServerProcess, chosen: str) -> None:
    """Its own sentence, which says what to do."""
    sentence = refused(server, "load", "poor", HOSHIKAGE_LANG=chosen)
    assert "7.00 GiB" in sentence
    assert ("quantisation" in sentence) is (chosen == "en")
    assert "nope" in refused(server, "load", "nope", status=NOT_FOUND, HOSHIKAGE_LANG=chosen)
    assert "poor" in told(server, "status", HOSHIKAGE_LANG=chosen), "for how long it is left alone"


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("load", "m"), ("unload", "m")])
def test_no_server(command: tuple[str, ...]) -> None:
    """One sentence with the address and what to do."""
    sentence = refused(None, *command, status=NO_SERVER)
    assert "http://127.0.0.1:1 " in sentence
    assert "hoshikage serve" in sentence
    assert "unix:/nope" in refused(None, *command, "--url", "unix:/nope", status=NO_SERVER)
    sentence = refused(None, *command, status=NO_SERVER, HOSHIKAGE_HOST="no-such-host.invalid")
    assert "HOSHIKAGE_PORT" in sentence


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:y", "http://x:70000"])
def test_urls_that_cannot_be(url: str) -> None:
    """Named, and no traceback."""
    assert url in refused(None, "status", "--url", url)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "http://localhost:{}/v1/", "127.0.0.1:{}"])
def test_urls_of_a_server(server: ServerProcess, form: str) -> None:
    """Also the one that clients of the API use. It wins over the settings."""
    assert "Hoshikage" in told(server, "status", "--url", form.format(server.port), HOSHIKAGE_PORT="1")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_hosts_to_listen_on(server: ServerProcess, host: str) -> None:
    """Whatever the server listens on, it is found."""
    told(server, "status", HOSHIKAGE_HOST=host)


def test_keys(start_server: StartServer) -> None:
    """The first one is shown; without one, or with a wrong one, the setting is named."""
    server = start_server(api_keys="first,second")
    told(server, "status", HOSHIKAGE_API_KEYS="first,nonsense")
    wrong = refused(server, "status", HOSHIKAGE_API_KEYS="third")
    assert "does not accept the API key" in wrong
    none = refused(server, "status")
    assert "needs an API key" in none
    for sentence in (wrong, none):
        assert "HOSHIKAGE_API_KEYS" in sentence
        assert "Authorization" not in sentence


def test_a_unix_socket(tmp_path: Path) -> None:
    """Where a server listens on one, the commands find it there."""
    (tmp_path / "model_map.json").write_text(json.dumps(MODELS))
    address = f"unix:{tmp_path}/socket"
    environ = environment(None, HOSHIKAGE_CONFIG_DIR=str(tmp_path), HOSHIKAGE_HOST=address, HOME=str(tmp_path))
    process = subprocess.Popen(FAKE_SERVER, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it says that it listens
        for options in (("--url", address), ()):
            result = hoshikage(None, "load", "m", *options, HOSHIKAGE_HOST=address)
            assert (result.returncode, result.stderr) == (0, "")
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nsorry",
        b"",
    ],
    ids=["another protocol", "another program", "a page", "hangs up"],
)
def test_something_else_listens_there(answer: bytes) -> None:
    """One sentence with the address."""
    with listener(answer) as port:
        url = f"http://127.0.0.1:{port}"
        assert url in refused(None, "status", "--url", url, status=NO_SERVER)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """Every wait has an end."""
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path)})
    with listener(None) as port:
        began = time.monotonic()
        with pytest.raises(ServerError) as caught:
            Client(settings, f"http://127.0.0.1:{port}").get("/v1/status", StatusObject, 0.2)
        assert time.monotonic() - began < 30
    assert caught.value.code == "server_silent"
    assert "0.2" in caught.value.text("en")


def test_a_stream_that_falls_silent(tmp_path: Path) -> None:
    """What is told is for how long nothing came, not how long connecting may take."""
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path)})
    begun = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: begun\n\n"
    with listener(begun, hangs_up=False) as port, pytest.raises(ServerError) as caught:
        list(Client(settings, f"http://127.0.0.1:{port}").stream("/v1/chat/completions", b"{}", 0.2))
    assert caught.value.code == "server_silent"
    assert "0.2" in caught.value.text("en")


def test_who_gives_up_on_a_load_no_longer_waits(server: ServerProcess) -> None:
    """The server notices, and what loads for nobody makes place for others."""
    process = start(server, "load", "never")
    wait_for(lambda: server.status["state"] == "loading", 10, "it loads")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    wait_for(lambda: server.status["queue"]["running"] == 0, 2, "the queue is free")
    assert "is loaded" in told(server, "load", "m")


def test_watching(server: ServerProcess) -> None:
    """Again every second, until Ctrl-C, which is no error."""
    process = start(server, "status", "--watch", "--json")
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline())["uptime_s"] for _ in range(2))
    assert 0.9 < second - first < 30
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_columns_of_wide_characters() -> None:
    """Each begins at the same place of the screen; a column with nothing in it takes none."""
    lines = columns([["星影", "", "a"], ["x", "", "b"], ["が\u3099", "", "c\x1b[2J"]])
    assert [width(line[: line.index(mark)]) for line, mark in zip(lines, "abc", strict=True)] == [6, 6, 6]
    assert "\x1b" not in lines[2]
    assert columns([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((-1, "0.00 s"), (0.123, "0.12 s"), (9.44, "9.4 s"), (9.6, "10 s"), (59.4, "59 s"), (61, "1 min 1 s")),
        *((3599.6, "1 h 0 min"), (86399, "23 h 59 min"), (200_000, "2 d 7 h")),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    """As people say them."""
    assert StatusView("en").duration(seconds) == words


def test_all_that_can_be_shown(server: ServerProcess) -> None:
    """No placeholder and no key of the catalogue is left in the table."""
    memory = {"rss_bytes": 3 * 2**30, "private_bytes": 1, "vram_bytes": 5 * 2**30}
    status: dict[str, Any] = json.loads(told(server, "status", "--json")) | {
        "retry_after_s": {"other": 7.0},
        "last_error": "an error",
        "model_map_error": "a broken map",
        "last_tokens_per_s": 12.34,
        "n_engine_crashes": 1,
        "crashes": [{"at": 0.0, "model": "m", "reason": "signal SIGKILL"}],
        "gpus": [
            {
                "index": 0,
                "name": "NVIDIA Fake",
                "used_bytes": 2**33,
                "total_bytes": 2**34,
                "utilisation": 0.25,
                "power_w": 212.4,
                "temperature_c": 61,
                "energy_j": 123456.0,
            },
            {
                "index": 1,
                "name": "NVIDIA Old",
                "used_bytes": 2**30,
                "total_bytes": None,
                "utilisation": None,
                "power_w": None,
                "temperature_c": None,
                "energy_j": None,
            },
        ],
        "energy": {"m": {"total_j": 1234.0, "n_tokens": 500, "j_per_token": 2.468, "last_answer_j": 45.6}},
        "last_unload": {
            "model": "m",
            "at": 0.0,
            "freed": memory,
            "gpus_fell_bytes": None,
            "is_complete": False,
            "left": memory,
            "left_pids": [12, 34],
            "problem": "no descriptors",
        },
    }
    for language in ("ja", "en"):
        table = StatusView(language).table(msgspec.convert(status, StatusObject), "http://x")
        for word in ("an error", "a broken map", "12.3", "SIGKILL", "VRAM 5.00 GiB", "12, 34", "no descriptors", "7.0"):
            assert word in table
        for word in ("VRAM 8.00 GiB / 16.00 GiB", "25%", "212 W", "61 °C", "123.5 kJ", "2.47 J", "45.6 J", "1.2 kJ"):
            assert word in table
        for trace in ("{", "row_", "state_", "status_", "time_"):
            assert trace not in table
