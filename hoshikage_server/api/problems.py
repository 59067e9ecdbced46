"""Errors as responses: one envelope for all of them, and one log line for each.

    id=req_5f0c... method=POST status=503 code=queue_timeout model=smollm2 ms=180002

A line begins with these fields, in this order: the request's id (the response's X-Request-Id), its method, the status
and the code it is answered with (499 client_disconnected where nobody is left to be answered), the model, and the
milliseconds since the request began; `-` is what is not known, or null. `param`, `cause` (our own code, where the
answer has another or none) and `reason` may follow. What is wrong with a file of the registry is not among it: the log
has had that since the file was read. None of it is what the client wrote, but for an id it chose itself and the name
of a field.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any, NoReturn

import falcon
import msgspec

from hoshikage_server import logs, messages
from hoshikage_server.errors import ClientGoneError, ServerError, kind_of, let_go

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


_TOLD_WHEN_READ = frozenset({"invalid_model_map", "invalid_persona"})
_NO_FAULTS = frozenset({"queue_timeout", "shutting_down"})
_FIELD = re.compile(r"[A-Za-z0-9_.\[\]]{1,80}")
_FREE = re.compile(r"^(metadata|chat_template_kwargs|json_schema)\b.*")  # below these, names are the client's words
_encode = msgspec.json.Encoder().encode


def envelope(error: ServerError, language: str) -> bytes:
    """The body that tells a client of an error."""
    kind = kind_of(error.code)
    return _encode(Envelope(ErrorBody(error.text(language), kind.type, error.param, kind.public_code)))


def tell(error: Exception, request: falcon.Request) -> bytes:
    """Logs an error, whatever it is, and makes the body that tells the client of it. Nothing else may want its way."""
    note(error, request)
    let_go(error)
    if not isinstance(error, ServerError) or error.code == "internal_error" or error.code not in messages.CATALOGUE:
        error = ServerError("internal_error", request_id=request.context.request_id)
    return envelope(error, request.context.language)


def note(error: Exception, request: falcon.Request) -> None:
    """Logs an error: one line, and for one that nobody expected the way it took."""
    if not isinstance(error, ServerError):
        log.error("%s\n%s", _fields(request, 500, "internal_error", reason=type(error).__name__), logs.way_of(error))
        return
    kind = kind_of(error.code)
    status = kind.status
    more: dict[str, object] = {}
    param = _FREE.sub(r"\1", error.param or "")
    if _FIELD.fullmatch(param):
        more["param"] = param
    if error.code != kind.public_code:
        more["cause"] = error.code
    is_ours = kind.type == "server_error" and error.code not in _TOLD_WHEN_READ  # 501 is the client's
    if is_ours:
        more["reason"] = error.values.get("reason") or error
    level = logging.INFO if not is_ours else logging.WARNING if error.code in _NO_FAULTS else logging.ERROR
    log.log(level, "%s", _fields(request, status, kind.public_code, **more))


def note_gone(request: falcon.Request) -> None:
    """Logs that nobody is left to be answered."""
    log.info("%s", _fields(request, 499, "client_disconnected"))


def _fields(request: falcon.Request, status: int, code: str | None, **more: object) -> str:
    context = request.context
    ms = round((time.monotonic() - context.began) * 1000)
    return logs.fields(
        id=context.request_id, method=request.method, status=status, code=code, model=context.model, ms=ms, **more
    )


def register(app: falcon.App[Any, Any]) -> None:
    """Makes every error of an app answer in OpenAI's envelope."""
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(ServerError, _on_server_error)
    app.add_error_handler(ClientGoneError, _on_client_gone)


def _answer(request: falcon.Request, response: falcon.Response, error: Exception, status: int) -> None:
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = tell(error, request)
    response.text = None
    response.stream = None
    if isinstance(error, ServerError):
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
        own = ServerError("unknown_url", method=request.method, path=request.path, base=f"{request.prefix}/v1")
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
    _answer(request, response, error, 500)
