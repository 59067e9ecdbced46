"""Looks at the NVIDIA GPUs.

Between two looks nothing is held: NVML is initialised and shut down around each, in a native thread, because a driver's
call may take long (a GPU that sleeps takes a second or two to wake) or not come back at all. A look wakes a sleeping
GPU, so nobody may look while no engine runs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from gevent.lock import Semaphore

from hoshikage_server.engines import nvml
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.engines.nvml import GpuUse
from hoshikage_server.messages import said

log = logging.getLogger(__name__)

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, the same on every Linux
_LIMIT_S = 5.0


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
        driver_files: Sequence[str] = nvml.DRIVER_FILES,
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

    @property
    def is_there(self) -> bool:
        """Whether a look may tell anything."""
        return self._has_library and any(os.path.exists(path) for path in self._driver_files)

    def look(self, max_age_s: float = 0.0) -> GpuUse | None:
        """How they are now. Blocks the calling greenlet, never the event loop.

        Args:
            max_age_s: An answer that is not older will do.

        Returns:
            None without an NVIDIA GPU, and where the driver reports an error or does not answer, which is logged once.
        """
        if not self.is_there:
            return None
        asked_at = time.monotonic()
        with self._turn:
            if asked_at - self._looked_at >= max_age_s:  # else a look has begun since, for somebody who came earlier
                looks_at = time.monotonic()
                self._use = self._ask()
                self._looked_at = looks_at
            return self._use

    def _ask(self) -> GpuUse | None:
        try:
            answer = self._calls.call(nvml.look)
        except (TimeoutError, RuntimeError) as error:  # or no more threads
            self._report(str(error))
            return None
        if isinstance(answer, nvml.Problem):
            self._has_library = not answer.is_final
            if self._has_library or nvml.is_surely_there(self._driver_files):
                self._report(answer.text)
            return None
        self._last_problem = ""
        return answer

    def _report(self, problem: str) -> None:
        if problem != self._last_problem:
            log.warning(said("log_gpu_unknown", reason=problem))
        self._last_problem = problem


def _in_initial_pid_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return False
