"""What is left on a busy machine: decode while another process computes all the time, and while none does.

hoshikage_core with all threads, which gives way by itself, beside llama-bench with fixed numbers of them; the best of
these is what somebody could reach who knew beforehand what else will run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Options, Size, rounds, run
from report import Goal, Report
from servers import Task, in_turn
from workers import llama_bench, time_worker

CORE, BEST = "hoshikage_core", "llama-bench, best"
WORKER = "core_worker.py"
QUIET, BUSY = "quiet", "busy"
GOALS = (
    Goal("decode beside a busy process / best fixed thread count", (CORE, BUSY), (BEST, BUSY), at_least=0.9),
    Goal("decode on a quiet machine / best fixed thread count", (CORE, QUIET), (BEST, QUIET), at_least=0.97),
)


@contextmanager
def other_processes(n: int) -> Iterator[None]:
    """Each wants a core for itself."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def decode_of_llama_bench(tool: Path, task: Task, n_threads: int, n_prompt: int) -> float:
    """Tokens a second of llama-bench, after a prompt of the same length."""
    test = ("-p", "0", "-n", str(task.n_tokens), "-d", str(n_prompt))
    return float(llama_bench(tool, task.model, n_threads, *test)[0]["avg_ts"])


def measure(options: Options) -> list[Report]:
    """All of them, quiet and busy, each once a repetition."""
    task = Task(options.model, options.threads, 1, options.tokens)
    fixed = sorted({options.threads, max(1, options.threads - 1), 1}, reverse=True) if options.tools else []
    report = Report(
        title="Decode beside other processes",
        settings=options.settings(),
        build=options.build,
        references=(BEST,),
        goals=GOALS,
    )
    n_prompt = time_worker(WORKER, task, 0).n_prompt
    for repetition in rounds(options):
        for measure, n_others in ((QUIET, 0), (BUSY, options.others)):
            with other_processes(n_others):
                for name in in_turn([CORE, *map(str, fixed)], repetition):
                    if name == CORE:
                        report.add(CORE, {measure: time_worker(WORKER, task, repetition).speeds()["decode"]})
                    else:
                        figure = decode_of_llama_bench(options.tools.llama_bench, task, int(name), n_prompt)
                        report.add(f"llama-bench, {name} threads", {measure: figure})
            if fixed:
                latest = [report.samples[f"llama-bench, {n} threads"][measure][-1] for n in fixed]
                report.add(BEST, {measure: max(latest)})
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("others", 1, quick=1, help="processes that compute all the time"),
        Size("tokens", 200, quick=8, help="tokens to generate", least=2),
        repetitions=5,
    )
