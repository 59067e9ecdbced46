"""How much memory there is, and how much a context would take."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from hoshikage_core._ffi import call_text, lib

_N_CTX_PROBE = 65536


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """What one device would hold; the host is the last one, named "host". All in bytes."""

    name: str
    free_bytes: int
    total_bytes: int
    model_bytes: int
    context_bytes: int
    compute_bytes: int


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """What a model and a context on it would take, computed by llama.cpp without allocating it.

    Attributes:
        model_bytes: Weights.
        context_bytes: KV cache.
        compute_bytes: Buffers for intermediate results.
        devices: The same, device by device.
    """

    model_bytes: int
    context_bytes: int
    compute_bytes: int
    devices: tuple[DeviceMemory, ...]


def estimate_memory(path: str, model_params: Any, context_params: Any) -> MemoryEstimate:
    """Asks llama.cpp what the native parameters would allocate."""
    values = json.loads(call_text(lib.hsk_memory_estimate_get, os.fsencode(path), model_params, context_params))
    devices = tuple(DeviceMemory(**device) for device in values.pop("devices"))
    return MemoryEstimate(devices=devices, **values)


def host_context_bytes(path: str, model_params: Any, context_params: Any) -> int:
    """Host memory a context would take, however large it is.

    llama.cpp allocates its table of KV cells even when it only estimates (about 40 bytes a cell), so a context beyond
    ``_N_CTX_PROBE`` is extrapolated from two smaller ones: every cache grows linearly or, with a sliding window, not.
    """
    n_ctx: int = context_params.n_ctx

    def host_bytes(n_ctx_probe: int) -> int:
        context_params.n_ctx = n_ctx_probe
        host = estimate_memory(path, model_params, context_params).devices[-1]
        return host.context_bytes + host.compute_bytes

    try:
        if n_ctx <= _N_CTX_PROBE:
            return host_bytes(n_ctx)
        half, whole = host_bytes(_N_CTX_PROBE // 2), host_bytes(_N_CTX_PROBE)
        return whole + (whole - half) * (n_ctx - _N_CTX_PROBE) // (_N_CTX_PROBE // 2)
    finally:
        context_params.n_ctx = n_ctx


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def available_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Host memory that can be taken without swapping: the kernel's MemAvailable, or what a container's limit leaves."""
    available = 0
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit, used = _read_int(cgroup / "memory.max"), _read_int(cgroup / "memory.current")
    if limit is not None and used is not None:
        # A mapped model file counts as used there, though the kernel takes it back when memory is needed.
        cached = next((int(line.split()[1]) for line in _lines(cgroup / "memory.stat") if line.startswith("file ")), 0)
        available = min(available, max(0, limit - used + cached))
    return available
