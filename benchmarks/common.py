"""What every benchmark script shares: who measured what on which machine, and how results are shown.

A result is a `Report`: a header that says where the figures come from, and for each candidate its samples. Everything
shown (table, JSON, plot) is made from it, so nothing can be shown that was not kept.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import NoReturn

try:
    from hoshikage_server.machine import busy_cpus, cpu_model, physical_cores
except ImportError:
    sys.exit(f"error: hoshikage is not installed for {sys.executable}: run `make install` and use .venv/bin/python")

ROOT = Path(__file__).resolve().parent.parent


def fail(reason: str) -> NoReturn:
    """Ends the script with one clear sentence."""
    sys.exit(f"error: {reason}")


def checkout_commit() -> str:
    """The commit of this checkout, with "+" when files differ from it; empty outside git and without it."""
    if shutil.which("git") is None:
        return ""

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return commit + "+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def machine() -> dict[str, object]:
    """The machine as far as it decides a figure."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "physical_cores": physical_cores(),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


@dataclass
class Report:
    """Samples of several candidates, and all it takes to judge them.

    Attributes:
        title: The question the benchmark answers.
        settings: What all candidates were given.
        build: The pin and flags they were built from.
        unit: The unit of every sample.
        busy_cpus_before: Processors that others kept busy before the first sample.
        samples: candidate -> measure -> one figure per repetition.
    """

    title: str
    settings: Mapping[str, object]
    build: Mapping[str, object]
    unit: str = "tokens/s"
    machine: Mapping[str, object] = field(default_factory=machine)
    commit: str = field(default_factory=checkout_commit)
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    busy_cpus_before: float = field(default_factory=busy_cpus)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, candidate: str, figures: Mapping[str, float]) -> None:
        """Keeps one repetition's figures of a candidate."""
        measures = self.samples.setdefault(candidate, {})
        for measure, figure in figures.items():
            measures.setdefault(measure, []).append(figure)

    def medians(self) -> dict[str, dict[str, float]]:
        """Returns candidate -> measure -> median."""
        return {
            candidate: {measure: median(figures) for measure, figures in measures.items()}
            for candidate, measures in self.samples.items()
        }

    def ratios(self, references: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """Returns reference -> candidate -> measure -> the candidate's median over the reference's."""
        medians = self.medians()
        return {
            reference: {
                candidate: {measure: figure / medians[reference][measure] for measure, figure in measures.items()}
                for candidate, measures in medians.items()
            }
            for reference in references
            if reference in medians
        }

    def heading(self) -> str:
        """What was measured where, for people, and a warning when the machine was not idle."""
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [f"{self.title}: {self.machine['cpu']}, {self.commit[:10] or 'no commit'}", settings]
        if self.busy_cpus_before > 0.25:
            busy = f"{self.busy_cpus_before:.1f} processors"
            lines.append(f"warning: others kept {busy} busy before the first repetition; the figures mean little")
        return "\n".join(lines)

    def table(self, references: Sequence[str]) -> str:
        """Medians with their range, and ratios to each reference, as a Markdown table."""
        medians, ratios = self.medians(), self.ratios(references)
        header = ["candidate"]
        for measure in self._measures():
            header += [f"{measure} {self.unit}", "(min to max)", *(f"vs {reference}" for reference in ratios)]
        rows = []
        for candidate, measures in self.samples.items():
            row = [candidate]
            for measure in self._measures():
                figures = measures[measure]
                row += [f"{medians[candidate][measure]:.1f}", f"{min(figures):.1f} to {max(figures):.1f}"]
                row += [f"{ratio[candidate][measure]:.3f}" for ratio in ratios.values()]
            rows.append(row)
        return _markdown(header, rows)

    def write_json(self, path: Path, references: Sequence[str]) -> None:
        """Writes everything, samples included."""
        document = asdict(self) | {"medians": self.medians(), "ratios": self.ratios(references)}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def write_plot(self, path: Path) -> None:
        """Draws medians as bars and every sample as a dot; the format follows the file's suffix."""
        from matplotlib.figure import Figure

        measures, candidates = self._measures(), list(self.samples)
        figure = Figure(figsize=(5 * len(measures), 1.2 + 0.55 * len(candidates)), layout="constrained")
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            positions = range(len(candidates))
            axes.barh(positions, [self.medians()[name][measure] for name in candidates], color="#9db4d6")
            for position, name in zip(positions, candidates, strict=True):
                figures = self.samples[name][measure]
                axes.plot(figures, [position] * len(figures), "o", color="#1d3557", markersize=3, alpha=0.6)
            axes.set_yticks(positions, candidates)
            axes.set_xlabel(f"{measure}, {self.unit} (bar: median, dots: repetitions)")
        axes.invert_yaxis()
        figure.suptitle(f"{self.title}\n{self.machine['cpu']}, {self.date}, {self.commit[:10]}", fontsize=9)
        figure.savefig(path, dpi=150)

    def _measures(self) -> list[str]:
        return list(next(iter(self.samples.values()), {}))


def check_plot_support() -> None:
    """Fails early, before minutes of measuring, when plots cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        fail("--plot needs matplotlib: pip install matplotlib")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join([first.strip().ljust(widths[0]), *others]) + " |"

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])
