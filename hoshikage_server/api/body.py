"""Reading a request's body: whole, bounded in size and in time."""

from __future__ import annotations

import falcon
from gevent import GreenletExit, Timeout
from gunicorn.http.errors import ParseException

from hoshikage_server.errors import ClientGoneError, RequestError, ServerError
from hoshikage_server.settings import Settings


def read(request: falcon.Request, settings: Settings) -> bytes:
    """The bytes of the body.

    Raises:
        RequestError: It is too large (nothing is read if it says so itself), compressed, malformed, or arrives too
            slowly.
        ServerError: The server ends before the body is here.
        ClientGoneError: The connection ended before the body did.
    """
    encoding = request.get_header("Content-Encoding") or "identity"
    if encoding.lower() != "identity":
        raise RequestError("unsupported_content_encoding", encoding=encoding[:40])
    if (request.content_length or 0) > settings.max_body:
        raise RequestError("request_too_large", limit=settings.max_body)
    is_bounded = request.env.get("wsgi.input_terminated") and request.content_length is None
    stream = request.stream if is_bounded else request.bounded_stream  # chunked bodies end by themselves
    try:
        with Timeout(settings.read_timeout, RequestError("request_timeout", seconds=f"{settings.read_timeout:g}")):
            body: bytes = stream.read(settings.max_body + 1)
    except ParseException:  # of a chunked body; it quotes what the client sent
        raise RequestError("malformed_request") from None
    except OSError:
        raise ClientGoneError from None
    except GreenletExit:
        raise ServerError("shutting_down") from None
    if len(body) > settings.max_body:
        raise RequestError("request_too_large", limit=settings.max_body)
    return body
