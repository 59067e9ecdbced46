"""What is remembered of a model's failures, and how long they keep it from being loaded again. Time is an argument."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import Said, said
from hoshikage_server.settings import Settings

_MEMORY_CODES = ("insufficient_memory", "out_of_memory")


def is_short_of_memory(error: EngineError) -> bool:
    """Whether a load may go well once another model is gone. A GPU that is required may also be missing altogether."""
    reason = error.values.get("reason")
    return error.code in _MEMORY_CODES or (isinstance(reason, Said) and reason.key == "no_gpu_memory")


def hint(spec: EngineSpec, otherwise: str) -> Said:
    """Where to look: at the RPC workers where there are any, as nothing tells which of them it was."""
    servers = spec.devices.rpc_servers
    return said("hint_workers", servers=", ".join(servers)) if servers else said(otherwise)


@dataclass(frozen=True)
class Crash:
    """One death of an engine."""

    at: float  # Unix time
    model: str
    reason: str | Said


@dataclass
class Health:
    """One model's.

    Attributes:
        n_starts: Engines started.
        n_crashes: Engines that died.
        crash_times: When those of the last crash_window died (monotonic clock).
        cooling_until: When it may be loaded again after too many crashes.
        n_failures: Loads that failed since one went well.
        failure: The last of them.
        failed_spec: What was loaded then; anything else may be tried at once.
        retry_at: When it may be tried again.
    """

    n_starts: int = 0
    n_crashes: int = 0
    crash_times: deque[float] = field(default_factory=deque)
    cooling_until: float = 0.0
    n_failures: int = 0
    failure: EngineError | None = None
    failed_spec: EngineSpec | None = None
    retry_at: float = 0.0

    def on_crash(self, now: float, settings: Settings) -> None:
        """Counts a death; after too many in too short a time the model is left alone for a while."""
        self.n_crashes += 1
        self.crash_times.append(now)
        while now - self.crash_times[0] >= settings.crash_window:
            self.crash_times.popleft()
        if len(self.crash_times) >= settings.crash_limit:
            self.cooling_until = now + settings.crash_cooling

    def on_failed_load(self, spec: EngineSpec, error: EngineError, now: float, settings: Settings) -> EngineError:
        """Counts a failed load. Returns the error that tells of it, and of when to come back."""
        self.n_failures = self.n_failures + 1 if spec == self.failed_spec else 1
        self.failure, self.failed_spec = error, spec
        error.headers["x-should-retry"] = "false"  # OpenAI's clients would wait and try again, and most likely in vain
        if error.code == "rpc_server_failed":  # nothing here shows when another machine is mended: a short pause
            self.n_failures = 1
        pause_s = min(settings.load_backoff * 2 ** min(self.n_failures - 1, 30), settings.load_backoff_max)
        self.retry_at = now + pause_s
        return _come_back(error, pause_s)

    def on_loaded(self) -> None:
        """Forgets failed loads."""
        self.n_failures, self.failure, self.failed_spec, self.retry_at = 0, None, None, 0.0

    def on_memory_freed(self) -> None:
        """What did not fit may fit now."""
        if self.failure is not None and is_short_of_memory(self.failure):
            self.on_loaded()

    def forgive(self) -> None:
        """Forgets what keeps the model from being loaded: somebody insists."""
        self.on_loaded()
        self.cooling_until = 0.0
        self.crash_times.clear()

    def refusal(self, model: str, spec: EngineSpec, now: float) -> EngineError | None:
        """Why this must not be loaded now, if so."""
        if now < self.cooling_until:
            return _come_back(
                EngineError("model_failed", model=model, hint=hint(spec, "hint_deaths")), self.cooling_until - now
            )
        if self.failure is not None and spec == self.failed_spec and now < self.retry_at:
            return _come_back(self.failure, self.retry_at - now)
        return None

    def pause_s(self, now: float) -> float:
        """For how long it will not be loaded."""
        return max(self.cooling_until - now, self.retry_at - now, 0.0)


def _come_back(error: EngineError, pause_s: float) -> EngineError:
    told = EngineError(error.code, headers={**error.headers, "Retry-After": str(max(1, math.ceil(pause_s)))})
    told.values = error.values
    return told
