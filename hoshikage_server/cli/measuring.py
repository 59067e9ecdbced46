"""How fast a model is on this machine: prefill and decode of one sequence, without a server."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from statistics import median

import msgspec

from hoshikage_core import Engine, Generation, HoshikageError, SamplingParams, build_info
from hoshikage_server import __version__, machine
from hoshikage_server.cli.local_backend import load_model, told
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import CannotGenerateError
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import cli_language

BUSY_S = 0.5
_WARM_UP = 16  # tokens; the first ones of a model are read from the disk


class Task(msgspec.Struct, frozen=True):
    """What each repetition does.

    Attributes:
        n_prompt: Tokens of the prompt, at random, so that no two have the same beginning.
        n_decode: Tokens to generate after them, greedily.
        repetitions: How often.
    """

    n_prompt: int
    n_decode: int
    repetitions: int


class Speed(msgspec.Struct, frozen=True):
    """Tokens a second.

    Attributes:
        median: Of all repetitions.
        least: The slowest one.
        most: The fastest one.
        samples: All of them.
    """

    median: float
    least: float
    most: float
    samples: list[float]


class Report(msgspec.Struct, frozen=True):
    """A measurement, and all that its figures depend on."""

    model: str
    arch: str
    n_params: int
    n_layer: int
    quantisation: str
    size_bytes: int
    task: Task
    prefill: Speed
    decode: Speed
    n_ctx: int
    n_threads: int
    gpu_layers: int | str
    n_gpu_layers: int
    degraded: tuple[str, ...]
    no_gpu: str | None
    cpu: str
    physical_cores: int
    gpus: list[str]
    backend: str
    version: str
    llama_cpp_commit: str
    busy_cpus: float


def measure(name: str, spec: EngineSpec, task: Task, on_step: Callable[[int], object]) -> Report:
    """Loads a model and measures it.

    Args:
        name: What it is called.
        spec: How it is loaded.
        task: What to do.
        on_step: Told how many repetitions are done.

    Raises:
        ServerError: It cannot be loaded, cannot generate, or has no room for the task.
    """
    n_needed = task.n_prompt + task.n_decode + 1
    if n_needed > spec.n_ctx:
        raise ServerError("bench_no_room", n_needed=n_needed, n_ctx=spec.n_ctx)
    busy = machine.busy_cpus(BUSY_S)
    loaded = load_model(spec, name)
    with loaded.model as model:
        try:
            if loaded.engine is None:
                raise CannotGenerateError
            samples = list(_samples(loaded.engine, task, on_step))
        except HoshikageError as error:
            raise told(error, name) from error
        build, info = build_info(), model.info
        return Report(
            model=name,
            arch=info.arch,
            n_params=info.n_params,
            n_layer=info.n_layer,
            quantisation=info.quantisation,
            size_bytes=info.size_bytes,
            task=task,
            prefill=speed([prefill for prefill, _ in samples]),
            decode=speed([decode for _, decode in samples]),
            n_ctx=spec.n_ctx,
            n_threads=spec.n_threads or machine.physical_cores(),
            gpu_layers=spec.gpu_layers,
            n_gpu_layers=model.n_gpu_layers,
            degraded=loaded.degraded,
            no_gpu=None if loaded.no_gpu is None else loaded.no_gpu.text(cli_language()),
            cpu=machine.cpu_model(),
            physical_cores=machine.physical_cores(),
            gpus=machine.gpu_names() if build.backend != "cpu" else [],
            backend=build.backend,
            version=__version__,
            llama_cpp_commit=build.llama_cpp_commit,
            busy_cpus=round(busy, 2),
        )


def _samples(engine: Engine, task: Task, on_step: Callable[[int], object]) -> Iterator[tuple[float, float]]:
    """Prefill and decode of each repetition, in tokens a second."""
    chance = random.Random(0)
    _once(engine, min(task.n_prompt, _WARM_UP), min(task.n_decode, _WARM_UP), chance)
    for done in range(task.repetitions):
        on_step(done)
        yield _once(engine, task.n_prompt, task.n_decode, chance)
    on_step(task.repetitions)


def _once(engine: Engine, n_prompt: int, n_decode: int, chance: random.Random) -> tuple[float, float]:
    prompt = [chance.randrange(engine.model.info.n_vocab) for _ in range(n_prompt)]
    sampling = SamplingParams(temperature=0, ignore_eos=True)
    # One more: the first token comes out of the prefill.
    with engine.stream(prompt, sampling, max_tokens=n_decode + 1) as generation:
        run(engine, generation)
        timings = generation.timings
    return n_prompt / timings.prefill_s, n_decode / timings.decode_s


def run(engine: Engine, generation: Generation) -> None:
    """Steps to the end, in a thread, so that Ctrl-C ends a step of any length."""
    failures: list[HoshikageError] = []

    def step() -> None:
        try:
            while not generation.finished:
                engine.step()
        except HoshikageError as error:
            failures.append(error)

    stepping = threading.Thread(target=step, name="hoshikage-step")
    stepping.start()
    try:
        stepping.join()
    finally:
        generation.cancel()
        stepping.join()
    if failures:
        raise failures[0]
    if generation.failure is not None:
        raise generation.failure


def speed(samples: list[float]) -> Speed:
    """Samples, summed up."""
    return Speed(median(samples), min(samples), max(samples), samples)
