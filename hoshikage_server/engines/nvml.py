"""One look at the NVIDIA GPUs, through NVML, which is initialised and shut down around it. It may not come back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WSL_DEVICE_FILE = "/dev/dxg"  # of any GPU of Windows'
# One of them is there where an NVIDIA driver may be. Without them pynvml is not even imported: 2 MiB.
DRIVER_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", WSL_DEVICE_FILE)


@dataclass(frozen=True)
class Device:
    """A GPU. None is what its driver does not tell (under WSL, with MIG, of an older GPU).

    Attributes:
        index: NVML's number of it.
        name: What its driver calls it.
        used_bytes: Its memory in use.
        total_bytes: Its memory.
        by_pid: Processes that compute on it, and what they hold; a process's share may be None on its own.
        utilisation: The part of the last moments in which it computed, 0 to 1.
        power_w: What it draws.
        temperature_c: How warm it is.
        energy_j: What it has drawn since its driver was loaded.
    """

    index: int
    name: str
    used_bytes: int | None
    total_bytes: int | None
    by_pid: Mapping[int, int | None] | None
    utilisation: float | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    energy_j: float | None = None

    @property
    def free_bytes(self) -> int | None:
        """Its memory that nobody uses."""
        return _minus(self.total_bytes, self.used_bytes)


@dataclass(frozen=True)
class GpuUse:
    """All GPUs at one moment; a sum with an unknown part is None."""

    devices: tuple[Device, ...]

    @property
    def used_bytes(self) -> int | None:
        """The memory in use on all of them."""
        used_bytes: int | None = 0
        for device in self.devices:
            used_bytes = _plus(used_bytes, device.used_bytes)
        return used_bytes

    @property
    def by_pid(self) -> Mapping[int, int | None] | None:
        """What processes hold on all of them."""
        by_pid: dict[int, int | None] = {}
        for device in self.devices:
            if device.by_pid is None:
                return None
            for pid, n_bytes in device.by_pid.items():
                by_pid[pid] = _plus(by_pid.get(pid, 0), n_bytes)
        return by_pid


@dataclass(frozen=True)
class Problem:
    """Why nothing is known; nobody need ask again where it is final."""

    text: str
    is_final: bool


def is_surely_there(driver_files: Sequence[str] = DRIVER_FILES) -> bool:
    """Whether there is an NVIDIA driver: what stands for WSL alone may be another maker's GPU."""
    return any(os.path.exists(path) for path in driver_files if path != WSL_DEVICE_FILE)


def look() -> GpuUse | Problem:
    """Asks the driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return GpuUse(tuple(_devices(pynvml)))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        # The library does not come while we run, and each attempt would search the disk for it.
        return Problem(str(error), is_final=error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    except Exception as error:
        return Problem(repr(error), is_final=False)


def _devices(nvml: Any) -> Iterator[Device]:
    """Those that we may use: a container may be told of others."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NO_PERMISSION:
                raise
        else:
            yield _device(nvml, handle, index)


def _device(nvml: Any, handle: Any, index: int) -> Device:
    memory = _if_told(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    # By its version: without it, pynvml has an error of its own for a driver that does not know this one (before 510).
    processes = _if_told(nvml, nvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
    by_pid: dict[int, int | None] = {}
    for process in processes or ():
        by_pid[process.pid] = _plus(by_pid.get(process.pid, 0), process.usedGpuMemory)
    name = _figure(nvml, nvml.nvmlDeviceGetName, handle)
    rates = _figure(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    return Device(
        index,
        name.decode("utf-8", "replace") if isinstance(name, bytes) else name or "NVIDIA GPU",
        None if memory is None else memory.used,
        None if memory is None else memory.total,
        None if processes is None else by_pid,
        None if rates is None else rates.gpu / 100,
        _thousandth(_figure(nvml, nvml.nvmlDeviceGetPowerUsage, handle)),
        _figure(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        _thousandth(_figure(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)),
    )


def _if_told(nvml: Any, question: Callable[[Any], Any], handle: Any) -> Any:
    try:
        return question(handle)
    except nvml.NVMLError as error:
        if error.value not in (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        ):
            raise
        return None


def _figure(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The same of what is nice to know: without it, all else of a look is as good."""
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000


def _minus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a - b


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
