"""How a registered model is loaded: its entry of the model map over the server's settings."""

from __future__ import annotations

from hoshikage_server.engines.wire import EngineSpec
from hoshikage_server.registry.model_map import ModelEntry
from hoshikage_server.settings import Settings


def spec_of(entry: ModelEntry, settings: Settings) -> EngineSpec:
    """What its engine is made of."""
    return EngineSpec(
        path=str(entry.file),
        n_ctx=entry.n_ctx or settings.n_ctx,
        parallel=settings.parallel,
        n_threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        may_degrade=settings.degrade if entry.degrade is None else entry.degrade,
        checks_memory=settings.memory_check,
    )


def idle_timeout_s(entry: ModelEntry, settings: Settings) -> float:
    """How long its engine stays when nobody uses it; 0: for ever."""
    return settings.idle_timeout if entry.idle_timeout is None else entry.idle_timeout
