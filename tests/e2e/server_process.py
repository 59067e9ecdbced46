"""A real server in a process of its own, on a port the system chose."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

FAKES = Path(__file__).resolve().parent.parent / "fakes"
FAKE_SERVER = (sys.executable, str(FAKES / "serve.py"))
REAL_SERVER = (sys.executable, "-m", "hoshikage_server", "serve")

FAKE_MODELS: dict[str, dict[str, Any]] = {
    name: {"path": "/nowhere", "model": f"{name}.gguf", "stop": []}
    for name in ("m", "other", "refuse", "die", "dieonce", "slow", "gated", "never", "stubborn")
}

TIMEOUT_S = 60  # for one answer, or for a start: only what hangs takes longer

_PATIENCE = 10  # a busy machine may take so many times as long as a free one
_ESTABLISHED = "01"
_READ_AGAIN = "settings were read again"
_URL = re.compile(rb"http://127\.0\.0\.1:(\d+)")


class NotReadyError(Exception):
    """The server did not say that it listens."""


def wait_for(condition: Callable[[], Any], usual_s: float, what: str, pause_s: float = 0.01) -> Any:
    """Waits until `condition` gives something true, and returns it; fails the test when it does not.

    Args:
        condition: Asked again and again.
        usual_s: What is enough on a free machine. It may take ten times as long, so what would come true by itself in
            the end has to be farther away than that.
        what: Words for the failure.
        pause_s: Between two looks.
    """
    limit_s = usual_s * _PATIENCE
    deadline = time.monotonic() + limit_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(pause_s)


def holds(condition: Callable[[], Any], during_s: float, what: str) -> None:
    """Fails the test as soon as `condition` is not true; for what must not happen, which nothing tells of."""
    until = time.monotonic() + during_s
    while time.monotonic() < until:
        assert condition(), f"not for {during_s} s: {what}"
        time.sleep(0.05)


class ServerProcess:
    """Starts a server and waits until it listens; a context manager that ends it.

    Args:
        folder: For its configuration, its log and the fake engine's.
        models: Written to model_map.json.
        settings: HOSHIKAGE_* variables without the prefix, in lower case.
    """

    def __init__(
        self,
        folder: Path,
        models: dict[str, dict[str, Any]],
        *,
        command: Sequence[str] = FAKE_SERVER,
        ready_timeout_s: float = TIMEOUT_S,
        **settings: object,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_map.json").write_text(json.dumps(models))
        self._changed: dict[str, float] = {}
        key = str(settings.get("api_keys", "")).partition(",")[0]
        self.auth = {"Authorization": f"Bearer {key}"} if key else {}
        self.log_path = folder / "server.log"
        self.engine_log_path = folder / "engine.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOSHIKAGE_")}
        environ |= {
            "HOSHIKAGE_CONFIG_DIR": str(folder),
            "HOSHIKAGE_CACHE_DIR": str(folder / "cache"),
            "HOSHIKAGE_PORT": "0",
            "HOSHIKAGE_LANG": "en",
            "HOME": str(folder),
            "FAKE_ENGINE_LOG": str(self.engine_log_path),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        environ |= {f"HOSHIKAGE_{name.upper()}": str(value) for name, value in settings.items()}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environ, cwd=folder, start_new_session=True
            )
        try:
            self.port = self._read_port(ready_timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def engine_log(self) -> list[str]:
        return self.engine_log_path.read_text().splitlines() if self.engine_log_path.exists() else []

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> bytes:
        """The bytes of one HTTP/1.1 request."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (self.auth | (headers or {})).items()]
        return "\r\n".join([*lines, "", ""]).encode() + data

    def chat_request(self, text: str, model: str = "m", **fields: object) -> bytes:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.request("POST", "/v1/chat/completions", body)

    def ask(self, method: str, path: str, body: object = None, language: str = "en") -> tuple[int, Any]:
        """The status of an answer, and its object."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, self.auth | {"Accept-Language": language})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def post(self, path: str, language: str = "en", **fields: object) -> tuple[int, Any]:
        return self.ask("POST", path, fields, language)

    @property
    def status(self) -> Any:
        return self.get("/v1/status")

    def n_unread(self, client: socket.socket) -> int | None:
        """Bytes of a client's that the server has not read yet; None when they are no longer connected."""
        ours, theirs = (f"0100007F:{port:04X}" for port in (self.port, client.getsockname()[1]))
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        queues = {(row[1], row[2]): row[4].split(":") for row in rows if row[3] == _ESTABLISHED}
        if (ours, theirs) not in queues:
            return None
        n_on_the_way = int(queues.get((theirs, ours), ["0", "0"])[0], 16)
        return n_on_the_way + int(queues[ours, theirs][1], 16)

    def change(self, **settings: float) -> None:
        """Other settings from now on. Those that it was started with stay: the environment wins over the file."""
        self.get("/health")  # a worker that is just starting would not hear the signal
        self._changed |= settings
        n_read = self.log.count(_READ_AGAIN)
        lines = [f"{name} = {value}\n" for name, value in self._changed.items()]
        (self.log_path.parent / "hoshikage.toml").write_text("".join(lines))
        os.kill(self.worker_pid(), signal.SIGHUP)
        wait_for(lambda: self.log.count(_READ_AGAIN) > n_read, 5, "the settings are read again")

    def open_gate(self, name: str) -> None:
        """Lets go on what waits for it; see tests/fakes/engine.py."""
        self.engine_log_path.with_name(name).touch()

    def close_gate(self, name: str) -> None:
        """Whatever comes to it waits again."""
        self.engine_log_path.with_name(name).unlink()

    @property
    def engine_pid(self) -> int:
        """Of the one engine there is."""
        [engine] = self.status["engines"]
        return int(engine["pid"])

    def worker_pid(self) -> int:
        """gunicorn's worker: the only child of its master, which listens before it forks."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(wait_for(lambda: children.read_text().split(), 10, "a worker")[0])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_port(self, timeout_s: float) -> int:
        """The server prints its URL when it accepts connections."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        seen = b""
        while not (match := _URL.search(seen)):
            if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise NotReadyError(f"silent for {timeout_s} s: {self.log}")
            data = os.read(descriptor, 65536)
            if not data:
                raise NotReadyError(f"ended: {self.log}")
            seen += data
        return int(match[1])


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Everything up to and including `mark` (or to the end)."""
    data = b""
    while mark not in data and (piece := connection.recv(65536)):
        data += piece
    return data


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the file was opened, or before it was read
        return False
