"""How much energy answers take, by the counters of the GPUs.

A counter is a device's: it counts all that the device draws, for whomever and while it idles. So what is measured is
the time from the first of several answers that an engine makes at once to the end of the last of them, and each of them
has a share by the tokens that it got meanwhile. Nobody waits for a look: one that comes late is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent

from hoshikage_server.engines.footprint import Footprint
from hoshikage_server.engines.nvml import GpuUse

_LATE_S = 0.5


@dataclass(frozen=True)
class Spent:
    """What some answers took that were made at once.

    Attributes:
        energy_j: All of them.
        n_tokens: How many tokens they got.
        last_j: The share of the one that ended last.
    """

    energy_j: float
    n_tokens: int
    last_j: float

    def __add__(self, later: Spent) -> Spent:
        return Spent(self.energy_j + later.energy_j, self.n_tokens + later.n_tokens, later.last_j)


class EnergyMeter:
    """Measures one engine's answers. No method switches greenlets.

    Args:
        footprint: The engine's.
        tell: Told what answers took; not of those that could not be measured.
    """

    def __init__(self, footprint: Footprint, tell: Callable[[Spent], None]) -> None:
        self._footprint = footprint
        self._tell = tell
        self._n_running = 0
        self._n_tokens = 0
        self._before: gevent.Greenlet | None = None

    def begins(self) -> None:
        """An answer begins."""
        self._n_running += 1
        if self._n_running == 1:
            self._n_tokens = 0
            self._before = gevent.spawn(self._look) if self._footprint.has_gpu else None

    def ends(self, n_tokens: int) -> None:
        """An answer ends, having got so many tokens."""
        self._n_running -= 1
        self._n_tokens += n_tokens
        if self._n_running == 0 and self._before is not None:
            gevent.spawn(self._settle, self._before, self._n_tokens, n_tokens)

    def _look(self) -> GpuUse | None:
        began = time.monotonic()
        use = self._footprint.look_at_gpu()
        return use if time.monotonic() - began < _LATE_S else None

    def _settle(self, looking: gevent.Greenlet, n_tokens: int, n_last: int) -> None:
        after, before = self._look(), looking.get()
        if before is None or after is None or before is after:  # one look was for both
            return
        energy_j = self._footprint.energy_between(before, after)
        if energy_j is not None:
            self._tell(Spent(energy_j, n_tokens, energy_j * n_last / n_tokens if n_tokens else energy_j))
