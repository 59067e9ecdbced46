"""An engine as its owner sees it, and the lease by which somebody uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from gevent.event import AsyncResult

from hoshikage_server.engines import wire
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Usage
from hoshikage_server.engines.nvml import Device
from hoshikage_server.messages import Said, said

EngineState = Literal["loading", "ready", "generating", "unloading"]


class Process(Protocol):
    """What the fleet needs of an engine process."""

    last_heard: float

    @property
    def pid(self) -> int:
        """The process id."""

    def usage(self) -> Usage | None:
        """What it holds."""

    def devices(self) -> list[tuple[Device, float | None]]:
        """The GPUs, and what each has drawn since its start, in joules."""

    def stop(self, sleep_s: float = 0.0) -> None:
        """Asks it to end; it may take so long to keep what it has computed."""

    def kill(self, reason: str | Said) -> None:
        """Ends it."""


class Lease:
    """A wish for an engine, then the right to use it.

    Args:
        model: The model's id.
        spec: The engine it needs.
        n_retries: How often it may be started again because it died while it loaded.
        insists: Load it even if it failed just now.
        goes_on: It continues what somebody reads already, and so does not wait behind those who have nothing yet.
    """

    def __init__(
        self,
        model: str,
        spec: EngineSpec,
        n_retries: int = 0,
        *,
        insists: bool = False,
        goes_on: bool = False,
    ) -> None:
        self.model = model
        self.spec = spec
        self.n_retries = n_retries
        self.insists = insists
        self.goes_on = goes_on
        self.wanted_at = 0.0  # the fleet's, like the following
        self.result: AsyncResult[Process] = AsyncResult()
        self.engine: Engine | None = None
        self.is_used = False
        self.is_open = False


@dataclass(eq=False)
class Engine:
    """An engine process and what the fleet knows of it.

    Attributes:
        model: The model it was started for.
        used_as: The name its model was asked for by last: one file may have several.
        n_users: Leases that compute.
        n_open: Leases whose last byte is not out yet; they only keep it from being idle.
        idle_since: When the last of them ended.
        deadline: When a load or an ending has taken too long.
        doomed: Why it was killed, if that is a failure. It serves nobody any more; its end follows at once.
    """

    process: Process
    model: str
    spec: EngineSpec
    began: float
    used_as: str
    state: EngineState = "loading"
    since: float = 0.0  # Unix time
    progress: float | None = 0.0
    ready: wire.Ready | None = None
    load_s: float | None = None
    n_users: int = 0
    n_open: int = 0
    busy_since: float = 0.0
    idle_since: float = 0.0
    deadline: float | None = None
    doomed: str | Said | None = None

    def is_idle(self) -> bool:
        """Whether nobody uses it, so that it may be ended."""
        return self.state == "ready" and self.n_users == 0 and not self.doomed

    @property
    def label(self) -> str | Said:
        """What to call it in the log."""
        return said("log_vocabulary_only", model=self.model) if self.spec.is_vocab_only else self.model

    def next_deadline(self, stall_timeout_s: float, idle_timeout_s: float) -> float | None:
        """When something has to be done about it if nothing happens; an `idle_timeout_s` of 0 means never."""
        if self.doomed:
            return None
        if self.state == "unloading":
            return self.deadline
        if self.state == "loading":
            assert self.deadline is not None
            return min(self.deadline, self.process.last_heard + stall_timeout_s)
        if self.n_users:
            return max(self.process.last_heard, self.busy_since) + stall_timeout_s
        return self.idle_until(idle_timeout_s)

    def idle_until(self, idle_timeout_s: float) -> float | None:
        """When it has been idle for long enough; None while it is in use, or where that does not matter."""
        if self.state != "ready" or self.n_open or not idle_timeout_s:
            return None
        return self.idle_since + idle_timeout_s
