"""Why no GPU computes where one was to, looked at in the engine process: there llama.cpp has looked for one.

Each cause is a sentence of the catalogue, `no_gpu_CAUSE`, with its remedy.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hoshikage_core import HoshikageError, build_info
from hoshikage_core.devices import gpu_memory
from hoshikage_server.engines import nvml
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.messages import Said, Size, said

Cause = Literal["build", "machine", "container", "driver", "old_driver", "hidden", "device"]

_DEVICE_FILE = "/dev/nvidiactl"
_DRIVER_LIBRARY = "libcuda.so.1"
# As CUDA says it (cudaGetErrorString). The latter also where CUDA_VISIBLE_DEVICES names GPUs that there are not.
_OLD_DRIVER, _NO_DEVICE = "driver version is insufficient", "no CUDA-capable device"
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")  # Docker's, Podman's
_CONTAINER_GROUPS = ("docker", "containerd", "kubepods", "lxc", "libpod")
_USERS_TOLD = 3


class NoGpuError(HoshikageError):
    """No GPU computes, and the settings require one.

    Attributes:
        reason: Why.
    """

    code = "gpu_required"

    def __init__(self, reason: Said) -> None:
        super().__init__(str(reason))
        self.reason = reason


class NoRoomOnGpuError(NoGpuError):
    """There is a GPU, and no room for even one layer: with less beside the layers there may be."""


@dataclass(frozen=True)
class Surroundings:
    """What decides why llama.cpp sees no GPU.

    Attributes:
        is_built_for_it: Whether CUDA is built in.
        has_device: Whether the driver gives access to a GPU.
        has_library: Whether the driver's library can be loaded; of no interest without CUDA.
        is_hidden: Whether CUDA_VISIBLE_DEVICES names none that there is.
        is_container: Whether this is a container.
        is_too_old: Whether the driver is older than the CUDA that is built in.
    """

    is_built_for_it: bool
    has_device: bool
    has_library: bool
    is_hidden: bool
    is_container: bool
    is_too_old: bool


def look(environ: Mapping[str, str] = os.environ) -> Surroundings:
    """The surroundings of this process."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    info = build_info()
    is_wsl = os.path.exists(nvml.WSL_DEVICE_FILE)
    is_built_for_it = info.backend == "cuda"
    has_library = (is_built_for_it or is_wsl) and _can_load(_DRIVER_LIBRARY)
    names_none = visible is not None and (not visible.strip() or visible.strip().startswith("-"))
    return Surroundings(
        is_built_for_it=is_built_for_it,
        has_device=os.path.exists(_DEVICE_FILE) or (is_wsl and has_library),  # else it may be another maker's
        has_library=has_library,
        is_hidden=names_none or (visible is not None and _NO_DEVICE in info.gpu_problem),
        is_container=is_container(),
        is_too_old=_OLD_DRIVER in info.gpu_problem,
    )


def cause(found: Surroundings) -> Cause:
    """The first thing to be put right."""
    if not found.is_built_for_it:
        return "build" if found.has_device else "machine"
    if not found.has_device and found.is_container:
        return "container"
    if not found.has_library:
        return "driver"
    if found.is_too_old:
        return "old_driver"
    return "hidden" if found.is_hidden else "device"


def why_none(expects: bool) -> Said | None:
    """Why there is no GPU; None where nobody expects one, and this machine and this build say nothing of one."""
    found = look()
    if not (expects or found.is_built_for_it or found.has_device):
        return None
    info = build_info()
    problem = info.gpu_problem.rpartition("failed to initialize CUDA: ")[2]
    return said(f"no_gpu_{cause(found)}", cuda=info.cuda_version or "", problem=problem or said("none"))


def why_no_gpu(spec: EngineSpec, n_gpu_layers: int) -> Said | None:
    """Why a model has no layers on a GPU.

    Args:
        spec: How it was to be loaded.
        n_gpu_layers: Its layers in GPU memory.

    Returns:
        None where it has some, and where nobody expects any: the CPU was asked for, or there is nothing else.
    """
    if n_gpu_layers > 0 or spec.gpu_layers == 0:
        return None
    memory = gpu_memory()
    if memory:
        free, total = (sum(sizes) for sizes in zip(*memory.values(), strict=True))
        return said("no_gpu_memory", free=str(Size(free)), total=str(Size(total)), users=_users())
    return why_none(spec.expects_gpu)


def require_gpu(spec: EngineSpec) -> None:
    """Raises an error before the weights are read, where the settings require a GPU and there is none.

    Raises:
        NoGpuError: So it is.
    """
    if spec.requires_gpu and not spec.devices.rpc_servers and not gpu_memory():
        reason = why_no_gpu(spec, 0)
        if reason is not None:
            raise NoGpuError(reason)


def is_container(root: str = "/") -> bool:
    """Whether this process is in a container, as far as that can be told."""
    if any(os.path.exists(os.path.join(root, path.lstrip("/"))) for path in _CONTAINER_FILES):
        return True
    try:
        with open(os.path.join(root, "proc/1/cgroup"), encoding="utf-8", errors="replace") as file:
            groups = file.read()
    except OSError:
        return False
    return any(name in groups for name in _CONTAINER_GROUPS)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _users() -> str | Said:
    """Who holds most of the GPUs' memory, as far as the driver tells."""
    use = nvml.look()
    by_pid = use.by_pid if isinstance(use, nvml.GpuUse) else None
    held = {pid: n_bytes or 0 for pid, n_bytes in (by_pid or {}).items() if pid != os.getpid()}
    most = sorted(held, key=lambda pid: -held[pid])[:_USERS_TOLD]
    return ", ".join(f"{_name(pid)}PID {pid} ({Size(held[pid])})" for pid in most) or said("no_gpu_users_unknown")


def _name(pid: int) -> str:
    """What the kernel calls it, and a space; nothing in a container, where the driver's numbers are the host's."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return "" if is_container() else f"{file.read().rstrip()} "
    except OSError:
        return ""
