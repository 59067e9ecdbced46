"""How fast are several clients at once: total tokens a second of N streams, ours and llama-server's side by side.

Both get as many sequences as there are clients, the same context for all of them together, and the same prompts.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import oracle
from common import Report, check_plot_support
from decode import N_BATCH, N_CTX, Task, our_server
from streams import HOST, free_port, running_server, stream_chat

from hoshikage_server.machine import physical_cores

OURS, SERVER = "hoshikage", "llama-server"


@contextmanager
def llama_server(tool: Path, task: Task, n_clients: int) -> Iterator[int]:
    """llama-server on a port, with a sequence for each client in one context."""
    port = free_port()
    command = [str(tool), "-m", str(task.model), "--host", HOST, "--port", str(port), "--offline", "--fit", "off"]
    command += ["-t", str(task.n_threads), "-c", str(N_CTX), "-b", str(N_BATCH), "-np", str(n_clients), "-kvu"]
    with running_server([*command, "--cache-ram", "0"], port, {}):
        yield port


def together(port: int, task: Task, n_clients: int, repetition: int) -> float:
    """Tokens a second of all clients, from the first request to the last text."""
    with ThreadPoolExecutor(n_clients) as pool:
        requests = [task.request(repetition * n_clients + client) for client in range(n_clients)]
        timings = list(pool.map(lambda request: stream_chat(port, request), requests))
    return sum(timing.n_completion for timing in timings) / max(timing.last_text_s for timing in timings)


def measure(task: Task, tools: oracle.Tools, clients: list[int], repetitions: int) -> Report:
    """Both, for each number of clients, each once a repetition and in changing order."""
    report = Report(
        title="Several clients at once",
        settings={
            "model": task.model.name,
            "threads": task.n_threads,
            "n_ctx": N_CTX,
            "n_batch": N_BATCH,
            "n_completion": task.n_tokens,
            "repetitions": repetitions,
        },
        build=tools.description,
    )
    report.samples = {OURS: {}, SERVER: {}}
    for n_clients in clients:
        with (
            llama_server(tools.llama_server, task, n_clients) as llama_port,
            our_server(task, n_clients) as our_port,
        ):
            candidates = [(OURS, our_port), (SERVER, llama_port)]
            for _, port in candidates:
                together(port, task, n_clients, 0)
            for repetition in range(1, repetitions + 1):
                for name, port in candidates[:: 1 if repetition % 2 else -1]:
                    report.add(name, {f"{n_clients} clients": together(port, task, n_clients, repetition)})
                print(f"{n_clients} clients: repetition {repetition} of {repetitions} done", file=sys.stderr)
    return report


def main() -> None:
    """Builds the tools, measures, shows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the servers end too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="default: physical cores (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=4, help="length of the prompts (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write header, samples, medians and ratios")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw medians and samples; needs matplotlib")
    options = parser.parse_args()
    if options.plot:
        check_plot_support()
    if options.model is None:
        from hoshikage_server.demo import demo_model_path

        options.model = demo_model_path()
    task = Task(options.model.resolve(), options.threads, options.sentences, options.tokens)
    report = measure(task, oracle.build(), options.clients, options.repetitions)
    print(report.heading(), end="\n\n")
    print(report.table((SERVER,)))
    if options.json:
        report.write_json(options.json, (SERVER,))
    if options.plot:
        report.write_plot(options.plot)


if __name__ == "__main__":
    main()
