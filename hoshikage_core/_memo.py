"""What was made before, and need not be made again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from hoshikage_core import _checks


class Memo:
    """The last few results of pure functions, by their arguments. Any thread; two may make the same at once.

    Args:
        n_kept: How many are kept.
    """

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._lock = threading.Lock()
        self._made: OrderedDict[bytes, Any] = OrderedDict()

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, or gave for an equal key; nobody may change it."""
        written = _checks.to_json("tools", key)
        with self._lock:
            if written in self._made:
                self._made.move_to_end(written)
                return self._made[written]
        made = make()
        with self._lock:
            self._made[written] = made
            while len(self._made) > self._n_kept:
                self._made.popitem(last=False)
        return made
