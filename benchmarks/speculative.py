"""What do guesses bring? Copying a text, and an ordinary answer, each without guesses and with n-gram speculation.

Both engines have the same model in one process and take turns; only decode counts. The tasks are those of
``hoshikage bench MODEL --tune``. The first round is not counted: in it the engine learns what guesses cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common import Options, progress, run
from report import Goal, Report

from hoshikage_core import Engine, Model, Speculation
from hoshikage_server.cli.tuning import N_CTX, TASKS, compare

WITHOUT, NGRAM = "without", "n-gram"
COPY_GOAL = Goal("copy the prompt, with n-grams / without", (NGRAM, "copy"), (WITHOUT, "copy"), at_least=1.5)
CHAT_GOAL = Goal("ordinary answer, with n-grams / without", (NGRAM, "chat"), (WITHOUT, "chat"), at_least=0.97)


@contextmanager
def both_engines(options: Options) -> Iterator[tuple[Engine, Engine]]:
    """Of one model: without guesses, and with them."""
    with (
        Model(options.model) as model,
        model.engine(N_CTX, n_threads=options.threads) as plain,
        model.engine(N_CTX, n_threads=options.threads, speculation=Speculation()) as guessing,
    ):
        yield plain, guessing


def measure(options: Options) -> list[Report]:
    """Runs both engines in turn."""
    report = Report(
        title="Decode with and without guesses",
        settings=options.settings(n_ctx=N_CTX),
        build=options.build,
        references=(WITHOUT,),
        goals=(COPY_GOAL, CHAT_GOAL),
    )
    with both_engines(options) as (plain, guessing):
        compared = compare(plain, guessing, options.repetitions, lambda done: progress(done, options))
    for task in TASKS:
        result = compared[task]
        report.settings = {**report.settings, f"right guesses ({task})": f"{result.n_accepted} of {result.n_drafted}"}
        for without, with_guesses in zip(result.without.samples, result.guessing.samples, strict=True):
            report.add(WITHOUT, {task: without})
            report.add(NGRAM, {task: with_guesses})
    return [report]


if __name__ == "__main__":
    run(__doc__, measure, repetitions=5, has_peers=False)
