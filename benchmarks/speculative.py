"""What do guesses bring: copying a text, and an ordinary answer, each with and without n-gram speculation.

Both engines have the same model in one process and take turns; only decode counts. The tasks are those of
``hoshikage bench MODEL --tune``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import Report, check_plot_support, fail

from hoshikage_core import Model, Speculation, build_info
from hoshikage_server.cli.tuning import N_CTX, TASKS, compare
from hoshikage_server.machine import physical_cores

WITHOUT, NGRAM = "without", "n-gram"


def measure(model_path: Path, n_threads: int, repetitions: int) -> Report:
    """Runs both engines in turn."""
    build = build_info()
    report = Report(
        title="Decode with and without guesses",
        settings={
            "model": model_path.name,
            "model_bytes": model_path.stat().st_size,
            "threads": n_threads,
            "n_ctx": N_CTX,
            "repetitions": repetitions,
        },
        build={"llama_cpp_commit": build.llama_cpp_commit, "backend": build.backend},
    )
    with (
        Model(model_path) as model,
        model.engine(N_CTX, n_threads=n_threads) as plain,
        model.engine(N_CTX, n_threads=n_threads, speculation=Speculation()) as guessing,
    ):
        compared = compare(
            plain, guessing, repetitions, lambda done: print(f"{done} of {repetitions} done", file=sys.stderr)
        )
    for task in TASKS:
        result = compared[task]
        report.settings = {**report.settings, f"{task}_right": f"{result.n_accepted}/{result.n_drafted}"}
        for without, with_guesses in zip(result.without.samples, result.guessing.samples, strict=True):
            report.add(WITHOUT, {task: without})
            report.add(NGRAM, {task: with_guesses})
    return report


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a chat model (default: the demo model, fetched if need be)")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="default: physical cores (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write header, samples, medians and ratios")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw medians and samples; needs matplotlib")
    return parser.parse_args()


def main() -> None:
    """Measures, shows."""
    options = parse_options()
    if options.repetitions < 1 or options.threads < 1:
        fail("--repetitions and --threads must be at least 1")
    if options.plot:
        check_plot_support()
    if options.model is None:
        from hoshikage_server.demo import demo_model_path
        from hoshikage_server.errors import ServerError

        try:
            options.model = demo_model_path()
        except ServerError as error:
            fail(error.text("en"))
    if not options.model.is_file():
        fail(f"there is no model at {options.model}")
    report = measure(options.model.resolve(), options.threads, options.repetitions)
    print(report.heading(), end="\n\n")
    print(report.table([WITHOUT]))
    if options.json:
        report.write_json(options.json, [WITHOUT])
    if options.plot:
        report.write_plot(options.plot)


if __name__ == "__main__":
    main()
