"""Real engines that are killed at any moment: nobody notices, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from server_process import REAL_SERVER, ServerProcess, is_alive, wait_for
from tiny_gguf import TinyModel

N_KILLS = 100
LIMIT_S = 60


@dataclass(frozen=True)
class Told:
    """What a client got."""

    text: str
    n_completion: int
    finish_reason: str


@pytest.fixture(scope="module")
def forgetful_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel(is_forgetful=True).write(tmp_path_factory.mktemp("models") / "forgetful.gguf")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, forgetful_path: Path, smollm2_path: Path
) -> Iterator[ServerProcess]:
    models = {
        "tiny": {"path": str(forgetful_path.parent), "model": forgetful_path.name},
        "smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name, "n_ctx": 512},
    }
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, models, command=REAL_SERVER, threads=1, crash_limit=10**6) as started:
        yield started


def call(server: ServerProcess, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    try:
        connection.request("POST", path, json.dumps(body or {}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask(server: ServerProcess, model: str, seed: int, max_tokens: int, *, stream: bool) -> Told:
    """One answer, whole; fails for anything that is no complete answer."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": f"Tell me a story of {seed + 2} lighthouses."}],
        "seed": seed,
        "temperature": 0.8 if seed % 2 else 0,
        "max_tokens": max_tokens,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    status, data = call(server, "/v1/chat/completions", body)
    assert status == 200, data
    if not stream:
        answer = json.loads(data)
        choice = answer["choices"][0]
        return Told(choice["message"]["content"], answer["usage"]["completion_tokens"], choice["finish_reason"])
    events = data.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""], data[-300:]
    chunks = [json.loads(event[6:]) for event in events[:-2] if event.startswith("data: ")]
    assert not any("error" in chunk for chunk in chunks), data[-300:]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return Told(
        "".join(choice["delta"].get("content") or "" for choice in choices),
        chunks[-1]["usage"]["completion_tokens"],
        choices[-1]["finish_reason"],
    )


def kill_engine(server: ServerProcess) -> None:
    """Kills what there is to kill, and waits until the server knows."""
    pids = [engine["pid"] for engine in server.status["engines"]]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        wait_for(lambda pid=pid: pid not in [e["pid"] for e in server.status["engines"]], 10, "its end is known")  # type: ignore[misc]


class Victims:
    """Requests with an engine that dies under them at a random moment."""

    def __init__(self, server: ServerProcess, model: str, max_tokens: int, n_seeds: int = 4) -> None:
        self.server = server
        self.model = model
        self.max_tokens = max_tokens
        self.random = random.Random(model)
        self.told: Counter[str] = Counter()
        began = time.monotonic()
        self.undisturbed = [ask(server, model, seed, max_tokens, stream=bool(seed & 2)) for seed in range(n_seeds)]
        self.duration_s = (time.monotonic() - began) / n_seeds

    def disturb(self, action: Callable[[], Any], within_s: float) -> Any:
        with ThreadPoolExecutor(1) as pool:
            running: Future[Any] = pool.submit(action)
            time.sleep(self.random.uniform(0, within_s))
            kill_engine(self.server)
            return running.result(LIMIT_S)

    def answer(self, *, stream: bool) -> None:
        seed = self.random.randrange(len(self.undisturbed))
        expected = self.undisturbed[seed]
        got = self.disturb(
            lambda: ask(self.server, self.model, seed, self.max_tokens, stream=stream), 1.2 * self.duration_s
        )
        self.told["the same" if got == expected else "otherwise"] += 1
        if got != expected:
            assert got.n_completion <= self.max_tokens
            print(f"{self.model}, seed {seed}: {got} instead of {expected}")

    def load(self) -> None:
        status, data = self.disturb(lambda: call(self.server, f"/v1/models/{self.model}/load"), 0.4)
        assert status == 200, data

    def unload(self) -> None:
        status, data = self.disturb(lambda: call(self.server, f"/v1/models/{self.model}/unload"), 0.02)
        assert status == 200, data


@pytest.mark.slow
def test_a_hundred_deaths(server: ServerProcess) -> None:
    """kill -9 at random moments of streams, plain answers, loads and unloads.

    No client sees an error; answers of the tiny model are those of an undisturbed run, to the letter.
    """
    worker = server.worker_pid()
    victims = Victims(server, "tiny", 400)
    for i in range(N_KILLS):
        (
            lambda: victims.answer(stream=True),
            lambda: victims.answer(stream=False),
            victims.unload,
            victims.load,
        )[i % 4]()
    assert server.worker_pid() == worker
    assert set(victims.told) == {"the same"}, victims.told
    resumed = len(re.findall(r"died: signal SIGKILL \(tiny; requests: req_", server.log))
    assert resumed >= 10, "kills hit answers that were under way"


@pytest.mark.slow
def test_answers_of_a_real_model_go_on(server: ServerProcess) -> None:
    """SmolLM2, greedy and seeded: each answer is complete, with every token counted once.

    Its text may differ from the undisturbed run's after the seam (prefill and decode round differently); what the
    client had read before stays the beginning of the answer, of course.
    """
    victims = Victims(server, "smollm2", 24)
    for i in range(8):
        victims.answer(stream=i % 2 == 0)
    print(f"continued answers: {dict(victims.told)}")


def test_a_stopped_engine_is_replaced(start_real: Callable[..., ServerProcess]) -> None:
    """SIGSTOP in the middle of an answer: after stall_timeout of silence another engine goes on with it."""
    server = start_real(stall_timeout=2)
    expected = ask(server, "tiny", 0, 2000, stream=False)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, "tiny", 0, 2000, stream=True)
        wait_for(lambda: [r for r in server.status["requests"] if r["n_completion"] > 10], 20, "it decodes")
        pid = server.status["engines"][0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert running.result(LIMIT_S) == expected
    wait_for(lambda: not is_alive(pid), 5, "the stopped one is gone")
    assert "no sign of life" in server.status["crashes"][0]["reason"]


@pytest.fixture
def start_real(tmp_path: Path, forgetful_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts real servers with the tiny model."""
    started: list[ServerProcess] = []

    def start(**settings: object) -> ServerProcess:
        models = {"tiny": {"path": str(forgetful_path.parent), "model": forgetful_path.name}}
        folder = tmp_path / str(len(started))
        server = ServerProcess(folder, models, command=REAL_SERVER, **{"threads": 1, **settings})  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
