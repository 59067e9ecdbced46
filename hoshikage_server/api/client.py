"""The client's connection while its answer is made: noticing that it is gone, and hanging up on it."""

from __future__ import annotations

import contextlib
import select
import socket
from types import TracebackType
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.socket import wait_read
from gevent.timeout import Timeout

from hoshikage_server.errors import ClientGoneError

# While the client has sent more than was read (a pipelined request), the socket stays readable and an end of file
# hides behind those bytes; then the connection's state is asked for this often.
_POLL_S = 0.25
_HUNG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_poll = get_original("select", "poll")  # gevent's would switch greenlets


class ClientWatch:
    """Throws ClientGoneError into the greenlet that made it as soon as the client disconnects.

    A disconnect only shows on the second write, and a request that waits writes nothing: so the socket is watched for
    its end of file. Like gevent.Timeout, it only interrupts waiting, and only until it is stopped.

    Args:
        environ: The request's WSGI environment; without gunicorn's socket in it nothing is watched.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._owner = gevent.getcurrent()
        self._is_active = self._socket is not None
        self._watcher: gevent.Greenlet | None = None
        if self._socket is not None:
            self._watcher = gevent.spawn(self._watch, self._socket)

    def stop(self) -> None:
        """Ends the watch; from now on nothing is thrown. Never switches greenlets."""
        self._is_active = False
        if self._watcher is not None:
            self._watcher.kill(block=False)
            self._watcher = None

    def hang_up(self) -> None:
        """Ends the connection, also under a write that is stuck because the client does not read."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> ClientWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _watch(self, sock: socket.socket) -> None:
        try:
            wait_read(sock.fileno())
            while not _is_gone(sock):
                gevent.sleep(_POLL_S)
        except (OSError, Timeout):
            pass  # closed under us: gone as well
        gevent.get_hub().loop.run_callback(self._throw)

    def _throw(self) -> None:
        if self._is_active:
            self._is_active = False
            self._owner.throw(ClientGoneError())


def _is_gone(sock: socket.socket) -> bool:
    poll = _poll()
    poll.register(sock.fileno(), _HUNG_UP)
    return bool(poll.poll(0))
