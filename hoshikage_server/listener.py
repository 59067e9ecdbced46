"""Accepting connections, also when nothing is left to accept them with."""

from __future__ import annotations

import errno
import logging
from typing import Any

from gevent.server import StreamServer

from hoshikage_server.messages import said, told_by_system

log = logging.getLogger(__name__)

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 0.5


class Listener(StreamServer):  # type: ignore[misc]  # gevent has no types
    """Accepts connections. Where descriptors or memory are used up it pauses, instead of trying all the time.

    What cannot be accepted waits in the kernel's queue. It is tried again after a pause and whenever a connection ends,
    also when nobody waits: with no descriptor left, accepting fails before the kernel looks at the queue, so the last
    connection that came in leaves us exhausted, and only an attempt tells that this is over.
    """

    _is_exhausted = False

    def do_read(self) -> Any:
        """Accepts one connection; None when there is none to be had."""
        try:
            accepted = super().do_read()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(error)
            return None
        if accepted is None and self._is_exhausted:  # nobody waits any more
            self._is_exhausted = False
            log.info(said("log_accepting_again"))
        return accepted

    def do_close(self, *arguments: Any) -> None:
        """Closes a connection that has ended: there is a descriptor again."""
        super().do_close(*arguments)
        if self._is_exhausted:
            self._try_again()

    def _pause(self, error: OSError) -> None:
        if not self._is_exhausted:
            self._is_exhausted = True
            log.error(said("log_accepting_none", reason=told_by_system(error)))
        self.stop_accepting()
        self._timer = self.loop.timer(_PAUSE_S)  # gevent's own for pauses: the next stop_accepting() ends it
        self._timer.start(self._try_again)

    def _try_again(self) -> None:
        if self.started:
            self.start_accepting()
            self._do_read()
