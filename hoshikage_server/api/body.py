"""The bodies of requests and responses.

A request's is read whole, bounded in size and in time, as JSON in UTF-8 whatever it calls itself: `curl -d` says
application/x-www-form-urlencoded and fetch() says text/plain, and both mean JSON. A page of another origin cannot make
use of that, see origins.py.
"""

from __future__ import annotations

import zlib

import falcon
import msgspec
from gevent import GreenletExit, Timeout
from gunicorn.http.errors import ParseException

from hoshikage_server import chunks
from hoshikage_server.errors import ClientGoneError, RequestError, ServerError
from hoshikage_server.settings import Settings

_MAY_BE_JSON = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})
_UTF8 = frozenset({"", "utf-8", "utf8", "us-ascii"})
_BOM = b"\xef\xbb\xbf"
_GZIP = zlib.MAX_WBITS | 16
_MEMBERS_MAX = 10_000
_PIECE_BYTES = 16 * 1024  # what follows a member is copied

_encode = msgspec.json.Encoder().encode


def read(request: falcon.Request, settings: Settings) -> bytes:
    """The bytes of the body, unpacked and without a byte order mark.

    Raises:
        RequestError: It is too large (nothing is read if it says so itself), of another type, malformed, or arrives too
            slowly.
        ServerError: The server ends before the body is here.
        ClientGoneError: The connection ended before the body did.
    """
    encoding = (request.get_header("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise RequestError("unsupported_content_encoding", encoding=encoding[:40])
    _check_type(request.content_type or "")
    if (request.content_length or 0) > settings.max_body:
        raise RequestError("request_too_large", limit=settings.max_body)
    body = _receive(request, settings)
    if len(body) <= settings.max_body and encoding != "identity":
        body = _unpack(body, settings.max_body + 1)
    if len(body) > settings.max_body:
        raise RequestError("request_too_large", limit=settings.max_body)
    return body.removeprefix(_BOM)


def write(response: falcon.Response, made: msgspec.Struct) -> None:
    """Answers with an object."""
    response.data = _encode(made)
    response.content_type = falcon.MEDIA_JSON


def _check_type(content_type: str) -> None:
    media_type, *parameters = content_type.split(";")
    media_type = media_type.strip().lower()
    if media_type not in _MAY_BE_JSON and not media_type.endswith(("/json", "+json")):
        raise RequestError("unsupported_content_type", content_type=media_type[:80])
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip("\"'").lower()
        if name.strip().lower() == "charset" and charset not in _UTF8:
            raise RequestError("unsupported_charset", charset=charset[:40])


def _receive(request: falcon.Request, settings: Settings) -> bytes:
    is_bounded = request.env.get("wsgi.input_terminated") and request.content_length is None
    stream = request.stream if is_bounded else request.bounded_stream  # chunked bodies end by themselves
    chunks.limit(stream, settings.max_body)
    try:
        with Timeout(settings.read_timeout, RequestError("request_timeout", seconds=f"{settings.read_timeout:g}")):
            body: bytes = stream.read(settings.max_body + 1)
    except chunks.ChunksTooLargeError:
        raise RequestError("request_too_large", limit=settings.max_body) from None
    except ParseException:  # of a chunked body; it quotes what the client sent
        raise RequestError("malformed_request") from None
    except OSError:
        raise ClientGoneError from None
    except GreenletExit:
        raise ServerError("shutting_down") from None
    return body


def _unpack(packed: bytes, max_bytes: int) -> bytes:
    """Never more than `max_bytes`, whatever the packed ones would become."""
    body = bytearray()
    unpacker = zlib.decompressobj(_GZIP)
    n_members = 1
    at = 0
    while at < len(packed) and len(body) < max_bytes:
        piece = packed[at : at + _PIECE_BYTES]
        if unpacker.eof:  # a member after the other, RFC 1952
            unpacker = zlib.decompressobj(_GZIP)
            n_members += 1
        try:
            body += unpacker.decompress(piece, max_bytes - len(body))
        except zlib.error:
            raise RequestError("invalid_gzip") from None
        if n_members > _MEMBERS_MAX:
            raise RequestError("invalid_gzip")
        at += len(piece) - len(unpacker.unused_data)
    if len(body) < max_bytes and not unpacker.eof:
        raise RequestError("invalid_gzip")
    return bytes(body)
