"""A look at the memory of the NVIDIA GPUs, through NVML.

Between two looks nothing is held: NVML is initialised and shut down around each, in a native thread, because a driver
call may take long (a GPU that sleeps takes a second or two to wake) or not come back at all. A look wakes a sleeping
GPU, so nobody may look while no engine runs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gevent.lock import Semaphore

from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.messages import said

log = logging.getLogger(__name__)

# One of them is there where an NVIDIA driver may be (the last: WSL). Without them pynvml is not even imported: 2 MiB.
_DRIVER_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, the same on every Linux
_LIMIT_S = 5.0


@dataclass(frozen=True)
class GpuUse:
    """The memory in use on all GPUs together. None is what a driver does not tell (under WSL, or with MIG)."""

    used_bytes: int | None
    by_pid: Mapping[int, int | None] | None  # processes that compute; a process's share may be None on its own


class Gpu:
    """The GPUs of this machine, if it has any.

    NVML names processes by their pids in the host's namespace. In a container these are strangers to us, and one may
    by chance have the number of one of our processes; `pids_are_ours` says whether the numbers can be relied on.

    Args:
        driver_files: Without any of these there is no driver.
        pids_are_ours: Whether NVML's pids are those this process sees; found out when not given.
        limit_s: How long a look may take.
    """

    def __init__(
        self,
        *,
        driver_files: Sequence[str] = _DRIVER_FILES,
        pids_are_ours: bool | None = None,
        limit_s: float = _LIMIT_S,
    ) -> None:
        self.pids_are_ours = _in_initial_pid_namespace() if pids_are_ours is None else pids_are_ours
        self._driver_files = driver_files
        self._calls = NativeCalls(limit_s)
        self._has_library = True
        self._turn = Semaphore()
        self._use: GpuUse | None = None
        self._looked_at = -float("inf")
        self._last_problem = ""

    def look(self, max_age_s: float = 0.0) -> GpuUse | None:
        """The memory in use now. Blocks the calling greenlet, never the event loop.

        Args:
            max_age_s: An answer that is not older will do.

        Returns:
            None without an NVIDIA GPU, and where the driver reports an error or does not answer, which is logged once.
        """
        if not self._has_library or not any(os.path.exists(path) for path in self._driver_files):
            return None
        with self._turn:
            looked_at = time.monotonic()
            if looked_at - self._looked_at >= max_age_s:
                self._use = self._ask()
                self._looked_at = looked_at
            return self._use

    def _ask(self) -> GpuUse | None:
        try:
            answer = self._calls.call(_ask_driver)
        except (TimeoutError, RuntimeError) as error:  # or no more threads
            self._report(str(error))
            return None
        if isinstance(answer, _Problem):
            self._has_library = not answer.is_final
            self._report(answer.text)
            return None
        self._last_problem = ""
        return answer

    def _report(self, problem: str) -> None:
        if problem != self._last_problem:
            log.warning(said("log_gpu_unknown", reason=problem))
        self._last_problem = problem


@dataclass(frozen=True)
class _Problem:
    text: str
    is_final: bool


def _in_initial_pid_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _ask_driver() -> GpuUse | _Problem:
    """Runs in a native thread."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return _use_of_all(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        # The library does not come while we run, and each attempt would search the disk for it.
        return _Problem(str(error), is_final=error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    except Exception as error:
        return _Problem(repr(error), is_final=False)


def _use_of_all(nvml: Any) -> GpuUse:
    used_bytes: int | None = 0
    by_pid: dict[int, int | None] | None = {}
    for i in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(i)
        memory = _if_told(nvml, nvml.nvmlDeviceGetMemoryInfo, device)
        used_bytes = _plus(used_bytes, None if memory is None else memory.used)
        processes = _if_told(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, device)
        if processes is None or by_pid is None:
            by_pid = None
            continue
        for process in processes:
            by_pid[process.pid] = _plus(by_pid.get(process.pid, 0), process.usedGpuMemory)
    return GpuUse(used_bytes, by_pid)


def _if_told(nvml: Any, question: Callable[[Any], Any], device: Any) -> Any:
    try:
        return question(device)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION):
            return None
        raise


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
