"""Reading a request's body: whole, bounded in size and in time."""

from __future__ import annotations

import falcon
from gevent import Timeout
from gunicorn.http.errors import ParseException

from hoshikage_server.errors import ClientGoneError, RequestError


def read(request: falcon.Request, max_bytes: int, timeout_s: float) -> bytes:
    """The bytes of the body.

    Raises:
        RequestError: It is too large (nothing is read if it says so itself), compressed, malformed, or arrives too
            slowly.
        ClientGoneError: The connection ended before the body did.
    """
    encoding = request.get_header("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        raise RequestError("unsupported_content_encoding", encoding=encoding[:40])
    if (request.content_length or 0) > max_bytes:
        raise RequestError("request_too_large", limit=max_bytes)
    is_bounded = request.env.get("wsgi.input_terminated") and request.content_length is None
    stream = request.stream if is_bounded else request.bounded_stream  # chunked bodies end by themselves
    try:
        with Timeout(timeout_s, RequestError("request_timeout", seconds=f"{timeout_s:g}")):
            body: bytes = stream.read(max_bytes + 1)
    except ParseException:  # of a chunked body; it quotes what the client sent
        raise RequestError("malformed_request") from None
    except OSError:
        raise ClientGoneError from None
    if len(body) > max_bytes:
        raise RequestError("request_too_large", limit=max_bytes)
    return body
