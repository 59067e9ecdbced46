"""How fast is a model deep in a long context: prefill and decode after so many tokens, ours beside llama-bench's -d.

Both compute alone, without HTTP: hoshikage_core finds what lies before in its own cache, llama-bench computes it first
and does not count it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from common import Options, Size, fail, rounds, run
from report import Goal, Report
from servers import N_BATCH, in_turn

CORE, BENCH = "hoshikage_core", "llama-bench"
Speeds = dict[int, dict[str, float]]


def run_core(options: Options) -> Speeds:
    """Depth -> prefill and decode, of ours."""
    job = {
        "model": str(options.model),
        "n_threads": options.threads,
        "n_batch": N_BATCH,
        "n_ctx": max(options.depths) + options.prompt + options.tokens,
        "depths": options.depths,
        "n_prompt": options.prompt,
        "n_tokens": options.tokens,
    }
    command = [sys.executable, str(Path(__file__).with_name("depth_worker.py")), json.dumps(job)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        fail(f"hoshikage_core's process ended with status {run.returncode}")
    return {int(depth): speeds for depth, speeds in json.loads(run.stdout).items()}


def run_llama_bench(tool: Path, options: Options) -> Speeds:
    """The same, of llama-bench."""
    command = [str(tool), "-m", str(options.model), "-t", str(options.threads), "-b", str(N_BATCH), "-r", "1"]
    command += ["-p", str(options.prompt), "-n", str(options.tokens), "-d", ",".join(map(str, options.depths))]
    run = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        fail(f"llama-bench ended with status {run.returncode}:\n{run.stderr[-2000:]}")
    found: Speeds = {}
    for test in json.loads(run.stdout):
        measure = "prefill" if test["n_prompt"] else "decode"
        found.setdefault(test["n_depth"], {})[measure] = float(test["avg_ts"])
    return found


def measure(options: Options) -> list[Report]:
    """A report of each depth, so that a row can be compared with the one above it."""
    candidates = {CORE: lambda: run_core(options)}
    if options.tools:
        candidates[BENCH] = lambda: run_llama_bench(options.tools.llama_bench, options)
    reports = {
        depth: Report(
            title=f"After {depth} tokens",
            settings=options.settings(n_batch=N_BATCH),
            build=options.build,
            references=(BENCH,),
            goals=[
                Goal(f"{what} after {depth} tokens / llama-bench -d", (CORE, what), (BENCH, what), at_least=0.97)
                for what in ("prefill", "decode")
            ],
            samples={name: {} for name in candidates},
        )
        for depth in options.depths
    }
    for repetition in rounds(options):
        for name in in_turn(list(candidates), repetition):
            for depth, speeds in candidates[name]().items():
                reports[depth].add(name, speeds)
    return list(reports.values())


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("depths", (0, 1024, 3072), quick=(0, 64), help="tokens before what is measured", least=0),
        Size("prompt", 256, quick=32, help="further tokens of a prompt"),
        Size("tokens", 32, quick=8, help="tokens to generate", least=2),
        repetitions=3,
    )
