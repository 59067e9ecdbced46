"""How fast is an answer: llama-bench, hoshikage_core, our HTTP stream and llama-server's, side by side in one run.

All four compute on the same build of the same llama.cpp, with the same model, threads, prompt and number of tokens,
greedily, one after another in changing order. llama-bench only computes; the others also render the chat template,
tokenize, sample and make text; the two servers also speak HTTP, and their speeds are what a client sees.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import oracle
from common import ROOT, Report, check_plot_support, fail
from streams import HOST, StreamTiming, free_port, running_server, stream_chat

from hoshikage_server.machine import physical_cores

BENCH, CORE, HTTP, SERVER = "llama-bench", "hoshikage_core", "hoshikage HTTP", "llama-server HTTP"
REFERENCES = (BENCH, SERVER)
N_CTX, N_BATCH = 4096, 512
MODEL_ID = "bench"
SENTENCE = "The keeper climbs the stairs at dusk, cleans the lamp, writes down the weather and lights the flame. "


@dataclass(frozen=True)
class Task:
    """What each candidate does in one repetition."""

    model: Path
    n_threads: int
    n_sentences: int
    n_tokens: int

    def messages(self, repetition: int) -> list[dict[str, str]]:
        """A prompt whose beginning no earlier one had, so that no cache of prompts can help."""
        return [
            {"role": "system", "content": f"Run {repetition:03d}. You are a storyteller."},
            {"role": "user", "content": f"{SENTENCE * self.n_sentences}Tell me a very long story about this keeper."},
        ]

    def request(self, repetition: int) -> dict[str, object]:
        """The same for a server."""
        return {
            "model": MODEL_ID,
            "messages": self.messages(repetition),
            "max_tokens": self.n_tokens,
            "temperature": 0,
        }


def time_llama_bench(tool: Path, task: Task, n_prompt: int) -> dict[str, float]:
    """Prefill of a prompt of this length, and decode after one."""

    def tokens_per_s(*test: str) -> float:
        common = ["-m", str(task.model), "-t", str(task.n_threads), "-b", str(N_BATCH), "-r", "1", "-o", "json"]
        run = subprocess.run([tool, *common, *test], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            fail(f"llama-bench ended with status {run.returncode}:\n{run.stderr[-2000:]}")
        return float(json.loads(run.stdout)[0]["avg_ts"])

    return {
        "prefill": tokens_per_s("-p", str(n_prompt), "-n", "0"),
        "decode": tokens_per_s("-p", "0", "-n", str(task.n_tokens), "-d", str(n_prompt)),
    }


def time_core(task: Task, repetition: int) -> StreamTiming:
    """One answer by hoshikage_core, in a process of its own."""
    argument = {
        "model": str(task.model),
        "messages": task.messages(repetition),
        "n_tokens": task.n_tokens,
        "n_threads": task.n_threads,
        "n_ctx": N_CTX,
    }
    command = [sys.executable, str(ROOT / "benchmarks" / "core_worker.py"), json.dumps(argument)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        fail(f"hoshikage_core's process ended with status {run.returncode}")
    return StreamTiming(**json.loads(run.stdout))


@contextmanager
def llama_server(tool: Path, task: Task) -> Iterator[int]:
    """llama-server on a port, without the prompt cache that would copy each finished conversation away."""
    port = free_port()
    command = [str(tool), "-m", str(task.model), "--host", HOST, "--port", str(port), "--offline", "-np", "1"]
    command += ["-t", str(task.n_threads), "-c", str(N_CTX), "-b", str(N_BATCH), "--cache-ram", "0", "--fit", "off"]
    with running_server(command, port, {}):
        yield port


@contextmanager
def our_server(task: Task, parallel: int = 1, cache_ram: int = 0) -> Iterator[int]:
    """`hoshikage serve` on a port, with settings of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        entry = {"path": str(task.model.parent), "model": task.model.name}
        Path(folder, "model_map.json").write_text(json.dumps({MODEL_ID: entry}), encoding="utf-8")
        environment = {
            "HOSHIKAGE_CONFIG_DIR": folder,
            "HOSHIKAGE_MODEL_MAP": str(Path(folder, "model_map.json")),
            "HOSHIKAGE_HOST": HOST,
            "HOSHIKAGE_PORT": str(port),
            "HOSHIKAGE_API_KEYS": "",
            "HOSHIKAGE_N_CTX": str(N_CTX),
            "HOSHIKAGE_THREADS": str(task.n_threads),
            "HOSHIKAGE_PARALLEL": str(parallel),
            "HOSHIKAGE_CACHE_RAM": str(cache_ram),
        }
        with running_server([str(Path(sys.executable).parent / "hoshikage"), "serve"], port, environment):
            yield port


