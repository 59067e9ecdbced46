"""How soon comes the first text: of a new conversation, its next turn, on return from another one, and after a sleep.

Ours and llama-server's HTTP streams, built from the same source, with the same model, threads and prompts, one after
the other in changing order. llama-server keeps its own prompt cache in RAM, and sleeps by --sleep-idle-seconds.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import oracle
from common import Report, check_plot_support, fail
from decode import MODEL_ID, N_BATCH, N_CTX, SENTENCE, Task, our_server
from streams import HOST, StreamTiming, free_port, running_server, stream_chat

from hoshikage_server.machine import physical_cores

OURS, SERVER = "hoshikage", "llama-server"
SLEEP_S = 1
N_TOKENS = 8
Message = dict[str, str]


class Talk:
    """A conversation with a server."""

    def __init__(self, port: int, topic: str, n_sentences: int) -> None:
        self._port = port
        self._messages: list[Message] = [
            {"role": "system", "content": f"{topic}. You are a storyteller."},
            {"role": "user", "content": f"{SENTENCE * n_sentences}Tell me a long story about this keeper."},
        ]
        self.n_prompt = 0

    def first_text_ms(self) -> float:
        """Asks, and says when the first text came; the next question will be about the answer."""
        request = {"model": MODEL_ID, "messages": self._messages, "max_tokens": N_TOKENS, "temperature": 0}
        timing: StreamTiming = stream_chat(self._port, request)
        self._messages += [{"role": "assistant", "content": timing.text}, {"role": "user", "content": "And then?"}]
        self.n_prompt = timing.n_prompt
        return timing.first_text_s * 1000


@contextmanager
def llama_server(tool: Path, task: Task) -> Iterator[int]:
    """llama-server on a port, as it is by default but for what both are given."""
    port = free_port()
    command = [str(tool), "-m", str(task.model), "--host", HOST, "--port", str(port), "--offline", "-np", "1"]
    command += ["-t", str(task.n_threads), "-c", str(N_CTX), "-b", str(N_BATCH), "--fit", "off"]
    with running_server([*command, "--sleep-idle-seconds", str(SLEEP_S)], port, {}):
        yield port


def unload(port: int) -> None:
    """Sends our engine to sleep."""
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("POST", f"/v1/models/{MODEL_ID}/unload")
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status != 200:
        fail(f"unloading: {response.status}")


def doze(port: int) -> None:
    """Waits until llama-server sleeps; asking it would wake it."""
    time.sleep(2 * SLEEP_S + 1)


def one_life(
    port: int, repetition: int, n_sentences: int, sleep: Callable[[int], None]
) -> tuple[dict[str, float], int]:
    """All situations, once; and how long the longest prompt was."""
    first = Talk(port, f"Run {repetition:03d}, the first", n_sentences)
    other = Talk(port, f"Run {repetition:03d}, the other", n_sentences)
    figures = {"new": first.first_text_ms(), "next turn": first.first_text_ms()}
    other.first_text_ms()
    figures["return"] = first.first_text_ms()
    sleep(port)
    figures["after sleep"] = first.first_text_ms()
    return figures, first.n_prompt


def measure(task: Task, tools: oracle.Tools, repetitions: int) -> Report:
    """Runs both, each once a repetition, in an order that changes each time."""
    report = Report(
        title="Time to the first text",
        settings={
            "model": task.model.name,
            "threads": task.n_threads,
            "n_ctx": N_CTX,
            "n_batch": N_BATCH,
            "repetitions": repetitions,
        },
        build=tools.description,
        unit="ms",
    )
    with llama_server(tools.llama_server, task) as llama_port, our_server(task, cache_ram=2**30) as our_port:
        candidates = [(OURS, our_port, unload), (SERVER, llama_port, doze)]
        for _, port, _ in candidates:
            Talk(port, "Warm up", 1).first_text_ms()
        report.samples = {OURS: {}, SERVER: {}}
        for repetition in range(repetitions):
            for name, port, sleep in candidates[:: 1 if repetition % 2 else -1]:
                figures, n_prompt = one_life(port, repetition, task.n_sentences, sleep)
                report.add(name, figures)
                report.settings = {**report.settings, "n_prompt": n_prompt}
            print(f"repetition {repetition + 1} of {repetitions} done", file=sys.stderr)
    return report


def main() -> None:
    """Builds the tools, measures, shows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the servers end too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="default: physical cores (%(default)s)")
    parser.add_argument("--sentences", type=int, default=80, help="length of a prompt (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write header, samples, medians and ratios")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw medians and samples; needs matplotlib")
    options = parser.parse_args()
    if options.plot:
        check_plot_support()
    if options.model is None:
        from hoshikage_server.demo import demo_model_path

        options.model = demo_model_path()
    report = measure(
        Task(options.model.resolve(), options.threads, options.sentences, N_TOKENS), oracle.build(), options.repetitions
    )
    print(report.heading(), end="\n\n")
    print(report.table((SERVER,)))
    if options.json:
        report.write_json(options.json, (SERVER,))
    if options.plot:
        report.write_plot(options.plot)


if __name__ == "__main__":
    main()
