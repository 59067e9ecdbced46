"""How fast is a model deep in a long context: prefill and decode after so many tokens, ours beside llama-bench's -d.

Both compute alone, without HTTP: hoshikage_core finds what lies before in its own cache, llama-bench computes it first
and does not count it.
"""

from __future__ import annotations

from pathlib import Path

from common import Options, Size, rounds, run
from report import Goal, Report
from servers import N_BATCH, in_turn
from workers import llama_bench, work

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
    return {int(depth): speeds for depth, speeds in work("depth_worker.py", job).items()}


def run_llama_bench(tool: Path, options: Options) -> Speeds:
    """The same, of llama-bench."""
    tests = ["-b", str(N_BATCH), "-p", str(options.prompt), "-n", str(options.tokens)]
    tests += ["-d", ",".join(map(str, options.depths))]
    found: Speeds = {}
    for test in llama_bench(tool, options.model, options.threads, *tests):
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
