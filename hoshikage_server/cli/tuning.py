"""Whether guessing what comes next makes a model faster on this machine: two tasks, each with and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from hoshikage_core import Engine, HoshikageError, SamplingParams, Speculation
from hoshikage_server import machine
from hoshikage_server.cli.local_backend import load_model, told
from hoshikage_server.cli.measuring import BUSY_S, Speed, run, speed
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import CannotGenerateError

TASKS = ("copy", "chat")
N_CTX = 2048
_N_TOKENS = 192
# It is worth having where copying gains clearly, and an ordinary answer loses no more than measuring is out by.
_COPY_MIN, _CHAT_MIN = 1.1, 0.97

_TEXT = (
    "The keeper climbs the stairs at dusk, cleans the lamp, writes down the weather and lights the flame. From the "
    "gallery he sees the fishing boats come home one after the other, eleven in summer, seven when the days are short. "
    "His daughter counts them with him; she has names for all of them, and for most of the gulls. On Tuesdays the mail "
    "boat brings flour, oil and letters. He answers each of them the same evening, in a small upright hand, and never "
    "mentions the storms. In winter the stairs are cold and the glass is white with salt, and he carries warm water up "
    "twice a night. Nobody has ever asked him why he stays, and he has never looked for an answer."
)
_QUESTIONS = {
    "copy": f"Repeat the following text word for word, and say nothing else.\n\n{_TEXT}",
    "chat": "Explain to a curious child why the sea is salty, and then tell a story about a lighthouse.",
}
_TEMPERATURES = {"copy": 0.0, "chat": 0.8}


class Comparison(msgspec.Struct, frozen=True):
    """A task, and how fast it is.

    Attributes:
        without: Tokens a second without guesses.
        guessing: With them.
        ratio: The medians' ratio; above 1 they help.
        n_drafted: Tokens that were guessed, in all repetitions.
        n_accepted: Of these, how many were right.
    """

    without: Speed
    guessing: Speed
    ratio: float
    n_drafted: int
    n_accepted: int


class Tuning(msgspec.Struct, frozen=True):
    """What was measured, and what follows from it."""

    model: str
    n_threads: int
    tasks: dict[str, Comparison]
    speculation: Literal["off", "ngram"]
    busy_cpus: float


def tune(name: str, spec: EngineSpec, repetitions: int, on_step: Callable[[int], object]) -> Tuning:
    """Loads a model and measures it.

    Args:
        name: What it is called.
        spec: How it is loaded.
        repetitions: How often each task is done, with and without.
        on_step: Told how many repetitions are done.

    Raises:
        ServerError: It cannot be loaded, cannot generate, or cannot take guesses back.
    """
    busy = machine.busy_cpus(BUSY_S)
    spec = msgspec.structs.replace(spec, n_ctx=min(spec.n_ctx, N_CTX), guesses=False, draft_model=None)
    loaded = load_model(spec, name)
    with loaded.model as model:
        try:
            if loaded.engine is None:
                raise CannotGenerateError
            guessing = model.engine(
                spec.n_ctx,
                n_threads=spec.n_threads,
                kv_type=spec.kv_type,
                flash_attention=spec.flash_attention,
                speculation=Speculation(),
            )
            samples = compare(loaded.engine, guessing, repetitions, on_step)
        except HoshikageError as error:
            raise told(error, name) from error
    copies, chat = samples["copy"].ratio, samples["chat"]
    chats = chat.ratio if chat.n_drafted else 1.0  # without a guess, what differs is measuring's own
    return Tuning(
        name,
        spec.n_threads or machine.physical_cores(),
        samples,
        "ngram" if copies >= _COPY_MIN and chats >= _CHAT_MIN else "off",
        round(busy, 2),
    )


def compare(
    plain: Engine, guessing: Engine, repetitions: int, on_step: Callable[[int], object]
) -> dict[str, Comparison]:
    """Does each task with both engines in turn; the first time does not count: what guesses cost is learned then."""
    speeds: dict[tuple[str, Engine], list[float]] = {(task, e): [] for task in TASKS for e in (plain, guessing)}
    counts = {task: [0, 0] for task in TASKS}
    for repetition in range(repetitions + 1):
        on_step(max(0, repetition - 1))
        for task in TASKS:
            for engine in (plain, guessing) if repetition % 2 else (guessing, plain):
                tokens_per_s, n_drafted, n_accepted = answer(engine, task)
                if repetition:
                    speeds[task, engine].append(tokens_per_s)
                    counts[task][0] += n_drafted
                    counts[task][1] += n_accepted
    on_step(repetitions)
    compared = {}
    for task in TASKS:
        without, with_guesses = speed(speeds[task, plain]), speed(speeds[task, guessing])
        ratio = round(with_guesses.median / without.median, 3)
        compared[task] = Comparison(without, with_guesses, ratio, *counts[task])
    return compared


def answer(engine: Engine, task: str) -> tuple[float, int, int]:
    """Does a task once: decoded tokens a second, guesses, and those of them that were right."""
    messages = [{"role": "user", "content": _QUESTIONS[task]}]
    sampling = SamplingParams(temperature=_TEMPERATURES[task], seed=1, min_tokens=2)
    with engine.stream_chat(messages, sampling, max_tokens=_N_TOKENS) as generation:
        run(engine, generation)
        tokens_per_s = (generation.n_completion - 1) / generation.timings.decode_s
        return tokens_per_s, generation.n_drafted, generation.n_accepted
