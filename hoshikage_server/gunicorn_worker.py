"""gunicorn's worker: what is no request gets our envelope, and what the client wrote stays out of the log."""

from __future__ import annotations

import contextlib
import http
import logging
import socket
import ssl
import uuid
from typing import Any

import gevent
from gunicorn import util
from gunicorn.http.errors import ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName, ParseException
from gunicorn.workers.ggevent import GeventWorker

from hoshikage_server.errors import ServerError, kind_of
from hoshikage_server.settings import LiveSettings

log = logging.getLogger(__name__)

# What gunicorn refuses before the application sees it; everything else of that kind is malformed_request.
_CODES = {
    "ExpectationFailed": "unsupported_expectation",
    "LimitRequestHeaders": "request_headers_too_large",
    "LimitRequestLine": "request_line_too_long",
    "UnsupportedTransferCoding": "unsupported_transfer_coding",
}
_OUR_FAULT = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)
_LINGER_S = 1.0
_LINGER_READS = 64


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves requests in greenlets."""

    settings: LiveSettings  # set before it serves

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called by gunicorn for what is no request, and for what escaped the application before its first byte."""
        if isinstance(exc, gevent.GreenletExit):  # the shutdown ends an idle connection
            return
        request_id = f"req_{uuid.uuid4().hex}"
        if isinstance(exc, (ParseException, ssl.SSLError)) and not isinstance(exc, _OUR_FAULT):
            error = ServerError(_CODES.get(type(exc).__name__, "malformed_request"))
            log.info("%s %s %s: %s", request_id, kind_of(error.code).status, error.code, type(exc).__name__)
        else:
            error = ServerError("internal_error", request_id=request_id)
            log.error("%s 500 internal_error", request_id, exc_info=exc)
        with contextlib.suppress(OSError):  # nobody is left to be told
            util.write_nonblock(client, refusal(error, self.settings.now.lang, request_id))
            _linger(client)


def _linger(client: Any) -> None:
    """Reads what is still under way: closing a socket with unread bytes would take the answer back."""
    client.shutdown(socket.SHUT_WR)
    with gevent.Timeout(_LINGER_S, False):
        for _ in range(_LINGER_READS):
            if not client.recv(65536):
                return


def refusal(error: ServerError, language: str, request_id: str) -> bytes:
    """The whole response that tells of an error and ends the connection."""
    from hoshikage_server.api import problems  # late: falcon is loaded after gevent has patched the standard library

    body = problems.envelope(error, language)
    status = http.HTTPStatus(kind_of(error.code).status)
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body
