"""What `gpu.sh run` measures once all is built: the important figures first, each kept as soon as it is there.

Writes gpu.json and gpu.md into a folder, anew after each script: a run that is cut off has lost only what it was at.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from report import Report, write_json
from results import page, run_script

LEAST_S = 15.0  # with less time left a script is not begun
MOST_S = 150.0  # one that hangs does not cost those after it their time
# The tokenizer of random models takes some 50 tokens for a sentence.
SENTENCES_2000_TOKENS = "38"


@dataclass(frozen=True)
class Step:
    """A script, the model's place in --models (the large one is the first), and what it is told."""

    script: str
    model: int
    arguments: tuple[str, ...] = ()
    needs_gpu: bool = False
    has_peers: bool = True


STEPS = (
    Step("decode", 0, ("--sentences", "8", "--repetitions", "3")),
    Step("cancel", 0, has_peers=False),
    Step("vram", 0, needs_gpu=True, has_peers=False),
    Step("ttft", 0, ("--sentences", SENTENCES_2000_TOKENS, "--repetitions", "3")),
    Step("concurrency", 0, ("--clients", "4", "8", "--repetitions", "2")),
    Step("copying", 0, has_peers=False),
    Step("sampling", 0, ("--repetitions", "3")),
    Step("decode", 1, ("--sentences", "8", "--repetitions", "3")),
    Step("sampling", 1, ("--repetitions", "3")),
    Step("cancel", 1, has_peers=False),
)


def main() -> int:
    """Runs the steps; 1 when one of them failed or there was no time for it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for gpu.json and gpu.md")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="the large one first")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for all of them (default: 600)")
    scripts = list(dict.fromkeys(step.script for step in STEPS))
    parser.add_argument("--only", nargs="+", choices=scripts, metavar="SCRIPT", help=f"of {', '.join(scripts)}")
    parser.add_argument("--no-gpu", action="store_true", help="leave out what only a GPU has")
    parser.add_argument("--no-peers", action="store_true", help="leave llama-bench and llama-server out")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast it is")
    options = parser.parse_args()
    deadline = time.monotonic() + options.limit
    options.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Report] | None] = {}
    for step in STEPS:
        if step.model >= len(options.models) or (step.needs_gpu and options.no_gpu):
            continue
        if options.only and step.script not in options.only:
            continue
        model = options.models[step.model]
        heading = f"{step.script}.py, {model.stem}"
        left_s = deadline - time.monotonic()
        print(f"\n== {heading}: {left_s:.0f} s are left", file=sys.stderr, flush=True)
        arguments = ["--model", str(model), *(["--quick"] if options.quick else step.arguments)]
        if options.no_peers and step.has_peers:
            arguments.append("--no-peers")
        limit_s = min(left_s, MOST_S)
        found = results[heading] = run_script(step.script, arguments, limit_s) if left_s >= LEAST_S else None
        for report in found or ():
            report.goals = [replace(goal, name=f"{model.stem}: {goal.name}") for goal in report.goals]
        write_json(options.folder / "gpu.json", [report for found in results.values() for report in found or ()])
        (options.folder / "gpu.md").write_text(page(results, "gpu.sh"), encoding="utf-8")
    failed = [heading for heading, found in results.items() if found is None]
    print((options.folder / "gpu.md").read_text(encoding="utf-8"))
    print(f"failed, or without time: {'; '.join(failed)}" if failed else "all was measured")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
