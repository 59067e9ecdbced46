"""How dark does the server go, how fast is it back, and how little does a client notice of a death?

One server, one client, one model. Times in ms, memory in MiB; nothing here is compared with another program: the first
row of each table is what the others are to be judged by.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import Report, check_plot_support, fail
from streams import HOST, free_port, running_server

MODEL_ID = "bench"
LIMIT_S = 120.0
SENTENCE = "The keeper climbs the stairs at dusk, cleans the lamp, writes down the weather and lights the flame. "
SHORT = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
LONG = [{"role": "user", "content": SENTENCE * 120}]
WATCH_S = 10.0


class Client:
    """What one person does with the server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def call(self, method: str, path: str) -> Any:
        """The JSON answer of a request without a body."""
        connection = HTTPConnection(HOST, self._port, timeout=LIMIT_S)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200:
            fail(f"{method} {path}: {response.status} {body.decode()}")
        return json.loads(body)

    @property
    def status(self) -> Any:
        """GET /v1/status."""
        return self.call("GET", "/v1/status")

    def unload(self) -> None:
        """Ends the engine."""
        self.call("POST", f"/v1/models/{MODEL_ID}/unload")

    @contextmanager
    def stream(self, messages: object, n_tokens: int) -> Iterator[HTTPResponse]:
        """The response of a streamed answer; leaving hangs up."""
        connection = HTTPConnection(HOST, self._port, timeout=LIMIT_S)
        request = {"model": MODEL_ID, "messages": messages, "max_tokens": n_tokens, "temperature": 0, "stream": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"})
        try:
            yield connection.getresponse()
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


def first_text_ms(client: Client) -> float:
    began = time.perf_counter()
    with client.stream(SHORT, 8) as response:
        next_text(response)
        took_ms = 1000 * (time.perf_counter() - began)
        response.read()
    return took_ms


def gap_after_kill_ms(client: Client, n_before: int) -> float:
    """The longest silence of a stream whose engine is killed."""
    arrivals = []
    with client.stream(SHORT, n_before + 60) as response:
        for _ in range(n_before):
            next_text(response)
        os.kill(client.status["engines"][0]["pid"], signal.SIGKILL)
        for _ in range(50):
            arrivals.append(time.perf_counter())
            next_text(response)
        response.read()
    return 1000 * max(later - earlier for earlier, later in pairwise(arrivals))


def free_after_disconnect_ms(client: Client, messages: object, wait_for_text: bool) -> float:
    with client.stream(messages, 500) as response:
        if wait_for_text:
            next_text(response)
        else:
            while client.status["requests"][0]["phase"] != "prefill":
                pass
            time.sleep(0.2)  # somewhere in the middle
    left = time.perf_counter()
    while client.status["queue"]["running"]:
        pass
    took_ms = 1000 * (time.perf_counter() - left)
    while client.status["engines"][0]["state"] != "ready":
        pass
    return took_ms


def pss_mib(pids: list[int]) -> float:
    """What processes hold, pages that several share divided among them."""
    kib = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def wakes_and_cpu(pids: list[int]) -> tuple[float, float]:
    """Wake-ups a second, and CPU in ms a second, of idle processes."""

    def now() -> tuple[int, float]:
        switches, jiffies = 0, 0
        for pid in pids:
            text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            switches += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("voluntary_"))
            jiffies += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return switches, jiffies * 1000 / os.sysconf("SC_CLK_TCK")

    (switches, cpu_ms), _ = now(), time.sleep(WATCH_S)
    after = now()
    return (after[0] - switches) / WATCH_S, (after[1] - cpu_ms) / WATCH_S


def measure(client: Client, server_pids: list[int], times: Report, memory: Report, repetitions: int) -> None:
    memory.add("server before the first load", {"PSS": pss_mib(server_pids)})
    first_text_ms(client)
    for _ in range(repetitions):
        times.add("first token, loaded", {"time": first_text_ms(client)})
        client.unload()
        times.add("first token, from dark", {"time": first_text_ms(client)})
        for n_before in (10, 150):
            times.add(f"next token after kill -9, {n_before} tokens in", {"time": gap_after_kill_ms(client, n_before)})
        times.add("disconnect in decode to free", {"time": free_after_disconnect_ms(client, SHORT, True)})
        times.add("disconnect in prefill to free", {"time": free_after_disconnect_ms(client, LONG, False)})
    pid = client.status["engines"][0]["pid"]
    memory.add("server with a model", {"PSS": pss_mib(server_pids)})
    memory.add("engine with a model", {"PSS": pss_mib([pid])})
    client.unload()
    last = client.status["last_unload"]
    memory.add("server dark again", {"PSS": pss_mib(server_pids)})
    print(f"last unload: {last}")
    wakes, cpu_ms = wakes_and_cpu(server_pids)
    print(f"dark: {wakes:.1f} wake-ups a second over {len(server_pids)} processes, {cpu_ms:.2f} ms of CPU a second")


@contextmanager
def serving(model: Path, n_threads: int | None) -> Iterator[tuple[int, list[int]]]:
    """A server with one model: its port, and its processes."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        entries = {MODEL_ID: {"path": str(model.parent), "model": model.name}}
        Path(folder, "model_map.json").write_text(json.dumps(entries), encoding="utf-8")
        environment: Mapping[str, str] = {
            "HOSHIKAGE_CONFIG_DIR": folder,
            "HOSHIKAGE_PORT": str(port),
            "HOSHIKAGE_CRASH_LIMIT": "1000000",
            **({"HOSHIKAGE_THREADS": str(n_threads)} if n_threads else {}),
        }
        with running_server([sys.executable, "-m", "hoshikage_server", "serve"], port, environment):
            (master,) = (pid for pid in children(os.getpid()))
            yield port, [master, *children(master)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; the demo model if not given")
    parser.add_argument("--threads", type=int, help="compute threads; the physical cores if not given")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the times, samples included")
    parser.add_argument("--plot", type=Path, help="draw the times")
    arguments = parser.parse_args()
    if arguments.plot:
        check_plot_support()
    from hoshikage_server.demo import demo_model_path

    model = arguments.model or demo_model_path()
    settings = {"model": model.name, "threads": arguments.threads or "default", "repetitions": arguments.repetitions}
    times = Report("Back from the dark", settings, {}, unit="ms")
    memory = Report("Memory", settings, {}, unit="MiB")
    with serving(model, arguments.threads) as (port, pids):
        measure(Client(port), pids, times, memory, arguments.repetitions)
    print(times.heading(), times.table([]), memory.table([]), sep="\n\n")
    if arguments.json:
        times.write_json(arguments.json, [])
    if arguments.plot:
        times.write_plot(arguments.plot)


if __name__ == "__main__":
    main()
