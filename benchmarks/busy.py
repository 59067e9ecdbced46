"""What is left on a busy machine: decode while another process computes all the time, and while none does.

hoshikage_core with all threads, which gives way by itself, beside llama-bench with fixed numbers of them; the best of
these is what somebody could reach who knew beforehand what else will run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Options, Size, fail, rounds, run
from report import Goal, Report
from servers import N_BATCH, N_CTX, Task, in_turn

CORE, BEST = "hoshikage_core", "llama-bench, best"
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


def decode_of_core(task: Task, repetition: int) -> tuple[float, int]:
    """Tokens a second of hoshikage_core, and how long its prompt was."""
    job = {"model": str(task.model), "messages": task.messages(repetition), "n_tokens": task.n_tokens}
    job |= {"n_threads": task.n_threads, "n_ctx": N_CTX, "n_batch": N_BATCH}
    command = [sys.executable, str(Path(__file__).with_name("core_worker.py")), json.dumps(job)]
    timing = json.loads(_output(command))
    speed = (timing["n_completion"] - 1) / (timing["last_text_s"] - timing["first_text_s"])
    return float(speed), int(timing["n_prompt"])


def decode_of_llama_bench(tool: Path, task: Task, n_threads: int, n_prompt: int) -> float:
    """Tokens a second of llama-bench, after a prompt of the same length."""
    command = [str(tool), "-m", str(task.model), "-t", str(n_threads), "-p", "0", "-n", str(task.n_tokens)]
    command += ["-d", str(n_prompt)]
    return float(json.loads(_output([*command, "-r", "1", "-o", "json"]))[0]["avg_ts"])


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
    _, n_prompt = decode_of_core(task, 0)
    for repetition in rounds(options):
        for measure, n_others in ((QUIET, 0), (BUSY, options.others)):
            with other_processes(n_others):
                for name in in_turn([CORE, *map(str, fixed)], repetition):
                    if name == CORE:
                        report.add(CORE, {measure: decode_of_core(task, repetition)[0]})
                    else:
                        figure = decode_of_llama_bench(options.tools.llama_bench, task, int(name), n_prompt)
                        report.add(f"llama-bench, {name} threads", {measure: figure})
            if fixed:
                latest = [report.samples[f"llama-bench, {n} threads"][measure][-1] for n in fixed]
                report.add(BEST, {measure: max(latest)})
    return [report]


def _output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        fail(f"{command[0]} ended with status {run.returncode}:\n{run.stderr[-2000:]}")
    return run.stdout


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("others", 1, quick=1, help="processes that compute all the time"),
        Size("tokens", 200, quick=8, help="tokens to generate", least=2),
        repetitions=5,
    )
