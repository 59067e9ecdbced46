"""What does the HTTP layer cost? Microseconds to the first token and for each further one, without a model.

The real server (gunicorn, Falcon, the lane, the supervisor, the socket to the engine) over an engine that computes
nothing: all the time and processor that an answer takes belong to what is around the model. One client, loopback.

    first token     from sending the request to having its first text; on a kept connection, or with a new one each time
    plain answer    the same for a whole answer of one token that is not streamed
    token, paced    processor time of the server's worker for a token that comes alone, one every few milliseconds
    token, flooded  the same, and the client's wall time, for tokens that come as fast as they can
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from common import ROOT, Report, check_plot_support, fail
from streams import HOST, free_port, running_server

SERVER = ROOT / "tests" / "fakes" / "serve.py"
LIMIT_S = 60.0
N_PACED, PAUSE_MS = 200, 5
N_FLOODED = 20_000


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


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    nanoseconds = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]
    return int(nanoseconds) / 1e9


def measure(client: Client, worker: int, report: Report) -> None:
    report.add("first token, kept connection", {"time": 1e6 * client.ask("echo x", stream=True)[0]})
    client.renew()
    report.add("first token, new connection", {"time": 1e6 * client.ask("echo x", stream=True)[0]})
    report.add("plain answer, kept connection", {"time": 1e6 * client.ask("echo x", stream=False)[0]})
    before = cpu_s(worker)
    client.ask(f"count {N_PACED} {PAUSE_MS}", stream=True)
    report.add("token, paced: processor", {"time": 1e6 * (cpu_s(worker) - before) / N_PACED})
    before = cpu_s(worker)
    _, end_s = client.ask(f"count {N_FLOODED}", stream=True)
    report.add("token, flooded: processor", {"time": 1e6 * (cpu_s(worker) - before) / N_FLOODED})
    report.add("token, flooded: wall", {"time": 1e6 * end_s / N_FLOODED})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the times, samples included")
    parser.add_argument("--plot", type=Path, help="draw the times")
    arguments = parser.parse_args()
    if arguments.plot:
        check_plot_support()
    settings = {"repetitions": arguments.repetitions, "paced": f"{PAUSE_MS} ms", "flooded": f"{N_FLOODED} tokens"}
    report = Report("Overhead of HTTP", settings, {}, unit="us")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model_map.json").write_text('{"m": {"path": "/nowhere", "model": "m.gguf"}}', encoding="utf-8")
        environment = {
            "HOSHIKAGE_CONFIG_DIR": folder,
            "HOSHIKAGE_PORT": str(port),
            "HOSHIKAGE_MAX_UNSENT": str(2 * N_FLOODED),
            "PYTHONPATH": str(ROOT),
        }
        with running_server([sys.executable, str(SERVER)], port, environment):
            (master,) = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()
            (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()
            client = Client(port)
            client.ask("echo x", stream=True)  # starts the engine
            for _ in range(arguments.repetitions):
                measure(client, int(worker), report)
    print(report.heading(), report.table([]), sep="\n\n")
    if arguments.json:
        report.write_json(arguments.json, [])
    if arguments.plot:
        report.write_plot(arguments.plot)


if __name__ == "__main__":
    main()
