"""What a benchmark found: samples, where they come from, and how near they are to what was to be reached.

Everything shown (tables, JSON, plots) is made from the samples, so nothing can be shown that was not kept.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from hoshikage_server.machine import busy_cpus, cpu_model, gpu_names, physical_cores

ROOT = Path(__file__).resolve().parent.parent
BUSY_CPUS = 0.25  # from here on a warning
Medians = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Goal:
    """A median, or the ratio of two, that is to be reached.

    Attributes:
        name: What is to be reached, for people.
        value: The candidate and the measure.
        over: What it is divided by; None: nothing.
        at_least: The bound from below...
        at_most: ...or from above.
    """

    name: str
    value: tuple[str, str]
    over: tuple[str, str] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """The bound as text."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def reached(self, medians: Medians) -> float | None:
        """What was reached; None where something of it was not measured."""
        figures = [
            medians.get(candidate, {}).get(measure)
            for candidate, measure in (self.value, *([self.over] if self.over else []))
        ]
        if None in figures or 0 in figures[1:]:
            return None
        value, *over = figures
        return value / over[0] if over else value

    def is_met(self, medians: Medians) -> bool | None:
        """Whether that is enough; None where it was not measured."""
        reached = self.reached(medians)
        if reached is None:
            return None
        return reached >= self.at_least if self.at_least is not None else reached <= self.at_most


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
        "gpus": gpu_names(),
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
        unit: The unit of the samples.
        units: The units of measures that have another.
        references: The candidates that others are compared with.
        goals: What is to be reached.
        busy_cpus_before: Processors that others kept busy before the first sample.
        samples: candidate -> measure -> one figure per repetition.
    """

    title: str
    settings: Mapping[str, object]
    build: Mapping[str, Any]
    unit: str = "tokens/s"
    units: Mapping[str, str] = field(default_factory=dict)
    references: Sequence[str] = ()
    goals: Sequence[Goal] = ()
    machine: Mapping[str, object] = field(default_factory=machine)
    commit: str = field(default_factory=checkout_commit)
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    busy_cpus_before: float = field(default_factory=busy_cpus)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Report:
        """A report from what `document` made of it."""
        names = {each.name for each in fields(cls)} - {"goals"}
        goals = []
        for goal in document["goals"]:
            known = {name: goal[name] for name in ("name", "at_least", "at_most")}
            goals.append(Goal(value=tuple(goal["value"]), over=goal["over"] and tuple(goal["over"]), **known))
        return cls(goals=goals, **{name: document[name] for name in names})

    def document(self) -> dict[str, Any]:
        """Everything, samples included, for JSON."""
        medians = self.medians()
        goals = [
            {**asdict(goal), "reached": goal.reached(medians), "is_met": goal.is_met(medians)} for goal in self.goals
        ]
        return asdict(self) | {"goals": goals, "medians": medians, "ratios": self.ratios()}

    def add(self, candidate: str, figures: Mapping[str, float]) -> None:
        """Keeps one repetition's figures of a candidate."""
        measures = self.samples.setdefault(candidate, {})
        for measure, figure in figures.items():
            measures.setdefault(measure, []).append(figure)

    def measures(self) -> list[str]:
        """All that was measured of any candidate."""
        return list(dict.fromkeys(measure for measures in self.samples.values() for measure in measures))

    def unit_of(self, measure: str) -> str:
        """The unit of a measure."""
        return self.units.get(measure, self.unit)

    def medians(self) -> dict[str, dict[str, float]]:
        """Returns candidate -> measure -> median."""
        return {
            candidate: {measure: median(figures) for measure, figures in measures.items()}
            for candidate, measures in self.samples.items()
        }

    def ratios(self) -> dict[str, dict[str, dict[str, float]]]:
        """Returns reference -> candidate -> measure -> the candidate's median over the reference's."""
        medians = self.medians()
        return {
            reference: {
                candidate: {
                    measure: figure / medians[reference][measure]
                    for measure, figure in measures.items()
                    if medians[reference].get(measure)
                }
                for candidate, measures in medians.items()
            }
            for reference in self.references
            if reference in medians
        }

    def heading(self) -> str:
        """What was measured where, for people, and a warning when the machine was not idle."""
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [f"{self.title}: {self.machine['cpu']}, {self.commit[:10] or 'no commit'}", settings]
        if self.busy_cpus_before > BUSY_CPUS:
            busy = f"{self.busy_cpus_before:.1f} processors"
            lines.append(f"warning: others kept {busy} busy before the first repetition; the figures mean little")
        return "\n".join(lines)

    def table(self) -> str:
        """Medians with their range, and ratios to each reference, as a Markdown table."""
        medians, ratios = self.medians(), self.ratios()
        has_ranges = any(len(figures) > 1 for measures in self.samples.values() for figures in measures.values())
        header = ["candidate"]
        for measure in self.measures():
            header += [f"{measure} {self.unit_of(measure)}".strip(), *(["(min to max)"] if has_ranges else [])]
            header += [f"vs {reference}" for reference in ratios]
        rows = []
        for candidate, measures in self.samples.items():
            row = [candidate]
            for measure in self.measures():
                figures = measures.get(measure)
                row.append(_figure(medians[candidate][measure]) if figures else "–")
                if has_ranges:
                    row.append(f"{_figure(min(figures))} to {_figure(max(figures))}" if figures else "–")
                row += [
                    f"{ratio[candidate][measure]:.3f}" if measure in ratio[candidate] else "–"
                    for ratio in ratios.values()
                ]
            rows.append(row)
        return markdown(header, rows)

    def goals_table(self) -> str:
        """What is to be reached and what was, as a Markdown table."""
        return goals_table([self])


