"""What does the HTTP layer cost? Microseconds to the first token and for each further one, without a model.

The real server (gunicorn, Falcon, the lane, the supervisor, the socket to the engine) over an engine that computes
nothing: all the time and processor that an answer takes belong to what is around the model. One client, loopback.

    first token     from sending the request to having its first text; on a kept connection, or with a new one each time
    plain answer    the same for a whole answer of one token that is not streamed
    token, paced    processor time of the server's worker for a token that comes alone, one every few milliseconds
    token, flooded  the same, and the client's wall time, for tokens that come as fast as they can
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from common import Options, Size, fail, rounds, run
from processes import children, cpu_s
from report import ROOT, Goal, Report
from streams import HOST, free_port, running_server

SERVER = ROOT / "tests" / "fakes" / "serve.py"
LIMIT_S = 60.0
PAUSE_MS = 5
PACED = "token, paced: processor"
GOALS = (Goal("HTTP layer per streamed token, µs of CPU", (PACED, "time"), at_most=60),)


class Client:
    """One person with one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = HTTPConnection(HOST, port, timeout=LIMIT_S)

    def renew(self) -> None:
        """The next request needs a new connection."""
        self._connection.close()
        self._connection = HTTPConnection(HOST, self._port, timeout=LIMIT_S)

    def ask(self, text: str, *, stream: bool) -> tuple[float, float]:
        """Seconds until the first text (of a plain answer: until its end), and until the end."""
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream})
        began = time.perf_counter()
        self._connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        first_s = None
        while data := response.read1(1 << 20):
            if first_s is None and (not stream or b'"delta":{"content"' in data):
                first_s = time.perf_counter() - began
        end_s = time.perf_counter() - began
        response.read()  # only now the connection is free for the next request
        if response.status != 200 or first_s is None:
            fail(f"the server answered {response.status}")
        return first_s, end_s


def one_round(client: Client, worker: Path, report: Report, n_paced: int, n_flooded: int) -> None:
    report.add("first token, kept connection", {"time": 1e6 * client.ask("echo x", stream=True)[0]})
    client.renew()
    report.add("first token, new connection", {"time": 1e6 * client.ask("echo x", stream=True)[0]})
    report.add("plain answer, kept connection", {"time": 1e6 * client.ask("echo x", stream=False)[0]})
    before = cpu_s(worker)
    client.ask(f"count {n_paced} {PAUSE_MS}", stream=True)
    report.add(PACED, {"time": 1e6 * (cpu_s(worker) - before) / n_paced})
    before = cpu_s(worker)
    _, end_s = client.ask(f"count {n_flooded}", stream=True)
    report.add("token, flooded: processor", {"time": 1e6 * (cpu_s(worker) - before) / n_flooded})
    report.add("token, flooded: wall", {"time": 1e6 * end_s / n_flooded})


def measure(options: Options) -> list[Report]:
    """One server with the fake engine."""
    report = Report("Overhead of HTTP", options.settings(pause_ms=PAUSE_MS), options.build, unit="µs", goals=GOALS)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model_map.json").write_text('{"m": {"path": "/nowhere", "model": "m.gguf"}}', encoding="utf-8")
        environment = {
            "HOSHIKAGE_CONFIG_DIR": folder,
            "HOSHIKAGE_CACHE_DIR": folder,
            "HOSHIKAGE_PORT": str(port),
            "HOSHIKAGE_MAX_UNSENT": str(2 * options.flooded),
            "PYTHONPATH": str(ROOT),
        }
        with running_server([sys.executable, str(SERVER)], port, environment) as master:
            (worker,) = children(master)
            folder_of_worker = Path(f"/proc/{worker}")
            client = Client(port)
            client.ask("echo x", stream=True)  # starts the engine
            for _ in rounds(options):
                one_round(client, folder_of_worker, report, options.paced, options.flooded)
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("paced", 200, quick=10, help="tokens that come one by one"),
        Size("flooded", 20_000, quick=500, help="tokens that come as fast as they can"),
        repetitions=20,
        has_model=False,
        has_peers=False,
    )
