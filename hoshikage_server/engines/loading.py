"""Loading a model in the engine process: as it is asked for or, where that is allowed, in less memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hoshikage_core import (
    AdapterLoadError,
    ChatTemplate,
    ContextShape,
    Devices,
    Engine,
    HoshikageError,
    InsufficientMemoryError,
    MeasuredMemory,
    Model,
    ModelLoadError,
    OutOfMemoryError,
    Reason,
    SamplingParams,
    Speculation,
    UnsupportedError,
    require_memory,
)
from hoshikage_core.devices import gpu_free_bytes
from hoshikage_core.files import why_no_file
from hoshikage_core.memory import private_bytes
from hoshikage_server.engines import nvml
from hoshikage_server.engines.defaults import recommended_sampling
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import DraftModelError, ModelFileMissingError, in_words
from hoshikage_server.engines.no_gpu import NoGpuError, NoRoomOnGpuError, require_gpu, why_no_gpu
from hoshikage_server.engines.templates import open_template, template_text
from hoshikage_server.engines.wire import Measured
from hoshikage_server.messages import Said, said
from hoshikage_server.registry.parts import all_parts

log = logging.getLogger("hoshikage_server.engines.worker")

T = TypeVar("T")

_LARGE_KV_TYPES = ("f32", "f16", "bf16")
# By the figures, when it was tried all the same, or where the CPU would have to do it and must not.
_SHORTAGES = (InsufficientMemoryError, OutOfMemoryError, NoRoomOnGpuError)
# One after the other, each on top of those before: what costs the least is given up first.
LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("n_batch=128", {"n_batch": 128}),
    ("kv_type=q8_0", {"kv_type": "q8_0"}),
    ("gpu_layers=0", {"gpu_layers": 0}),
)


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    Attributes:
        model: The model.
        engine: Its engine; None when only the vocabulary was asked for, and of a model that embeds and cannot generate.
        defaults: How tokens are chosen where nobody says otherwise.
        template: The chat template to take instead of the model's own.
        degraded: The steps of the ladder that were taken.
        no_gpu: Why no GPU computes although one was to.
    """

    model: Model
    engine: Engine | None
    defaults: SamplingParams
    template: ChatTemplate | None = None
    degraded: tuple[str, ...] = ()
    no_gpu: Said | None = None


def load(
    spec: EngineSpec,
    on_progress: Callable[[float], object],
    measured: Sequence[Measured] = (),
    n_given_up: int = 0,
) -> Loaded:
    """Loads what the spec asks for.

    Args:
        spec: What is asked for.
        on_progress: Told how far it is.
        measured: What engines of this spec took before.
        n_given_up: How many steps of the ladder are to be taken at once, where any may be taken.

    Raises:
        HoshikageError: It could not be loaded; InsufficientMemoryError or OutOfMemoryError after the last step that was
            allowed, NoGpuError where the CPU would have to compute and must not.
    """
    template = template_text(spec)
    for path, _ in loras_of(spec):  # the weights are not read only to find this out
        reason = why_no_file(path)
        if reason is not None:
            raise AdapterLoadError(path, reason)
    _check_there(Path(spec.path))
    if spec.is_vocab_only:
        model = Model(spec.path, vocab_only=True)
        return Loaded(model, None, SamplingParams(), _or_close(model, lambda: open_template(model, spec, template)))
    require_gpu(spec)
    options: dict[str, Any] = {"gpu_layers": spec.gpu_layers, "n_batch": 512, "kv_type": spec.kv_type}
    steps = [(name, change) for name, change in LADDER if spec.may_degrade and _saves(spec, change)]
    taken: tuple[str, ...] = ()
    for name, change in steps[:n_given_up]:
        options |= change
        taken += (name,)
    shortage: HoshikageError
    try:
        return _load(spec, options, template, taken, on_progress, measured)
    except _SHORTAGES as error:
        shortage = error
    except HoshikageError as error:
        if not taken:
            raise
        log.warning(said("log_step_impossible", step=", ".join(taken), reason=in_words(error)))
        return load(spec, on_progress, measured)
    for name, change in steps[n_given_up:]:
        log.warning(said("log_trying_with", shortage=in_words(shortage), step=name))
        try:
            return _load(spec, {**options, **change}, template, (*taken, name), on_progress, measured)
        except _SHORTAGES as error:
            shortage = error
            options |= change
            taken += (name,)
        except HoshikageError as error:  # as with a KV cache that this model cannot have: the next step goes without it
            log.warning(said("log_step_impossible", step=name, reason=in_words(error)))
    raise shortage


def _check_there(file: Path) -> None:
    for part in all_parts(file):
        try:
            part.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ModelFileMissingError(str(part)) from None
        except (OSError, ValueError):  # what else is wrong with it, opening will tell
            return
        reason = why_no_file(str(part))  # whoever opened a pipe would wait for a writer
        if reason is not None:
            raise ModelLoadError(str(part), reason)


