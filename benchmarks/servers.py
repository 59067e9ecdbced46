"""The servers that are compared, each with a port of its own, and what they are all asked."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import fail
from processes import family
from streams import HOST, connect, free_port, running_server

OURS, THEIRS = "hoshikage", "llama-server"
N_CTX, N_BATCH = 4096, 512
SETTLE_S = 0.5
MODEL_ID = "bench"
SENTENCE = "The keeper climbs the stairs at dusk, cleans the lamp, writes down the weather and lights the flame. "


@dataclass(frozen=True)
class Task:
    """What each candidate does in one repetition."""

    model: Path
    n_threads: int
    n_sentences: int
    n_tokens: int

    def messages(self, repetition: int) -> list[dict[str, str]]:
        """A prompt whose beginning no earlier one had, so that no cache of prompts can help."""
        return [
            {"role": "system", "content": f"Run {repetition:03d}. You are a storyteller."},
            {"role": "user", "content": f"{SENTENCE * self.n_sentences}Tell me a very long story about this keeper."},
        ]

    def request(self, repetition: int) -> dict[str, object]:
        """The same for a server."""
        return {
            "model": MODEL_ID,
            "messages": self.messages(repetition),
            "max_tokens": self.n_tokens,
            "temperature": 0,
        }


@dataclass(frozen=True)
class Server:
    """A server that runs: its port and its first process."""

    port: int
    pid: int

    @property
    def pids(self) -> list[int]:
        """All its processes, engines included."""
        return family(self.pid)

    def call(self, method: str, path: str) -> Any:
        """The JSON answer of a request without a body."""
        connection = connect(self.port)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            fail(f"{method} {path}: {response.status} {body.decode()}")
        return json.loads(body)

    @property
    def status(self) -> Any:
        """GET /v1/status, of ours."""
        return self.call("GET", "/v1/status")

    def unload(self) -> None:
        """Ends the engine, of ours."""
        self.call("POST", f"/v1/models/{MODEL_ID}/unload")


@contextmanager
def our_server(model: Path, n_threads: int, **settings: object) -> Iterator[Server]:
    """`hoshikage serve`, with a configuration and a cache of its own.

    Args:
        model: The only model, known as `MODEL_ID`.
        n_threads: Threads of the engine.
        settings: HOSHIKAGE_* settings without the prefix, in lower case.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        entry = {"path": str(model.parent), "model": model.name}
        Path(folder, "model_map.json").write_text(json.dumps({MODEL_ID: entry}), encoding="utf-8")
        environment = {"config_dir": folder, "cache_dir": folder, "host": HOST, "port": port}
        environment |= {"n_ctx": N_CTX, "threads": n_threads}
        environment = {f"HOSHIKAGE_{name.upper()}": str(value) for name, value in {**environment, **settings}.items()}
        with running_server([sys.executable, "-m", "hoshikage_server", "serve"], port, environment) as pid:
            yield Server(port, pid)


@contextmanager
def llama_server(tool: Path, model: Path, n_threads: int, *arguments: str) -> Iterator[Server]:
    """llama-server, given the same and what its command line says besides."""
    port = free_port()
    command = [str(tool), "-m", str(model), "--host", HOST, "--port", str(port), "--offline", "--fit", "off"]
    command += ["-t", str(n_threads), "-c", str(N_CTX), "-b", str(N_BATCH), *arguments]
    with running_server(command, port, {}) as pid:
        yield Server(port, pid)


def in_turn(candidates: list[str], repetition: int) -> Iterator[str]:
    """The candidates in an order that moves on by one in each repetition, so that none is always the first.

    Each of them when the one before has settled: ggml's threads look out for more work for some hundred milliseconds,
    in the way of whoever is next.
    """
    start = repetition % len(candidates)
    for candidate in candidates[start:] + candidates[:start]:
        time.sleep(SETTLE_S)
        yield candidate
