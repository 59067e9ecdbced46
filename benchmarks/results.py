"""Runs every benchmark and writes benchmarks/RESULTS.md: ratios, what was to be reached, on which machine and build.

One script after the other, each in a process of its own, so that none disturbs another; about half an hour in all.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from report import BUSY_CPUS, Report, goals_table, read_json

FOLDER = Path(__file__).resolve().parent
# Which of the options below each script knows.
MODEL, PEERS = "model", "peers"
SCRIPTS: Mapping[str, frozenset[str]] = {
    "decode": frozenset({MODEL, PEERS}),
    "ttft": frozenset({MODEL, PEERS}),
    "concurrency": frozenset({MODEL, PEERS}),
    "speculative": frozenset({MODEL}),
    "long_context": frozenset({MODEL, PEERS}),
    "p99": frozenset({MODEL, PEERS}),
    "busy": frozenset({MODEL, PEERS}),
    "memory": frozenset({MODEL, PEERS}),
    "quiet": frozenset({MODEL}),
    "soak": frozenset({MODEL}),
    "http_overhead": frozenset(),
}


def arguments_for(script: str, options: argparse.Namespace) -> list[str]:
    """The part of our command line that a script understands."""
    known = SCRIPTS[script]
    arguments = ["--quick"] if options.quick else []
    if options.model and MODEL in known:
        arguments += ["--model", str(options.model)]
    if options.threads and MODEL in known:
        arguments += ["--threads", str(options.threads)]
    if options.no_peers and PEERS in known:
        arguments.append("--no-peers")
    return arguments


def run_script(script: str, options: argparse.Namespace, folder: Path) -> list[Report] | None:
    """What a script found; None when it failed, which it has said itself."""
    output = folder / f"{script}.json"
    output.unlink(missing_ok=True)
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--json", str(output)]
    if options.plots:
        command += ["--plot", str(folder / f"{script}.png")]
    with subprocess.Popen([*command, *arguments_for(script, options)]) as process:
        try:
            status = process.wait()
        finally:
            process.terminate()  # it ends its servers then
    return read_json(output) if status == 0 else None


def page(results: Mapping[str, Sequence[Report] | None]) -> str:
    """RESULTS.md."""
    reports = [report for found in results.values() for report in found or ()]
    lines = ["# Results", "", "Written by `benchmarks/results.py`. What a row means is in [README.md](README.md).", ""]
    if reports:
        lines += [*_origin(reports), "", goals_table(reports), ""]
    for script, found in results.items():
        lines += [f"## {script}.py", ""]
        if found is None:
            lines += ["It failed: no figures.", ""]
        for report in found or ():
            settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
            lines += [f"**{report.title}**: {settings}", "", report.table(), ""]
    return "\n".join(lines).rstrip() + "\n"


def _origin(reports: Sequence[Report]) -> list[str]:
    first = reports[0]
    machine, build = first.machine, first.build
    commits = sorted({report.commit for report in reports})
    busiest = max(report.busy_cpus_before for report in reports)
    lines = [
        f"* machine: {machine['cpu']}, {machine['physical_cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}",
        f"* date: {min(report.date for report in reports)} to {max(report.date for report in reports)}",
        f"* commit: {', '.join(commit or 'none' for commit in commits)}"
        + (' ("+": with changes that are in no commit)' if any(commit.endswith("+") for commit in commits) else ""),
        f"* build: llama.cpp {build['llama_cpp_commit'][:10]}, {build['backend']}, {build['compiler']}",
        f"* others kept at most {busiest:.2f} processors busy before a script began",
    ]
    if busiest > BUSY_CPUS:
        lines.append("* **warning: the machine was not idle; the figures mean little**")
    return lines


def main() -> int:
    """Runs them all, or those that were asked for; 1 when one of them failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), metavar="SCRIPT", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--output", type=Path, default=FOLDER / "RESULTS.md", help="default: benchmarks/RESULTS.md")
    parser.add_argument("--folder", type=Path, help="keep the JSON of each script there")
    parser.add_argument("--plots", action="store_true", help="and its plot; needs --folder and matplotlib")
    parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
    parser.add_argument("--threads", type=int, help="default: the physical cores")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast it is")
    parser.add_argument("--no-peers", action="store_true", help="leave llama-bench and llama-server out")
    options = parser.parse_args()
    if options.plots and not options.folder:
        parser.error("--plots needs --folder")
    results: dict[str, list[Report] | None] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for script in options.only or SCRIPTS:
            print(f"\n== {script}", file=sys.stderr, flush=True)
            results[script] = run_script(script, options, folder)
    options.output.write_text(page(results), encoding="utf-8")
    failed = [script for script, found in results.items() if found is None]
    print(f"\n{options.output} is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
