"""How fast is the server back from the dark, and how little does a client notice of an engine's death?

One server, one client, one model. Nothing here is compared with another program: the first row is what the others are
to be judged by.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from itertools import pairwise
from pathlib import Path

from common import Options, Size, fail, rounds, run
from report import Report
from servers import MODEL_ID, SENTENCE, Server, our_server
from streams import connect

SHORT = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
N_AFTER_DEATH = 50
LIMIT_S = 60.0


@contextmanager
def stream(server: Server, messages: object, n_tokens: int) -> Iterator[HTTPResponse]:
    """The response of a streamed answer; leaving hangs up."""
    connection = connect(server.port)
    request = {"model": MODEL_ID, "messages": messages, "max_tokens": n_tokens, "temperature": 0, "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"})
    try:
        response = connection.getresponse()
        if response.status != 200:
            fail(f"the server answered {response.status}: {response.read().decode()}")
        yield response
    finally:
        connection.close()


def next_text(response: HTTPResponse) -> str:
    """Waits for the next piece of text of a stream."""
    while True:
        line = response.readline()
        if not line:
            fail("the stream ended")
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                fail(f"the stream ended with {event['error']}")
            if text := event["choices"][0]["delta"].get("content"):
                return str(text)


def first_text_ms(server: Server) -> float:
    began = time.perf_counter()
    with stream(server, SHORT, 8) as response:
        next_text(response)
        took_ms = 1000 * (time.perf_counter() - began)
        response.read()
    return took_ms


def forget_file(path: Path) -> None:
    """Lets the kernel drop what it keeps of a file in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def gap_after_kill_ms(server: Server, n_before: int) -> float:
    """The longest silence of a stream whose engine is killed."""
    arrivals = []
    with stream(server, SHORT, n_before + N_AFTER_DEATH + 10) as response:
        for _ in range(n_before):
            next_text(response)
        os.kill(server.status["engines"][0]["pid"], signal.SIGKILL)
        for _ in range(N_AFTER_DEATH):
            arrivals.append(time.perf_counter())
            next_text(response)
        response.read()
    return 1000 * max(later - earlier for earlier, later in pairwise(arrivals))


def free_after_disconnect_ms(server: Server, messages: object, wait_for_text: bool) -> float:
    """From hanging up until the engine computes nothing more of the answer."""
    with stream(server, messages, 500) as response:
        if wait_for_text:
            next_text(response)
        else:
            _wait_for("prefill", lambda: any(each["phase"] == "prefill" for each in server.status["requests"]))
            time.sleep(0.2)  # somewhere in the middle
    left = time.perf_counter()
    _wait_for("a free engine", lambda: not server.status["queue"]["running"])
    took_ms = 1000 * (time.perf_counter() - left)
    _wait_for("a ready engine", lambda: server.status["engines"][0]["state"] == "ready")
    return took_ms


def _wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Asks as often as it can: what is measured is how soon it comes."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            fail(f"{what} was not seen within {LIMIT_S:.0f} s")


def measure(options: Options) -> list[Report]:
    """One server, one thing after the other."""
    report = Report("Back from the dark", options.settings(), options.build, unit="ms")
    with our_server(options.model, options.threads, crash_limit=1_000_000) as server:
        first_text_ms(server)
        for repetition in rounds(options):
            long = [{"role": "user", "content": f"Run {repetition:03d}. {SENTENCE * options.sentences}"}]
            report.add("first token, loaded", {"time": first_text_ms(server)})
            server.unload()
            report.add("first token, from dark", {"time": first_text_ms(server)})
            server.unload()
            forget_file(options.model)
            report.add("first token, from dark and disk", {"time": first_text_ms(server)})
            for n_before in options.before_death:
                name = f"next token after kill -9, {n_before} tokens in"
                report.add(name, {"time": gap_after_kill_ms(server, n_before)})
            report.add("disconnect in decode to free", {"time": free_after_disconnect_ms(server, SHORT, True)})
            report.add("disconnect in prefill to free", {"time": free_after_disconnect_ms(server, long, False)})
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("before_death", (10, 150), quick=(4,), help="tokens before the engine is killed"),
        Size("sentences", 120, quick=120, help="length of the prompt that is left while it is computed"),
        repetitions=10,
        has_peers=False,
    )