def measure(task: Task, tools: oracle.Tools, repetitions: int) -> Report:
    """Runs all candidates, each once a repetition, in an order that moves on by one each time."""
    report = Report(
        title="Prefill and decode of one answer",
        settings={
            "model": task.model.name,
            "model_bytes": task.model.stat().st_size,
            "threads": task.n_threads,
            "n_ctx": N_CTX,
            "n_batch": N_BATCH,
            "n_completion": task.n_tokens,
            "temperature": 0,
            "repetitions": repetitions,
        },
        build=tools.description,
    )
    with llama_server(tools.llama_server, task) as llama_port, our_server(task) as our_port:
        answers: dict[str, Callable[[int], StreamTiming]] = {
            CORE: lambda repetition: time_core(task, repetition),
            HTTP: lambda repetition: stream_chat(our_port, task.request(repetition)),
            SERVER: lambda repetition: stream_chat(llama_port, task.request(repetition)),
        }
        # The first round loads what has to be loaded and is not counted.
        warm_up = {name: answer(0) for name, answer in answers.items()}
        n_prompt = _check_alike(warm_up, task)
        report.settings = {**report.settings, "n_prompt": n_prompt, "same_text": _same_text(warm_up)}
        names = [BENCH, CORE, HTTP, SERVER]
        report.samples = {name: {} for name in names}
        for repetition in range(1, repetitions + 1):
            start = repetition % len(names)
            for name in names[start:] + names[:start]:
                if name == BENCH:
                    report.add(name, time_llama_bench(tools.llama_bench, task, n_prompt))
                else:
                    timing = answers[name](repetition)
                    _check_alike({name: timing}, task)
                    report.add(name, timing.speeds())
            print(f"repetition {repetition} of {repetitions} done", file=sys.stderr)
    return report


def _check_alike(timings: Mapping[str, StreamTiming], task: Task) -> int:
    """All did the same work, or their speeds must not be compared; returns the number of prompt tokens."""
    for name, timing in timings.items():
        if timing.n_completion != task.n_tokens:
            fail(f"{name} ended after {timing.n_completion} of {task.n_tokens} tokens: ask for fewer with --tokens")
    n_prompts = {name: timing.n_prompt for name, timing in timings.items()}
    if len(set(n_prompts.values())) != 1:
        fail(f"the candidates saw prompts of different lengths: {n_prompts}")
    return next(iter(n_prompts.values()))


def _same_text(timings: Mapping[str, StreamTiming]) -> bool:
    return len({timing.text for timing in timings.values()}) == 1


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="default: physical cores (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens to generate (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=10, help="length of the prompt (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write header, samples, medians and ratios")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw medians and samples; needs matplotlib")
    return parser.parse_args()


def main() -> None:
    """Builds the tools, measures, shows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the servers end too
    options = parse_options()
    if options.tokens < 2 or options.repetitions < 1 or options.threads < 1 or options.sentences < 0:
        fail("--tokens must be at least 2, --repetitions and --threads at least 1")
    if options.plot:
        check_plot_support()
    if options.model is None:
        from hoshikage_server.demo import demo_model_path
        from hoshikage_server.errors import ServerError

        try:
            options.model = demo_model_path()
        except ServerError as error:
            fail(error.text("en"))
    if not options.model.is_file():
        fail(f"there is no model at {options.model}")
    task = Task(options.model.resolve(), options.threads, options.sentences, options.tokens)
    report = measure(task, oracle.build(), options.repetitions)
    print(report.heading(), end="\n\n")
    print(report.table(REFERENCES))
    if options.json:
        report.write_json(options.json, REFERENCES)
    if options.plot:
        report.write_plot(options.plot)


if __name__ == "__main__":
    main()
