"""Errors as responses: one envelope for all of them, and one log line for each."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import falcon
import msgspec

from hoshikage_server import messages
from hoshikage_server.errors import ClientGoneError, ServerError, kind_of

log = logging.getLogger(__name__)


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class Envelope(msgspec.Struct, frozen=True):
    """The body of every error response."""

    error: ErrorBody


_encode = msgspec.json.Encoder().encode


def envelope(error: ServerError, language: str) -> bytes:
    """The body that tells a client of an error."""
    kind = kind_of(error.code)
    return _encode(Envelope(ErrorBody(error.text(language), kind.type, error.param, kind.public_code)))


def tell(error: ServerError, request: falcon.Request) -> bytes:
    """Logs an error and makes the body that tells the client of it."""
    note(error, request)
    if error.code not in messages.CATALOGUE:  # a fault inside the engine; its words are for the log
        error = ServerError("internal_error", request_id=request.context.request_id)
    return envelope(error, request.context.language)


def note(error: ServerError, request: falcon.Request) -> None:
    """Logs an error: one line, never what the client wrote."""
    kind = kind_of(error.code)
    level = logging.ERROR if kind.status >= 500 else logging.INFO
    detail = f" param={error.param}" if error.param else ""
    if kind.status >= 500:
        detail = f": {error.values.get('reason') or error}"
    log.log(level, "%s %s %s %s%s", request.context.request_id, request.method, kind.status, error.code, detail)


def note_gone(request: falcon.Request) -> None:
    """Logs that nobody is left to be answered."""
    log.info("%s %s client disconnected", request.context.request_id, request.method)


def register(app: falcon.App[Any, Any]) -> None:
    """Makes every error of an app answer in OpenAI's envelope."""
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(ServerError, _on_server_error)
    app.add_error_handler(ClientGoneError, _on_client_gone)


def _answer(request: falcon.Request, response: falcon.Response, error: ServerError, status: int) -> None:
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = tell(error, request)
    response.text = None
    response.stream = None
    for name, value in error.headers.items():
        response.set_header(name, value)


def _on_server_error(
    request: falcon.Request, response: falcon.Response, error: ServerError, params: dict[str, Any]
) -> None:
    _answer(request, response, error, kind_of(error.code).status)


def _on_http_error(
    request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, params: dict[str, Any]
) -> None:
    own: ServerError
    if isinstance(error, falcon.HTTPNotFound):
        own = ServerError("unknown_url", method=request.method, path=request.path)
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        allowed = dict(error.headers or {}).get("Allow", "")
        own = ServerError("method_not_supported", method=request.method, path=request.path, allowed=allowed)
    else:
        own = ServerError("http_error", reason=error.description or error.title)
    own.headers = dict(error.headers or {})
    _answer(request, response, own, kind_of(own.code).status if own.code != "http_error" else error.status_code)


def _on_client_gone(
    request: falcon.Request, response: falcon.Response, error: ClientGoneError, params: dict[str, Any]
) -> NoReturn:
    note_gone(request)
    raise error  # gunicorn closes the connection


def _on_exception(request: falcon.Request, response: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    log.error("%s %s 500 internal_error", request.context.request_id, request.method, exc_info=error)
    own = ServerError("internal_error", request_id=request.context.request_id)
    response.status = 500
    response.content_type = falcon.MEDIA_JSON
    response.data = envelope(own, request.context.language)
