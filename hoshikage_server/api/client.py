"""The client's connection while its answer is made: noticing that it is gone, and hanging up on it."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent
from gevent.monkey import get_original

from hoshikage_server.api import peer
from hoshikage_server.errors import ClientGoneError, ServerError

# While the client has sent more than was read (a pipelined request), or has sent an end of file but still reads, the
# socket stays readable and tells nothing more; then the connection's state is asked for this often.
_POLL_S = 0.25
# The first time sooner: a client that closes sends its end of file before the kernel takes its socket from it.
_FIRST_POLL_S = 0.01
_READABLE = 1  # libev's EV_READ
_OVER = select.POLLHUP | select.POLLERR
_poll = get_original("select", "poll")  # gevent's would switch greenlets


class ClientWatch:
    """Throws ClientGoneError into the greenlet that made it as soon as the client disconnects.

    A disconnect only shows on the second write, and a request that waits writes nothing: so the socket is watched for
    its end of file. A client on this machine that has only shut down its sending side is still there; of one elsewhere
    that cannot be told, and it counts as gone. Like gevent.Timeout, the watch only interrupts waiting, and only until
    it is stopped. No greenlet of its own: one would still have the socket when gunicorn closes it, and gevent then
    puts off closing.

    Args:
        environ: The request's WSGI environment; without gunicorn's socket in it nothing is watched.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._owner = gevent.getcurrent()
        self._watcher: Any = None
        if self._socket is not None:
            self._watch(gevent.get_hub().loop.io(self._socket.fileno(), _READABLE), self._on_readable)

    @property
    def is_gone(self) -> bool:
        """Whether the connection has ended, whoever ended it."""
        return self._socket is not None and _is_gone(self._socket)

    def stop(self) -> None:
        """Ends the watch; from now on nothing is thrown, and the socket can be closed. Never switches greenlets."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

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
        if isinstance(error, gevent.GreenletExit):  # the server's grace has ended
            raise ServerError("shutting_down") from None

    def _watch(self, watcher: Any, callback: Callable[[], None]) -> None:
        self.stop()
        self._watcher = watcher
        watcher.start(callback)

    def _on_readable(self) -> None:
        if self.is_gone:
            self._throw()
        else:
            self._watch(gevent.get_hub().loop.timer(_FIRST_POLL_S, _POLL_S), self._on_timer)

    def _on_timer(self) -> None:
        if self.is_gone:
            self._throw()

    def _throw(self) -> None:
        self.stop()
        self._owner.throw(ClientGoneError())


def _is_gone(sock: socket.socket) -> bool:
    descriptor = sock.fileno()
    if descriptor < 0:  # closed on our side
        return True
    poll = _poll()
    poll.register(descriptor, select.POLLRDHUP)  # the others are always told
    found = poll.poll(0)
    if not found:
        return False
    if found[0][1] & _OVER:
        return True
    # The client sends nothing more. A Unix socket that is closed hangs up as well.
    return sock.family != socket.AF_UNIX and not peer.is_open(sock)
