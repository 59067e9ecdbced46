"""How fast is an answer: llama-bench, hoshikage_core, our HTTP stream and llama-server's, side by side in one run.

All four compute on the same build of the same llama.cpp, with the same model, threads, prompt and number of tokens,
greedily, one after another in changing order. llama-bench only computes; the others also render the chat template,
tokenize, sample and make text; the two servers also speak HTTP, and their speeds are what a client sees. Where
llama-cpp-python is installed, it takes part; its llama.cpp is its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from common import Options, Size, fail, rounds, run
from report import Goal, Report
from servers import N_BATCH, N_CTX, Task, in_turn, llama_server, our_server
from streams import StreamTiming, stream_chat
from workers import llama_bench, time_worker

BENCH, CORE, HTTP, SERVER = "llama-bench", "hoshikage_core", "hoshikage HTTP", "llama-server HTTP"
PYTHON = "llama-cpp-python"
GOALS = (
    Goal("HTTP stream decode / llama-bench tg", (HTTP, "decode"), (BENCH, "decode"), at_least=0.97),
    Goal("HTTP stream decode / llama-server", (HTTP, "decode"), (SERVER, "decode"), at_least=1.0),
)


def time_llama_bench(tool: Path, task: Task, n_prompt: int) -> dict[str, float]:
    """Prefill of a prompt of this length, and decode after one."""

    def tokens_per_s(*test: str) -> float:
        told = llama_bench(tool, task.model, task.n_threads, "-b", str(N_BATCH), *test)
        return float(told[0]["avg_ts"])

    return {
        "prefill": tokens_per_s("-p", str(n_prompt), "-n", "0"),
        "decode": tokens_per_s("-p", "0", "-n", str(task.n_tokens), "-d", str(n_prompt)),
    }


def measure(options: Options) -> list[Report]:
    """Runs all candidates, each once a repetition."""
    task = Task(options.model, options.threads, options.sentences, options.tokens)
    # Neither server may copy finished conversations away: that would cost it time here, and help nobody.
    with ExitStack() as running:
        ours = running.enter_context(our_server(task.model, task.n_threads, cache_ram=0))
        answers: dict[str, Callable[[int], StreamTiming]] = {
            CORE: partial(time_worker, "core_worker.py", task),
            HTTP: lambda repetition: stream_chat(ours.port, task.request(repetition)),
        }
        if options.tools:
            arguments = ("-np", "1", "--cache-ram", "0")
            theirs = running.enter_context(
                llama_server(options.tools.llama_server, task.model, task.n_threads, *arguments)
            )
            answers[SERVER] = lambda repetition: stream_chat(theirs.port, task.request(repetition))
        if importlib.util.find_spec("llama_cpp"):
            answers[PYTHON] = partial(time_worker, "llama_cpp_worker.py", task)
        # The first round loads what has to be loaded and is not counted.
        warm_up = {name: answer(0) for name, answer in answers.items()}
        n_prompt = _check_alike(warm_up, task)
        report = Report(
            title="Prefill and decode of one answer",
            settings=options.settings(
                n_ctx=N_CTX, n_batch=N_BATCH, temperature=0, n_prompt=n_prompt, same_text=_same_text(warm_up)
            ),
            build=options.build,
            references=(BENCH, SERVER),
            goals=GOALS,
        )
        names = [*([BENCH] if options.tools else []), *answers]
        report.samples = {name: {} for name in names}
        for repetition in rounds(options):
            for name in in_turn(names, repetition):
                if name == BENCH:
                    report.add(name, time_llama_bench(options.tools.llama_bench, task, n_prompt))
                else:
                    timing = answers[name](repetition)
                    _check_alike({name: timing}, task)
                    report.add(name, timing.speeds())
    return [report]


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


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("tokens", 128, quick=8, help="tokens to generate", least=2),
        Size("sentences", 10, quick=2, help="length of the prompt"),
        repetitions=7,
    )
