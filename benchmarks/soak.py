"""What is left after a while of everything: errors, and what the server holds more than before.

Clients that ask all kinds of things at once (streamed, plain, wrong, hanging up in the middle, unloading the model),
each thing chosen by chance from a fixed seed. Before the first count each thing was done once, and at both counts the
model is unloaded and nobody is connected, so that whatever grew has been lost.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection, HTTPException
from threading import Lock

from common import Options, Size, fail, run
from processes import family, n_descriptors, rss_mib
from report import Goal, Report
from servers import MODEL_ID, N_CTX, Server, our_server
from streams import connect

QUIET_LIMIT_S = 60.0
ALL = "all"


class Visitor:
    """A client that does one thing at a time, each on a connection of its own; errors are exceptions."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._things: dict[str, tuple[int, Callable[[], None]]] = {
            "streamed": (6, self._streamed),
            "plain": (6, self._plain),
            "completion": (3, self._completion),
            "hang up in the answer": (3, lambda: self._hang_up(1)),
            "hang up before the answer": (2, lambda: self._hang_up(0)),
            "wrong request": (3, self._wrong),
            "status": (3, self._status),
            "unload": (1, self._unload),
        }

    def names(self) -> list[str]:
        """All it can do."""
        return list(self._things)

    def choose(self) -> str:
        """What to do next."""
        return self._random.choices(self.names(), [weight for weight, _ in self._things.values()])[0]

    def do(self, name: str) -> None:
        """Does it."""
        self._things[name][1]()

    def _ask(self, path: str, body: object, expected: tuple[int, ...] = (200,)) -> bytes:
        connection = self._begin(path, body)
        try:
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status not in expected:
            raise ValueError(f"{path}: {response.status} {answer.decode(errors='replace')}")
        return answer

    def _begin(self, path: str, body: object) -> HTTPConnection:
        connection = connect(self._port)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def _chat(self, **fields: object) -> dict[str, object]:
        topic = "the sea, " * self._random.randrange(1, 40)
        message = {"role": "user", "content": f"Tell me about {topic}please."}
        return {"model": MODEL_ID, "messages": [message], "max_tokens": self._random.randrange(4, 24), **fields}

    def _streamed(self) -> None:
        answer = self._ask("/v1/chat/completions", self._chat(stream=True))
        if not answer.endswith(b"data: [DONE]\n\n"):
            raise ValueError(f"a stream ended with {answer[-200:]!r}")

    def _plain(self) -> None:
        answer = json.loads(self._ask("/v1/chat/completions", self._chat()))
        if not answer["usage"]["completion_tokens"]:
            raise ValueError("an empty answer")

    def _completion(self) -> None:
        self._ask("/v1/completions", {"model": MODEL_ID, "prompt": "Once upon a time", "max_tokens": 8})

    def _hang_up(self, n_bytes: int) -> None:
        connection = self._begin("/v1/chat/completions", self._chat(stream=True, max_tokens=500))
        try:
            if n_bytes:
                connection.getresponse().read(n_bytes)
        finally:
            connection.close()

    def _wrong(self) -> None:
        self._ask("/v1/chat/completions", self._chat(temperature="warm"), (400,))

    def _status(self) -> None:
        connection = connect(self._port)
        try:
            connection.request("GET", "/v1/status")
            json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _unload(self) -> None:
        # 409: somebody is being answered just now.
        self._ask(f"/v1/models/{MODEL_ID}/unload", None, (200, 409))


class Record:
    """What was done, and what went wrong."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.times_ms: dict[str, list[float]] = {}
        self.errors: dict[str, list[str]] = {}

    def do(self, visitor: Visitor, name: str) -> None:
        """Lets a visitor do something, and notes how it went."""
        error = None
        began = time.perf_counter()
        try:
            visitor.do(name)
        except (OSError, HTTPException, ValueError, KeyError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        took_ms = 1000 * (time.perf_counter() - began)
        with self._lock:
            self.times_ms.setdefault(name, []).append(took_ms)
            if error:
                self.errors.setdefault(name, []).append(error)


def when_quiet(server: Server) -> dict[str, float]:
    """Unloads, waits until nothing runs and nobody is connected, and counts what is held."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    while (status := server.status)["queue"]["running"] or status["queue"]["waiting"]:
        if time.monotonic() > deadline:
            fail(f"after {QUIET_LIMIT_S:.0f} s without new requests something still runs: {status['queue']}")
        time.sleep(0.05)
    if server.status["engines"]:
        server.unload()
    lowest = n_descriptors(family(server.pid))
    settle_until = time.monotonic() + 2  # connections are closed a little later than they are left
    while time.monotonic() < settle_until:
        time.sleep(0.05)
        lowest = min(lowest, n_descriptors(family(server.pid)))
    return {"RSS": rss_mib(family(server.pid)), "descriptors": lowest}


def visit(server: Server, record: Record, until: float, seed: int) -> None:
    """One client, until it is time to go."""
    visitor = Visitor(server.port, seed)
    while time.monotonic() < until:
        record.do(visitor, visitor.choose())


def measure(options: Options) -> list[Report]:
    """One server, everything at once."""
    settings = options.settings(n_ctx=N_CTX)
    requests = Report("Requests", settings, options.build, unit="ms", units={"number": "", "errors": ""})
    requests.goals = (Goal("soak: errors", (ALL, "errors"), at_most=0),)
    held = Report("What the server holds without a model", settings, options.build, unit="")
    held.goals = (
        Goal("soak: growth of the server's RSS, MiB", ("RSS, MiB", "growth"), at_most=16),
        Goal("soak: growth of its open descriptors", ("descriptors", "growth"), at_most=0),
    )
    for repetition in range(options.repetitions):
        record, warm_up = Record(), Record()
        with our_server(options.model, options.threads, parallel=2, crash_limit=1_000_000) as server:
            visitor = Visitor(server.port, 0)
            for name in visitor.names():
                warm_up.do(visitor, name)
            before = when_quiet(server)
            until = time.monotonic() + 60 * options.minutes
            with ThreadPoolExecutor(options.clients) as pool:
                seeds = [repetition * options.clients + client + 1 for client in range(options.clients)]
                list(pool.map(partial(visit, server, record, until), seeds))
            after = when_quiet(server)
        _add(requests, record, warm_up)
        for row, what in (("RSS, MiB", "RSS"), ("descriptors", "descriptors")):
            held.add(row, {"before": before[what], "after": after[what], "growth": after[what] - before[what]})
    return [requests, held]


def _add(report: Report, record: Record, warm_up: Record) -> None:
    for name, times in record.times_ms.items():
        n_errors = len(record.errors.get(name, []))
        report.add(name, {"number": len(times), "errors": n_errors, "median": sorted(times)[len(times) // 2]})
        report.add(name, {"longest": max(times)})
    errors = [
        f"{name}: {error}" for each in (warm_up, record) for name, found in each.errors.items() for error in found
    ]
    report.add(ALL, {"number": sum(map(len, record.times_ms.values())), "errors": len(errors)})
    for error in dict.fromkeys(errors):
        print(f"error: {error}")


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("minutes", 2.0, quick=0.1, help="how long", least=0.01),
        Size("clients", 4, quick=2, help="how many at once"),
        repetitions=1,
        has_peers=False,
    )
