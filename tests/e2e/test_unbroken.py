"""Real engines that are killed at any moment: nobody notices, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
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
from http.client import HTTPConnection, HTTPResponse
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


class Listener:
    """One answer as its client reads it.

    Attributes:
        pieces: Of a stream's text, what has arrived.
    """

    def __init__(self, server: ServerProcess, model: str, seed: int, max_tokens: int, *, stream: bool) -> None:
        self.pieces: list[str] = []
        self._server = server
        self._body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": f"Tell me a story of {seed + 2} lighthouses."}],
            "seed": seed,
            "temperature": 0.8 if seed % 2 else 0,
            "max_tokens": max_tokens,
        }
        if stream:
            self._body |= {"stream": True, "stream_options": {"include_usage": True}}

    def listen(self) -> Told:
        """The answer, whole; fails for anything that is no complete answer."""
        if not self._body.get("stream"):
            status, data = call(self._server, "/v1/chat/completions", self._body)
            assert status == 200, data
            answer = json.loads(data)
            choice = answer["choices"][0]
            return Told(choice["message"]["content"], answer["usage"]["completion_tokens"], choice["finish_reason"])
        with contextlib.closing(HTTPConnection("127.0.0.1", self._server.port, timeout=LIMIT_S)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(self._body))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            return self._told(response)

    def _told(self, response: HTTPResponse) -> Told:
        finish_reason, n_completion, data = "", 0, b""
        for line in response:
            data = line.removeprefix(b"data: ").strip() or data
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(data)
            assert "error" not in chunk, chunk
            for choice in chunk["choices"]:
                self.pieces.append(choice["delta"].get("content") or "")
                finish_reason = choice["finish_reason"] or finish_reason
            n_completion = (chunk.get("usage") or {}).get("completion_tokens", n_completion)
        assert data == b"[DONE]", data
        return Told("".join(self.pieces), n_completion, finish_reason)


def ask(server: ServerProcess, model: str, seed: int, max_tokens: int, *, stream: bool) -> Told:
    """One answer."""
    return Listener(server, model, seed, max_tokens, stream=stream).listen()


def state_of(pid: int) -> str:
    """As the kernel abbreviates it; of what is gone, as of what has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def engine_pids(server: ServerProcess) -> list[int]:
    return [engine["pid"] for engine in server.status["engines"]]


def kill_engines(server: ServerProcess, pids: list[int]) -> bool:
    """Kills engines, and waits until the server knows.

    Returns:
        Whether that is what ended it. It is stopped first: what ends by itself meanwhile was not killed.
    """
    is_killed = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        is_killed |= wait_for(lambda pid=pid: (state := state_of(pid)) in "TZX" and state, 10, "it is stopped") == "T"  # type: ignore[misc]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: pid not in engine_pids(server), 10, "its end is known")  # type: ignore[misc]
    return is_killed


