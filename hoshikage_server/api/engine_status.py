"""An engine, its memory and its end, as responses tell of them."""

from __future__ import annotations

import time

from hoshikage_server.api.status_objects import NO_GPU, EnergyStatus, EngineStatus, GpuStatus, Memory, UnloadStatus
from hoshikage_server.engines.energy import Spent
from hoshikage_server.engines.fleet import Unloaded
from hoshikage_server.engines.footprint import Usage
from hoshikage_server.engines.nvml import Device
from hoshikage_server.engines.supervisor import EngineSnapshot


def degraded(engine: EngineSnapshot) -> tuple[str, ...]:
    """What an engine does without."""
    ready = engine.ready
    if ready is None:
        return ()
    return ready.degraded if ready.no_gpu is None else (*ready.degraded, NO_GPU)


def engine_status(engine: EngineSnapshot, usage: Usage | None, language: str) -> EngineStatus:
    """An engine as it is now."""
    idle_s = None if engine.idle_until is None else round(max(engine.idle_until - time.monotonic(), 0.0), 3)
    ready = engine.ready
    return EngineStatus(
        model=engine.model,
        state=engine.state,
        since=engine.since,
        pid=engine.pid,
        n_ctx=ready.n_ctx if ready else None,
        degraded=degraded(engine),
        load_progress=rounded(engine.progress),
        load_s=rounded(engine.load_s),
        seconds_to_unload=idle_s,
        memory=_memory(usage) if usage else None,
        gpu_layers=ready.n_gpu_layers if ready else None,
        n_layers=ready.n_layers if ready else None,
        no_gpu=ready.no_gpu.text(language) if ready and ready.no_gpu else None,
        rpc_servers=engine.spec.devices.rpc_servers,
    )


def unload_status(unloaded: Unloaded, language: str) -> UnloadStatus:
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
        problem=freed.problem.text(language) if freed.problem else None,
    )


def gpu_status(device: Device, energy_j: float | None) -> GpuStatus:
    """A GPU as it is now."""
    return GpuStatus(
        device.index,
        device.name,
        device.used_bytes,
        device.total_bytes,
        device.utilisation,
        device.power_w,
        device.temperature_c,
        rounded(energy_j),
    )


def energy_status(spent: Spent) -> EnergyStatus:
    """What a model's answers have taken."""
    per_token_j = spent.energy_j / spent.n_tokens if spent.n_tokens else None
    return EnergyStatus(round(spent.energy_j, 3), spent.n_tokens, rounded(per_token_j), round(spent.last_j, 3))


def rounded(value: float | None) -> float | None:
    """A figure without digits that mean nothing."""
    return None if value is None else round(value, 3)


def _memory(usage: Usage) -> Memory:
    return Memory(usage.rss_bytes, usage.private_bytes, usage.vram_bytes)
