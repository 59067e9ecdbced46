"""Checks of the machine: Python, compiler, backend, GPU, memory, disk."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from hoshikage_server.doctor.finding import Finding, Status, shell
from hoshikage_server.doctor.probe import ProbeError, ask
from hoshikage_server.engines.nvml import DRIVER_FILES, is_surely_there
from hoshikage_server.messages import Said, Size, said, told_by_system

Ask = Callable[[str], dict[str, Any]]

_PACKAGES = ("gevent", "gunicorn", "falcon")
_LEAST_PYTHON = (3, 10)
_COMPILER_S = 5.0
_LITTLE_RAM_BYTES = 2 * 1024**3
_LITTLE_DISK_BYTES = 5 * 1024**3
_NO_DISK_BYTES = 100 * 1024**2
_CUDA_LIBRARY = re.compile(r"lib(cuda|cudart|cublas|cublasLt|nvrtc)[.\w]*")


def python(found: tuple[Any, ...] = sys.version_info) -> list[Finding]:
    """Python, and what the server is built on."""
    if tuple(found[:2]) < _LEAST_PYTHON:
        return [Finding("python", "error", said("doctor_old_python", version=platform.python_version()))]
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            fix = shell(sys.executable, "-m", "pip", "install", name)
            return [Finding("python", "error", said("doctor_no_package", name=name), fix)]
    told = said("doctor_python", version=platform.python_version(), packages=", ".join(versions))
    return [Finding("python", "ok", told)]


def compiler(which: Callable[[str], str | None] = shutil.which) -> list[Finding]:
    """A C++ compiler: only who builds needs it."""
    path = which("c++") or which("g++") or which("clang++")
    if path is None:
        return [Finding("compiler", "warning", said("doctor_no_compiler"), "sudo apt install g++ make")]
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=_COMPILER_S
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        slow = said("inspection_timeout", seconds=f"{_COMPILER_S:g}")
        reason = told_by_system(error) if isinstance(error, OSError) else slow
        return [Finding("compiler", "warning", said("doctor_bad_compiler", path=path, reason=reason))]
    return [Finding("compiler", "ok", said("doctor_compiler", version=(told.splitlines() or [path])[0]))]


def backend(ask: Ask = ask) -> list[Finding]:
    """The native module: whether it loads, and what it computes on."""
    try:
        told = ask("backend")
    except ProbeError as error:
        key = "doctor_backend_crashed" if error.is_crash else "doctor_backend_failed"
        return [Finding("backend", "error", said(key, reason=error.reason), "make build")]
    if "error" in told:
        library = _CUDA_LIBRARY.search(told["error"])
        if library is None:
            return [Finding("backend", "error", said("doctor_backend_failed", reason=told["error"]), "make build")]
        told_library = said("doctor_no_cuda_library", name=library[0])
        return [Finding("backend", "error", told_library, "make build")]
    names = ", ".join(told["backends"])
    features = ", ".join(told["cpu_features"])
    sentence = said("doctor_backend", backends=names, features=features, commit=told["commit"][:12])
    found = [Finding("backend", "ok", sentence)]
    if told["backend"] != "cuda":
        return found
    archs = ", ".join(told["cuda_archs"])
    found.append(Finding("backend", "ok", said("doctor_cuda", version=told["cuda_version"], archs=archs)))
    if not told["gpus"]:
        found.append(
            Finding("backend", "warning", said("doctor_cuda_unused", reason=told["gpu_problem"] or "-"), "nvidia-smi")
        )
    return found


def gpu(
    ask: Ask = ask, driver_files: Sequence[str] = DRIVER_FILES, expects: Callable[[], bool] = lambda: False
) -> list[Finding]:
    """NVIDIA's driver, its CUDA, and the GPUs with their memory; and where one is expected, why it is not used."""
    found = _gpus(ask, driver_files)
    if not expects() or any(one.status != "ok" for one in found):
        return found
    try:
        told = ask("no_gpu")
    except ProbeError:  # as the other check tells
        return found
    why = told.get("why")  # not there where the module cannot be loaded: again the other check tells
    return [*found, Finding("gpu", "warning", msgspec.convert(why, Said))] if why else found


def _gpus(ask: Ask, driver_files: Sequence[str]) -> list[Finding]:
    if not any(os.path.exists(path) for path in driver_files):
        return [Finding("gpu", "ok", said("doctor_no_gpu"))]
    try:
        told = ask("gpu")
    except ProbeError as error:
        return [Finding("gpu", "error", said("doctor_gpu_failed", reason=error.reason), "nvidia-smi")]
    if "error" in told and not told["has_library"]:
        if is_surely_there(driver_files):
            return [Finding("gpu", "warning", said("doctor_no_nvml"))]
        return [Finding("gpu", "ok", said("doctor_no_gpu"))]
    if "error" in told:
        return [Finding("gpu", "error", said("doctor_gpu_failed", reason=told["error"]), "nvidia-smi")]
    found = [Finding("gpu", "ok", said("doctor_driver", driver=told["driver"], cuda=told["cuda"]))]
    found += [Finding("gpu", "ok", _gpu_sentence(device)) for device in told["gpus"]]
    try:
        is_built_for_it = ask("backend").get("backend", "cuda") == "cuda"
    except ProbeError:  # the other check tells
        is_built_for_it = True
    if told["gpus"] and not is_built_for_it:
        found.append(Finding("gpu", "warning", said("doctor_gpu_unused"), "HOSHIKAGE_BACKEND=cuda make build"))
    return found


def memory(ask: Ask = ask, meminfo: Path = Path("/proc/meminfo")) -> list[Finding]:
    """RAM: what can be had now, limits of a container included."""
    in_kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE))
    total, available = (int(in_kib.get(name, 0)) * 1024 for name in ("MemTotal", "MemAvailable"))
    with contextlib.suppress(ProbeError):  # then it is the kernel's figure
        available = ask("backend").get("available_bytes", available)
    values: dict[str, object] = {"free": Size(available), "total": Size(total)}
    if available < _LITTLE_RAM_BYTES:
        return [Finding("memory", "warning", said("doctor_little_ram", **values))]
    return [Finding("memory", "ok", said("doctor_ram", **values))]


def disk(folders: Sequence[Path]) -> list[Finding]:
    """Space for models and downloads."""
    found = []
    for place in dict.fromkeys(map(existing, folders)):
        free = shutil.disk_usage(place).free
        values: dict[str, object] = {"path": place, "free": Size(free)}
        if free < _LITTLE_DISK_BYTES:
            status: Status = "error" if free < _NO_DISK_BYTES else "warning"
            found.append(
                Finding("disk", status, said("doctor_little_disk", **values), shell("du", "-xh", "-d1", place))
            )
        else:
            found.append(Finding("disk", "ok", said("doctor_disk", **values)))
    return found


def existing(path: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _gpu_sentence(device: dict[str, Any]) -> Said:
    if device["free_bytes"] is None:
        return said("doctor_gpu_memory_unknown", name=device["name"])
    return said("doctor_gpu", name=device["name"], free=Size(device["free_bytes"]), total=Size(device["total_bytes"]))
