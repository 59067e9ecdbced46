"""How a registered model is loaded: its entry of the model map over the server's settings, and its file as it is."""

from __future__ import annotations

import os

import msgspec

from hoshikage_server.engines.wire import EngineSpec
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.settings import Settings

_CACHE_BYTES = 1024**3


def spec_of(entry: ModelEntry, settings: Settings) -> EngineSpec:
    """What its engine is made of."""
    asked = EngineSpec(
        path=str(entry.file),
        n_ctx=entry.given.n_ctx or settings.n_ctx,
        parallel=settings.parallel,
        n_threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        may_degrade=settings.degrade if entry.given.degrade is None else entry.given.degrade,
        checks_memory=settings.memory_check,
        cache_bytes=_cache_bytes() if settings.cache_ram is None else settings.cache_ram,
    )
    return as_it_is(asked)


def _cache_bytes() -> int:
    """Host memory for the KV of other conversations, where nobody says: little enough not to be missed."""
    return min(_CACHE_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10)


def as_it_is(spec: EngineSpec) -> EngineSpec:
    """The spec with its file's time and size of now; without them where there is no such file, as loading will tell."""
    try:
        stat = os.stat(spec.path)
    except (OSError, ValueError):
        return msgspec.structs.replace(spec, mtime_ns=0, size_bytes=0)
    return msgspec.structs.replace(spec, mtime_ns=stat.st_mtime_ns, size_bytes=stat.st_size)


def vocabulary_of(spec: EngineSpec) -> EngineSpec:
    """An engine that knows the vocabulary of the same file and nothing else."""
    return EngineSpec(path=spec.path, n_ctx=0, is_vocab_only=True, mtime_ns=spec.mtime_ns, size_bytes=spec.size_bytes)