class Victims:
    """Requests whose engine dies under them.

    Attributes:
        kills: Engines that were killed, by what was asked of them.
        told: How continued answers compare with those of an undisturbed run.
    """

    def __init__(self, server: ServerProcess, model: str, max_tokens: int, n_seeds: int = 4) -> None:
        self.server = server
        self.model = model
        self.max_tokens = max_tokens
        self.random = random.Random(model)
        self.kills: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self._call("load")
        began = time.monotonic()
        self.undisturbed = [ask(server, model, seed, max_tokens, stream=bool(seed & 2)) for seed in range(n_seeds)]
        self.duration_s = (time.monotonic() - began) / n_seeds

    @property
    def n_under_answers(self) -> int:
        """Engines that died while a request had them."""
        return len(re.findall(rf"died: signal SIGKILL \({self.model}; requests: req_", self.server.log))

    def _disturb(
        self, kind: str, action: Callable[[], Any], is_time: Callable[[], bool], pids: list[int] | None = None
    ) -> Any:
        """Kills the engine when it is time, or when the action has ended before; whichever engine there is then."""
        with ThreadPoolExecutor(1) as pool:
            running: Future[Any] = pool.submit(action)
            wait_for(lambda: is_time() or running.done(), LIMIT_S, "it is time", pause_s=0.001)
            self.kills[kind] += kill_engines(self.server, engine_pids(self.server) if pids is None else pids)
            return running.result(LIMIT_S)

    def _within(self, limit_s: float) -> Callable[[], bool]:
        """At a random moment."""
        moment = time.monotonic() + self.random.uniform(0, limit_s)
        return lambda: time.monotonic() >= moment

    def answer(self, *, stream: bool, after: int | None = None) -> None:
        """An answer whose engine dies at any moment, or when so much of it is there."""
        self._call("load")
        seed = self.random.randrange(len(self.undisturbed))
        expected = self.undisturbed[seed]
        listener = Listener(self.server, self.model, seed, self.max_tokens, stream=stream)
        if after is None:
            is_time = self._within(1.2 * self.duration_s)
        elif stream:
            is_time = lambda: len(listener.pieces) > after  # noqa: E731
        else:
            is_time = lambda: any(r["n_completion"] >= after for r in self.server.status["requests"])  # noqa: E731
        heard: list[str] = []

        def note() -> bool:
            heard[:] = listener.pieces
            return is_time()

        got = self._disturb("stream" if stream else "plain", listener.listen, note)
        assert expected.text.startswith("".join(heard)), "what was heard before is as if nothing had happened"
        if heard and len(heard) < len(listener.pieces):
            self.told["streams, half heard"] += 1
        if got.finish_reason == "length":
            assert got.n_completion == self.max_tokens
        else:
            assert 0 < got.n_completion < self.max_tokens
        self.told["the same" if got == expected else "otherwise"] += 1
        if got != expected:
            print(f"{self.model}, seed {seed}: {got} instead of {expected}")

    def load(self) -> None:
        """A load whose engine dies."""
        self._call("unload")
        self._disturb("load", lambda: self._call("load"), self._within(0.4))

    def unload(self) -> None:
        """An unloading whose engine dies before it ends by itself."""
        self._call("load")
        self._disturb("unload", lambda: self._call("unload"), self._within(0.01), engine_pids(self.server))

    def _call(self, verb: str) -> None:
        status, data = call(self.server, f"/v1/models/{self.model}/{verb}")
        assert status == 200, data


@pytest.mark.slow
def test_a_hundred_deaths(server: ServerProcess) -> None:
    """kill -9 at random moments of streams, plain answers, loads and unloads: so many that did kill, of each kind.

    No client sees an error; answers of the tiny model are those of an undisturbed run, to the letter.
    """
    worker = server.worker_pid()
    victims = Victims(server, "tiny", 400)
    actions: dict[str, Callable[[], None]] = {
        "stream": lambda: victims.answer(stream=True),
        "plain": lambda: victims.answer(stream=False),
        "unload": victims.unload,
        "load": victims.load,
    }
    for kind, action in actions.items():
        for _ in range(5 * N_KILLS):
            if victims.kills[kind] == N_KILLS // len(actions):
                break
            action()
    print(f"{dict(victims.kills)}, {victims.n_under_answers} under answers, {dict(victims.told)}")
    assert victims.kills == dict.fromkeys(actions, N_KILLS // len(actions))
    assert server.worker_pid() == worker
    assert victims.told["otherwise"] == 0
    assert victims.n_under_answers >= N_KILLS // 4, "kills hit answers that were under way"
    assert victims.told["streams, half heard"] >= N_KILLS // 10


@pytest.mark.slow
def test_answers_of_a_real_model_go_on(server: ServerProcess) -> None:
    """SmolLM2, greedy and seeded: each answer is complete, with every token counted once.

    Its text may differ from the undisturbed run's after the seam (prefill and decode round differently), not before.
    """
    victims = Victims(server, "smollm2", 24)
    n_before = victims.n_under_answers
    for i in range(8):
        victims.answer(stream=i % 2 == 0, after=victims.random.randrange(1, 12))
    n_resumed = victims.n_under_answers - n_before
    print(f"{n_resumed} answers went on: {dict(victims.told)}")
    assert n_resumed >= 6
    assert victims.told["streams, half heard"] >= 2


def test_a_stopped_engine_is_replaced(start_real: Callable[..., ServerProcess]) -> None:
    """SIGSTOP in the middle of an answer: after stall_timeout of silence another engine goes on with it."""
    server = start_real()
    expected = ask(server, "tiny", 0, 3500, stream=False)
    pid = server.engine_pid
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, "tiny", 0, 3500, stream=True)
        wait_for(lambda: [r for r in server.status["requests"] if r["n_completion"] > 10], 20, "it decodes")
        os.kill(pid, signal.SIGSTOP)
        server.change(stall_timeout=5)  # only now, and not less: engines are silent while they start
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
