"""What is known of the memory that engines take: what those before them took, and how often they ran out of it."""

from __future__ import annotations

import logging

import gevent

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Usage
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.engines.wire import Measured
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.registry.peaks import Peak, Peaks

log = logging.getLogger(__name__)


class MemoryLog:
    """Tells each engine what the last ones of its kind took, and notes what it takes.

    Args:
        peaks: What outlives the server.
    """

    def __init__(self, peaks: Peaks) -> None:
        self._peaks = peaks
        self._n_given_up: dict[EngineSpec, int] = {}
        self._calls = NativeCalls(limit_s=5.0)
        self._writer: gevent.Greenlet | None = None
        self._has_news = False

    def measured(self, spec: EngineSpec) -> tuple[Measured, ...]:
        """What engines of this spec took."""
        peaks = self._peaks.all_of(spec)
        return tuple(Measured(peak.private_bytes, peak.vram_bytes, peak.given_up) for peak in peaks)

    def peak_of(self, spec: EngineSpec) -> Peak | None:
        """What an engine of this spec took, as it was asked for."""
        return self._peaks.of(spec)

    def note(self, spec: EngineSpec, given_up: tuple[str, ...], usage: Usage, kept_bytes: int) -> None:
        """Notes what one takes. Never switches greenlets.

        Args:
            spec: What it is made of.
            given_up: The steps of the ladder that were taken.
            usage: What it holds.
            kept_bytes: How much of that are other conversations, which it could do without.
        """
        private_bytes = max(usage.private_bytes - kept_bytes, 0)
        if self._peaks.note(spec, given_up, private_bytes, usage.vram_bytes):
            self._has_news = True
            if self._writer is None or self._writer.ready():
                self._writer = gevent.spawn(self._write)

    def flush(self, timeout_s: float) -> None:
        """Waits until all is stored."""
        if self._writer is not None:
            self._writer.join(timeout_s)

    def n_given_up(self, spec: EngineSpec) -> int:
        """How many steps of the ladder the next engine has to take at once, where it may take any."""
        return self._n_given_up.get(spec, 0)

    def ran_out(self, spec: EngineSpec) -> None:
        """An engine has died for want of memory: the next one has to do with less."""
        self._n_given_up[spec] = self.n_given_up(spec) + 1

    def ended_well(self, spec: EngineSpec) -> None:
        """An engine ends as it should: the next one may try all of it again."""
        self._n_given_up.pop(spec, None)

    def _write(self) -> None:
        while self._has_news:
            self._has_news = False
            try:
                self._calls.call(self._peaks.write)
            except (OSError, RuntimeError) as error:  # a full disk, no threads: it is measured again
                reason = told_by_system(error) if isinstance(error, OSError) else said("no_threads")
                log.info(said("log_peaks_not_written", reason=reason))
