"""What a client still sends although it has been answered: it is read and dropped, so that the answer arrives.

Closing a socket with unread bytes in it resets the connection, and a reset takes away what the client has not read yet:
the very answer that says why its request was refused. The bounds are like those of nginx's lingering_close.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
from gunicorn.http.errors import ParseException

_LONGEST_S = 30.0
_SILENCE_S = 2.0
_PIECE_BYTES = 256 * 1024  # of smaller ones gunicorn copies what it has read ahead each time


def drop_body(body: Any) -> bool:
    """Reads what is left of a request's body; False where its end did not come, and another request cannot follow.

    Args:
        body: gunicorn's.
    """
    try:
        return _read_to_end(body.read)
    except (OSError, ParseException):
        return False


def drop_all(client: Any) -> None:
    """Says that nothing more will be sent, and reads until the client says the same.

    Raises:
        OSError: There is no connection any more.
    """
    client.shutdown(socket.SHUT_WR)
    _read_to_end(client.recv)


def _read_to_end(read: Callable[[int], bytes]) -> bool:
    """False where a client is silent, or goes on for too long."""
    with gevent.Timeout(_LONGEST_S, False):
        while True:
            data = None
            with gevent.Timeout(_SILENCE_S, False):
                data = read(_PIECE_BYTES)
            if not data:
                return data is not None
    return False
