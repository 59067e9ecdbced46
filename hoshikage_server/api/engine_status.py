"""An engine, its memory and its end, as responses tell of them. The fields are documented in docs/status.md."""

from __future__ import annotations

import time

import msgspec

from hoshikage_server.engines.fleet import Unloaded
from hoshikage_server.engines.footprint import Usage
from hoshikage_server.engines.supervisor import EngineSnapshot


class Memory(msgspec.Struct, frozen=True):
    """What processes hold, in bytes."""

    rss_bytes: int
    private_bytes: int
    vram_bytes: int | None


class EngineStatus(msgspec.Struct, frozen=True):
    """One engine process."""

    model: str
    state: str
    since: float
    pid: int
    n_ctx: int | None
    degraded: tuple[str, ...]
    load_progress: float | None
    load_s: float | None
    seconds_to_unload: float | None
    memory: Memory | None


class UnloadStatus(msgspec.Struct, frozen=True):
    """What an unloading gave back."""

    model: str
    at: float
    freed: Memory | None
    gpus_fell_bytes: int | None
    is_complete: bool
    left: Memory
    left_pids: tuple[int, ...]
    problem: str | None


def engine_status(engine: EngineSnapshot, usage: Usage | None) -> EngineStatus:
    """An engine as it is now."""
    idle_s = None if engine.idle_until is None else round(max(engine.idle_until - time.monotonic(), 0.0), 3)
    ready = engine.ready
    return EngineStatus(
        model=engine.model,
        state=engine.state,
        since=engine.since,
        pid=engine.pid,
        n_ctx=ready.n_ctx if ready else None,
        degraded=ready.degraded if ready else (),
        load_progress=rounded(engine.progress),
        load_s=rounded(engine.load_s),
        seconds_to_unload=idle_s,
        memory=_memory(usage) if usage else None,
    )


def unload_status(unloaded: Unloaded) -> UnloadStatus:
    """What the end of an engine gave back, and what stayed."""
    freed = unloaded.freed
    return UnloadStatus(
        model=unloaded.model,
        at=unloaded.at,
        freed=_memory(freed.usage) if freed.usage else None,
        gpus_fell_bytes=freed.devices_fell_bytes,
        is_complete=freed.is_all,
        left=_memory(freed.left),
        left_pids=tuple(sorted({*(survivor.pid for survivor in freed.survivors), *freed.gpu_pids})),
        problem=freed.problem,
    )


def rounded(value: float | None) -> float | None:
    """A figure without digits that mean nothing."""
    return None if value is None else round(value, 3)


def _memory(usage: Usage) -> Memory:
    return Memory(usage.rss_bytes, usage.private_bytes, usage.vram_bytes)
