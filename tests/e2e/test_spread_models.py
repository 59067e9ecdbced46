"""A server whose model is spread over workers, which come and go."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from rpc_workers import RpcWorker, Tunnel, free_port
from server_process import REAL_SERVER, ServerProcess, wait_for
from tiny_gguf import TinyModel

LIMIT_S = 60
N_TOKENS = 1500


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel(is_forgetful=True, n_ctx_train=4096).write(tmp_path_factory.mktemp("models") / "forgetful.gguf")


@contextlib.contextmanager
def serving(folder: Path, model_path: Path, ports: tuple[int, ...], **settings: object) -> Iterator[ServerProcess]:
    """A model that is spread, and the same one on this machine alone."""
    place = {"path": str(model_path.parent), "model": model_path.name}
    models = {
        "spread": {**place, "rpc_servers": [f"127.0.0.1:{port}" for port in ports]},
        "local": {**place, "rpc_servers": []},
    }
    more: dict[str, Any] = {"threads": 1, "crash_limit": 1000, "load_backoff": 0.1, **settings}
    with ServerProcess(folder / "server", models, command=REAL_SERVER, **more) as server:
        yield server


class Reader:
    """A streamed answer, read piece by piece.

    Attributes:
        text: What has come.
        error: What it ended with.
    """

    def __init__(self, server: ServerProcess, model: str, n_tokens: int) -> None:
        self.text = ""
        self.error: dict[str, Any] | None = None
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Tell me of lighthouses."}],
            "temperature": 0,
            "ignore_eos": True,
            "max_tokens": n_tokens,
            "stream": True,
        }
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body))
        self._response = self._connection.getresponse()
        if self._response.status != 200:
            self.error = json.loads(self._response.read())["error"]

    def read(self, n_characters: int | None = None) -> Reader:
        """Reads so much, or to the end."""
        while self.error is None and (n_characters is None or len(self.text) < n_characters):
            line = self._response.readline()
            if not line:
                break
            if line.startswith(b"data: {"):
                chunk = json.loads(line.removeprefix(b"data: "))
                self.error = chunk.get("error")
                self.text += "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
        if self.error is not None or n_characters is None:
            self._connection.close()
        return self


def answer(server: ServerProcess, model: str, n_tokens: int) -> str:
    reader = Reader(server, model, n_tokens).read()
    assert reader.error is None
    return reader.text


def test_the_same_answer(tmp_path: Path, tiny_model_path: Path) -> None:
    """Two workers compute what this machine computes; the status names them, and sleep forgets nothing."""
    with (
        RpcWorker(tmp_path) as one,
        RpcWorker(tmp_path) as other,
        serving(tmp_path, tiny_model_path, (one.port, other.port)) as server,
    ):
        local = answer(server, "local", 200)
        assert server.status["engines"][0]["rpc_servers"] == []
        assert answer(server, "spread", 200) == local
        [engine] = server.status["engines"]
        assert engine["rpc_servers"] == [one.server, other.server]
        assert engine["gpu_layers"] == engine["n_layers"] == TinyModel().n_layer + 1
        assert answer(server, "local", 200) == local
        assert answer(server, "spread", 200) == local


def test_another_worker_in_its_place(tmp_path: Path, model_path: Path) -> None:
    """The answer that a worker was killed in goes on with the one that is there at once, and is the whole answer."""
    with (
        RpcWorker(tmp_path) as one,
        contextlib.closing(RpcWorker(tmp_path)) as victim,
        RpcWorker(tmp_path) as other,
        Tunnel(victim.port) as tunnel,
        serving(tmp_path, model_path, (one.port, tunnel.port)) as server,
    ):
        undisturbed = answer(server, "local", N_TOKENS)
        reader = Reader(server, "spread", N_TOKENS).read(20)
        tunnel.to = other.port
        victim.kill()
        assert reader.read().error is None
        assert reader.text == undisturbed
        [crash] = server.status["crashes"]
        assert "RPC" in crash["reason"]


def test_a_worker_that_stays_away(tmp_path: Path, model_path: Path) -> None:
    """The answer ends with an error that names it, and so does the next one, until it is there again."""
    ports = (free_port(), free_port())
    with (
        RpcWorker(tmp_path, ports[0]),
        contextlib.closing(RpcWorker(tmp_path, ports[1])) as victim,
        serving(tmp_path, model_path, ports) as server,
    ):
        reader = Reader(server, "spread", N_TOKENS).read(20)
        victim.kill()
        assert reader.read().text
        for error in (reader.error, Reader(server, "spread", 5).error):
            assert error is not None
            assert error["code"] == "model_load_failed"
            assert victim.server in error["message"]
            assert f"rpc-worker --port {victim.port}" in error["message"]
        assert answer(server, "local", 5)
        with RpcWorker(tmp_path, ports[1]):
            wait_for(lambda: not server.status["retry_after_s"], LIMIT_S, "it may be tried again")
            assert answer(server, "spread", 5)


def test_a_worker_that_hangs(tmp_path: Path, model_path: Path) -> None:
    """The engine that waits for it is ended after the stall timeout; the request is told why no other one can go on."""
    with RpcWorker(tmp_path) as worker, serving(tmp_path, model_path, (worker.port,)) as server:
        reader = Reader(server, "spread", N_TOKENS).read(20)
        os.kill(worker.process.pid, signal.SIGSTOP)
        server.change(stall_timeout=5)  # only now, and not less: engines are silent while they start
        try:
            error = reader.read().error
        finally:
            os.kill(worker.process.pid, signal.SIGCONT)
        assert error is not None
        assert worker.server in error["message"]
        wait_for(lambda: not server.status["retry_after_s"], LIMIT_S, "it may be tried again")
        assert answer(server, "spread", 5)


def test_no_worker(tmp_path: Path, model_path: Path) -> None:
    """A clear answer, in time, of a server that lives on."""
    port = free_port()
    with serving(tmp_path, model_path, (port,)) as server:
        error = Reader(server, "spread", 5).error
        assert error is not None
        assert f"127.0.0.1:{port}" in error["message"]
        assert server.status["n_engine_crashes"] == 0
        assert answer(server, "local", 5)
