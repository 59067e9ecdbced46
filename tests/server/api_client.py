"""The application with the fake engine, called without a socket."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec
from falcon import testing

from hoshikage_server.app import Deps, create_app
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.settings import LiveSettings

FAKE_ENGINE = (sys.executable, str(Path(__file__).resolve().parent.parent / "fakes" / "engine.py"))


def wait_for(condition: Callable[[], Any], what: str = "it happens", timeout_s: float = 60) -> Any:
    """Waits until `condition` gives something true, and returns it; fails the test when it does not."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        gevent.sleep(0.005)
    return value


def give_up_silent(live: LiveSettings, supervisor: Supervisor) -> None:
    """Waits until the engine in use has been given up for its silence.

    Only this one: the next engine is silent while it starts, and may take long for that.
    """
    usual = live.now
    n_before = supervisor.snapshot().n_crashes
    live.now = msgspec.structs.replace(usual, stall_timeout=0.3)
    supervisor.settled()  # it looks at its deadlines again
    wait_for(lambda: supervisor.snapshot().n_crashes > n_before, "it is given up")
    live.now = usual


class Api:
    """The application with the fake engine, called without a socket."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.client = testing.TestClient(create_app(deps), headers={"Host": "localhost:3030"})

    def get(self, path: str, **options: Any) -> testing.Result:
        return self.client.simulate_get(path, **options)

    def post(self, body: object, path: str = "/v1/chat/completions", **options: Any) -> testing.Result:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.simulate_post(path, body=data, **options)

    def chat(self, text: str, model: str = "m", **fields: object) -> testing.Result:
        return self.post({"model": model, "messages": [{"role": "user", "content": text}], **fields})

    def stream(self, text: str, **fields: object) -> list[Any]:
        """The events of a stream, decoded; the last is None for [DONE]."""
        return events_of(self.chat(text, stream=True, **fields))


def events_of(result: testing.Result) -> list[Any]:
    """The events of a stream, decoded; the last is None for [DONE]."""
    assert result.status_code == 200, result.text
    assert result.headers["content-type"].startswith("text/event-stream")
    events = result.text.split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events)
    return [None if event == "data: [DONE]" else json.loads(event[6:]) for event in events]


MakeApi = Callable[..., Api]
