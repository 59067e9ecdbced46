"""Reading a request's body: whole, bounded in size and in time."""

from __future__ import annotations

import falcon
from gevent import Timeout

from hoshikage_server.errors import RequestError


def read(request: falcon.Request, max_bytes: int, timeout_s: float) -> bytes:
    """The bytes of the body.

    Raises:
        RequestError: It is too large (nothing is read if it says so itself), compressed, or arrives too slowly.
    """
    encoding = request.get_header("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        raise RequestError("unsupported_content_encoding", encoding=encoding[:40])
    if (request.content_length or 0) > max_bytes:
        raise RequestError("request_too_large", limit=max_bytes)
    is_bounded = request.env.get("wsgi.input_terminated") and request.content_length is None
    stream = request.stream if is_bounded else request.bounded_stream  # chunked bodies end by themselves
    with Timeout(timeout_s, RequestError("request_timeout", seconds=f"{timeout_s:g}")):
        body: bytes = stream.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise RequestError("request_too_large", limit=max_bytes)
    return body
