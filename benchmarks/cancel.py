"""How soon is an engine free when a long prompt is cancelled in the middle?

From ``cancel()``, in another thread, until no step computes any more; each repetition at another place of the prompt.
A CPU stops where it is; a GPU computes the piece of the prompt that it has begun.
"""

from __future__ import annotations

import random
import threading
import time

from common import Options, Size, fail, rounds, run
from report import Goal, Report

from hoshikage_core import Engine, Generation, Model, SamplingParams

CORE = "hoshikage_core"
GREEDY = SamplingParams(temperature=0, ignore_eos=True)
GOALS = (Goal("cancel in prefill: longest wait, ms", (CORE, "longest"), at_most=100),)


def compute(engine: Engine) -> None:
    while engine.step():
        pass


def prefill_s(engine: Engine, prompt: list[int]) -> float:
    begun = time.perf_counter()
    engine.generate(prompt, GREEDY, max_tokens=1)
    return time.perf_counter() - begun


def wait_ms(engine: Engine, generation: Generation, after_s: float) -> float | None:
    """Cancels an answer after a while: how long until the engine is free; None: the prompt was computed by then."""
    stepping = threading.Thread(target=compute, args=[engine])
    stepping.start()
    time.sleep(after_s)
    begun = time.perf_counter()
    generation.cancel()
    stepping.join()
    waited_ms = 1000 * (time.perf_counter() - begun)
    answer = generation.result()
    return None if answer.n_completion else waited_ms


def measure(options: Options) -> list[Report]:
    """One prompt, cancelled again and again."""
    report = Report("Cancelling a prompt", options.settings(), options.build, unit="ms", goals=GOALS)
    n_ctx = options.prompt + 64
    with Model(options.model) as model, model.engine(n_ctx, n_threads=options.threads) as engine:
        chance = random.Random(0)

        def prompt() -> list[int]:
            return [chance.randrange(model.info.n_vocab) for _ in range(options.prompt)]

        prefill_s(engine, prompt())
        whole_s = prefill_s(engine, prompt())
        waits = []
        for repetition in rounds(options):
            generation = engine.stream(prompt(), GREEDY, reuse=False)
            place = 0.1 + 0.6 * (repetition - 1) / options.repetitions
            waited_ms = wait_ms(engine, generation, place * whole_s)
            if waited_ms is not None:
                waits.append(waited_ms)
                report.add(CORE, {"cancel to free": waited_ms})
    if not waits:
        fail("each prompt was computed before it was cancelled: ask for longer ones with --prompt")
    report.add(CORE, {"longest": max(waits)})
    report.settings = {**report.settings, "whole prompt": f"{1000 * whole_s:.0f} ms"}
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("prompt", 3500, quick=1500, help="tokens of the prompt", least=64),
        repetitions=12,
        has_peers=False,
    )
