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

from report import BUSY_CPUS, Report, goals_table, read_json, write_json

FOLDER = Path(__file__).resolve().parent
ENDING_S = 30.0  # of a script that ends its servers
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
    arguments = ["--plot", str(options.folder / f"{script}.png")] if options.plots else []
    if options.quick:
        arguments.append("--quick")
    if options.model and MODEL in known:
        arguments += ["--model", str(options.model)]
    if options.threads and MODEL in known:
        arguments += ["--threads", str(options.threads)]
    if options.no_peers and PEERS in known:
        arguments.append("--no-peers")
    return arguments


def run_script(script: str, arguments: Sequence[str], limit_s: float | None = None) -> list[Report] | None:
    """What a script found; None when it failed, which it has said itself, or took too long."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "found.json")
        command = [sys.executable, str(FOLDER / f"{script}.py"), "--json", str(output), *arguments]
        with subprocess.Popen(command) as process:
            try:
                status = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                print(f"error: {script} took longer than {limit_s:.0f} s", file=sys.stderr)
                return None
            finally:
                _end(process)
        return read_json(output) if status == 0 else None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # it ends its servers then
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:  # a native call does not come back
        process.kill()


def page(results: Mapping[str, Sequence[Report] | None], author: str = "results.py") -> str:
    """A page of what each script found, by the heading it gets; `author` is who writes the page."""
    reports = [report for found in results.values() for report in found or ()]
    lines = ["# Results", "", f"Written by `benchmarks/{author}`. What a row means is in [README.md](README.md).", ""]
    if reports:
        lines += [*_origin(reports), "", goals_table(reports), ""]
    for heading, found in results.items():
        lines += [f"## {heading}", ""]
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
        f"{machine['system']}, Python {machine['python']}" + "".join(f", {gpu}" for gpu in machine.get("gpus", ())),
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
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Report] | None] = {}
    for script in options.only or SCRIPTS:
        print(f"\n== {script}", file=sys.stderr, flush=True)
        found = results[f"{script}.py"] = run_script(script, arguments_for(script, options))
        if options.folder and found is not None:
            write_json(options.folder / f"{script}.json", found)
    options.output.write_text(page(results), encoding="utf-8")
    failed = [script for script, found in results.items() if found is None]
    print(f"\n{options.output} is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