def _saves(spec: EngineSpec, change: dict[str, Any]) -> bool:
    """Whether a step needs less than what was asked for."""
    if "kv_type" in change:
        # llama.cpp quantises the values of a cache only with flash attention.
        return spec.kv_type in _LARGE_KV_TYPES and spec.flash_attention is not False
    if "gpu_layers" in change:
        return spec.gpu_layers != 0 and not spec.requires_gpu and not spec.devices.rpc_servers
    return True


def _load(
    spec: EngineSpec,
    options: dict[str, Any],
    template: str | None,
    taken: tuple[str, ...],
    on_progress: Callable[[float], object],
    measured: Sequence[Measured],
) -> Loaded:
    shape = {
        "n_ctx": spec.n_ctx,
        "parallel": spec.parallel,
        "n_batch": options["n_batch"],
        "kv_type": options["kv_type"],
        "flash_attention": spec.flash_attention,
    }
    place = {"gpu_layers": options["gpu_layers"], "devices": devices_of(spec)}
    if spec.checks_memory:
        seen = next((one for one in measured if one.given_up == taken), None)
        still = None if seen is None else _still_to_take(seen)
        require_memory(spec.path, lora=loras_of(spec), measured=still, **place, **shape)
    model = Model(spec.path, **place, fit=ContextShape(**shape), on_progress=on_progress)
    no_gpu = why_no_gpu(spec, model.n_gpu_layers)
    if no_gpu is not None and spec.requires_gpu:
        model.close()
        raise (NoRoomOnGpuError if no_gpu.key == "no_gpu_memory" else NoGpuError)(no_gpu)
    chat = _or_close(model, lambda: open_template(model, spec, template))
    engine = _or_close(model, lambda: _engine(model, spec, shape, place))
    return Loaded(model, engine, recommended_sampling(model.info.metadata), chat, taken, no_gpu)


def _still_to_take(seen: Measured) -> MeasuredMemory:
    """What an engine took, without what this process holds already: on a GPU its context, which it needs to ask."""
    vram_bytes = seen.vram_bytes
    if vram_bytes:
        gpu_free_bytes()
        use = nvml.look()
        held = use.by_pid.get(os.getpid()) if isinstance(use, nvml.GpuUse) and use.by_pid else None
        vram_bytes = max(vram_bytes - (held or 0), 1)
    return MeasuredMemory(max(seen.private_bytes - private_bytes(), 0), vram_bytes)


def loras_of(spec: EngineSpec) -> list[tuple[str, float]]:
    """The adapters as hoshikage_core wants them."""
    return [(adapter.file.path, adapter.scale) for adapter in spec.lora]


def devices_of(spec: EngineSpec) -> Devices:
    """Where the layers go, as hoshikage_core wants it.

    Raises:
        InvalidArgumentError: These cannot be had together.
    """
    return Devices(**msgspec.structs.asdict(spec.devices))


def _or_close(model: Model, make: Callable[[], T]) -> T:
    try:
        return make()
    except BaseException:
        model.close()
        raise


@contextmanager
def _speculation(
    model: Model, spec: EngineSpec, shape: dict[str, Any], place: dict[str, Any]
) -> Iterator[Speculation | None]:
    """How an engine that is made meanwhile guesses; it keeps what it needs of the draft model."""
    info = model.info
    if not (spec.guesses or spec.draft_model) or info.has_encoder:
        yield None
    elif info.is_recurrent or info.is_hybrid:
        log.warning(said("log_cannot_guess"))
        yield None
    elif spec.draft_model is None:
        yield Speculation()
    else:
        path = spec.draft_model.path
        if spec.devices.rpc_servers:  # it is small, and would only wait for the network
            place = {**place, "devices": None}
        try:
            if spec.checks_memory:
                require_memory(path, **place, **shape)
            with Model(path, **place, fit=ContextShape(**shape)) as draft_model:
                yield Speculation(draft_model=draft_model)
        except ModelLoadError as error:
            raise DraftModelError(path, error.reason) from error
        except UnsupportedError as error:
            text = "it has another vocabulary, or is of a kind that cannot be asked for guesses"
            raise DraftModelError(path, Reason("draft_unsuited", text)) from error


def _engine(model: Model, spec: EngineSpec, shape: dict[str, Any], place: dict[str, Any]) -> Engine | None:
    options = {"n_threads": spec.n_threads, "cache_bytes": spec.cache_bytes, "lora": loras_of(spec), **shape}
    try:
        with _speculation(model, spec, shape, place) as speculation:
            return model.engine(**options, speculation=speculation)
    except UnsupportedError:
        if model.info.has_encoder and model.info.has_decoder:  # it cannot embed either
            raise
        return None
