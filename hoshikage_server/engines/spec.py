"""How a registered model is loaded: its entry of the model map over the settings, and its files as they are."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hoshikage_server.engines.engine_spec import Adapter, Devices, EngineSpec, SpecFile
from hoshikage_server.registry.entry import Entry, ModelEntry
from hoshikage_server.registry.entry_files import is_template, placed
from hoshikage_server.registry.parts import all_parts
from hoshikage_server.settings import Settings

_CACHE_BYTES = 1024**3


def spec_of(entry: ModelEntry, settings: Settings) -> EngineSpec:
    """What its engine is made of."""
    given = entry.given
    draft_model = None
    if given.draft_model is not None and given.speculation is None:
        draft_model = SpecFile(placed(given.draft_model, entry.folder))
    asked = EngineSpec(
        path=str(entry.file),
        n_ctx=given.n_ctx or settings.n_ctx,
        parallel=given.parallel or settings.parallel,
        n_threads=settings.threads,
        gpu_layers=settings.gpu_layers if given.gpu_layers is None else given.gpu_layers,
        may_degrade=settings.degrade if given.degrade is None else given.degrade,
        checks_memory=settings.memory_check,
        cache_bytes=_cache_bytes() if settings.cache_ram is None else settings.cache_ram,
        kv_type=given.kv_type or settings.kv_type,
        flash_attention=settings.flash_attention if given.flash_attention is None else given.flash_attention,
        chat_template=_template(given.chat_template, entry.folder),
        lora=tuple(Adapter(SpecFile(placed(lora.path, entry.folder)), lora.scale) for lora in given.lora),
        guesses=(given.speculation or settings.speculation) == "ngram" and draft_model is None,
        draft_model=draft_model,
        devices=_devices(given, settings),
        requires_gpu=settings.require_gpu,
    )
    return as_it_is(asked)


def _devices(given: Entry, settings: Settings) -> Devices:
    """Which GPUs and machines. An entry that says anything about GPUs says all: both would contradict each other."""
    says_nothing = given.split_mode is None and given.tensor_split is None and given.main_gpu is None
    said_by = settings if says_nothing else given
    return Devices(
        split_mode=said_by.split_mode or ("layer" if said_by.main_gpu is None else "none"),
        tensor_split=said_by.tensor_split or (),
        main_gpu=said_by.main_gpu or 0,
        rpc_servers=_rpc_servers(given, settings),
    )


def _rpc_servers(given: Entry, settings: Settings) -> tuple[str, ...]:
    """Other machines that take part; not in what an entry keeps on this one's CPU."""
    if given.rpc_servers is not None:
        return given.rpc_servers
    return () if given.gpu_layers == 0 else settings.rpc_servers


def _template(given: str | None, folder: Path) -> str | SpecFile | None:
    return given if given is None or is_template(given) else SpecFile(placed(given, folder))


def _cache_bytes() -> int:
    """Host memory for the KV of other conversations, where nobody says: little enough not to be missed."""
    return min(_CACHE_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10)


def as_it_is(spec: EngineSpec) -> EngineSpec:
    """The spec with its files' times and sizes of now; 0 where there is no such file, as loading will tell."""
    mtime_ns, size_bytes, ctime_ns = _times_and_size(spec.path)
    template = spec.chat_template
    return msgspec.structs.replace(
        spec,
        mtime_ns=mtime_ns,
        size_bytes=size_bytes,
        ctime_ns=ctime_ns,
        chat_template=_now(template) if isinstance(template, SpecFile) else template,
        lora=tuple(Adapter(_now(adapter.file), adapter.scale) for adapter in spec.lora),
        draft_model=None if spec.draft_model is None else _now(spec.draft_model),
    )


def _now(file: SpecFile) -> SpecFile:
    return SpecFile(file.path, *_times_and_size(file.path))


def _times_and_size(path: str) -> tuple[int, int, int]:
    """When it was written, how large it is, and when anything about it changed, which nobody can set back."""
    try:
        stats = [os.stat(part) for part in all_parts(Path(path))]
    except (OSError, ValueError):
        return 0, 0, 0
    return stats[0].st_mtime_ns, sum(stat.st_size for stat in stats), max(stat.st_ctime_ns for stat in stats)