def goals_table(reports: Sequence[Report]) -> str:
    """The goals of several reports as one Markdown table; empty when there is none."""
    words = {True: "yes", False: "no", None: "not measured"}
    rows = []
    for report in reports:
        medians = report.medians()
        for goal in report.goals:
            reached = goal.reached(medians)
            value = "–" if reached is None else f"{reached:.3f}" if abs(reached) < 10 else f"{reached:.1f}"
            rows.append([goal.name, goal.bound, value, words[goal.is_met(medians)]])
    return markdown(["goal", "bound", "reached", "met"], rows) if rows else ""


def text(reports: Sequence[Report]) -> str:
    """Reports for people."""
    parts = []
    for report in reports:
        parts += [report.heading(), report.table(), *([report.goals_table()] if report.goals else [])]
    return "\n\n".join(parts)


def write_json(path: Path, reports: Sequence[Report]) -> None:
    """Writes everything, samples included."""
    document = {"reports": [report.document() for report in reports]}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> list[Report]:
    """The reports of a file that `write_json` wrote."""
    return [Report.read(document) for document in json.loads(path.read_text(encoding="utf-8"))["reports"]]


def write_plot(path: Path, reports: Sequence[Report]) -> None:
    """Draws medians as bars and every sample as a dot; the format follows the file's suffix."""
    from matplotlib.figure import Figure

    heights = [1.4 + 0.4 * len(report.samples) for report in reports]
    width = 4.5 * max(len(report.measures()) for report in reports)
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(reports), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, report in zip(parts, reports, strict=True):
        measures, candidates, medians = report.measures(), list(report.samples), report.medians()
        panels = part.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            positions = range(len(candidates))
            axes.barh(positions, [medians[name].get(measure, 0) for name in candidates], color="#9db4d6")
            for position, name in zip(positions, candidates, strict=True):
                samples = report.samples[name].get(measure, [])
                axes.plot(samples, [position] * len(samples), "o", color="#1d3557", markersize=3, alpha=0.6)
            axes.set_yticks(positions, candidates)
            axes.set_xlabel(f"{measure} {report.unit_of(measure)}".strip())
        panels[0].invert_yaxis()
        title = f"{report.title} (bar: median, dots: repetitions)"
        part.suptitle(f"{title}\n{report.machine['cpu']}, {report.date}, {report.commit[:10]}", fontsize=9)
    figure.savefig(path, dpi=150)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned in the source too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join([first.strip().ljust(widths[0]), *others]) + " |"

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
