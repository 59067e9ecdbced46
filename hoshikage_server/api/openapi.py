"""GET /openapi.json: the OpenAPI 3.1 document of all routes, made when it is first asked for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import falcon
import msgspec

from hoshikage_server import __version__
from hoshikage_server.api.operations import Operation, declared, operation
from hoshikage_server.api.problems import Envelope
from hoshikage_server.api.struct_fields import always_there
from hoshikage_server.errors import kind_of

_SCHEMAS = "#/components/schemas/"
_VERBS = ("get", "post", "put", "patch", "delete")  # HEAD goes with GET, OPTIONS with everything
_FIELD = re.compile(r"\{(\w+)(?::\w+)?\}")

# What each kind of operation may answer besides.
_ALL = ("host_not_allowed", "internal_error")
_WITH_KEY = ("missing_api_key", "invalid_api_key")
_WITH_BODY = ("malformed_request", "origin_not_allowed", "request_timeout", "request_too_large")
_WITH_TYPED_BODY = ("invalid_json", "invalid_type", "invalid_value", "missing_required_parameter")
_WITH_TYPES = ("unsupported_charset", "unsupported_content_encoding", "unsupported_content_type")
_WITH_ENGINE = (
    *("queue_full", "queue_timeout", "insufficient_memory", "gpu_required", "model_load_failed"),
    "engine_crashed",
)

_NO_STRUCTS: dict[Any, dict[str, Any]] = {None: {}, msgspec.Struct: {"type": "object"}}

_INFO = {
    "title": "Hoshikage",
    "version": __version__,
    "summary": "An OpenAI-compatible server for GGUF models on your own machine",
    "license": {"name": "MIT", "identifier": "MIT"},
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "One of HOSHIKAGE_API_KEYS or HOSHIKAGE_ADMIN_KEYS; where there are none, none is needed.",
}
_REQUEST_ID = {
    "description": "The request's id, which the log names too; the client's own X-Request-Id if it sent one.",
    "schema": {"type": "string"},
}
_EVENTS = (
    "With `stream: true` the answer comes as server-sent events: each `data:` line is such an object, in silence there "
    "are comments, and the last event is `[DONE]`. An error after the first byte is an event with the error object."
)


class OpenApi:
    """The document.

    Args:
        routes: All resources by their paths, as they are when the document is made.
    """

    def __init__(self, routes: Mapping[str, object]) -> None:
        self._routes = routes
        self._data: bytes | None = None

    @operation("Get API description", answer=msgspec.Struct)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """This document."""
        if self._data is None:
            self._data = msgspec.json.encode(document(self._routes))
        response.data = self._data
        response.content_type = falcon.MEDIA_JSON


def operations(routes: Mapping[str, object]) -> Iterator[tuple[str, str, str, Operation]]:
    """Path, verb, description and declaration of all there is.

    Raises:
        LookupError: A responder has no declaration.
    """
    for path, resource in routes.items():
        for verb in _VERBS:
            responder = getattr(resource, f"on_{verb}", None)
            if responder is None:
                continue
            if not declared(responder):
                raise LookupError(f"{verb} {path} has no @operation")
            for one in declared(responder):
                yield path + one.under, verb, inspect.getdoc(responder) or "", one


def document(routes: Mapping[str, object]) -> dict[str, Any]:
    """The document as plain values."""
    found = list(operations(routes))
    given = {kind for *_, one in found for kind in (one.body, one.query)} - _NO_STRUCTS.keys()
    told = {kind for *_, one in found for kind in (one.answer, one.events)} - _NO_STRUCTS.keys() | {Envelope}
    types = [*given, *told]
    references, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    for kind, fields in always_there(told, given).items():
        _schema_of(kind, schemas)["required"] = fields
    schema_of = {**_NO_STRUCTS, **dict(zip(types, references, strict=True))}
    paths: dict[str, dict[str, Any]] = {}
    for path, verb, description, one in found:
        described = _described(path, verb, description, one, schema_of, schemas)
        paths.setdefault(_FIELD.sub(r"{\1}", path), {})[verb] = described
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"key": _KEY},
            "headers": {"X-Request-Id": _REQUEST_ID},
        },
    }


def _described(
    path: str, verb: str, description: str, one: Operation, schema_of: Mapping[Any, Any], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "description": description,
        "tags": [_tag(path)],
        "responses": _responses(path, verb, one, schema_of),
        "security": [{}, {"key": []}] if _needs_key(path) else [],
    }
    if parameters := [*_path_parameters(path), *_query_parameters(one, schemas)]:
        described["parameters"] = parameters
    if one.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[one.body]}}}
    return described


def _needs_key(path: str) -> bool:
    return path.startswith(("/v1/", "/admin/"))


def _tag(path: str) -> str:
    _, first, *rest = path.split("/")
    return rest[0] if first == "v1" else first if first == "admin" else "server"


def _responses(path: str, verb: str, one: Operation, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    media_type = "text/plain" if one.answer is None else "application/json"
    content = {media_type: {"schema": {"type": "string"} if one.answer is None else schema_of[one.answer]}}
    description = "The answer."
    if one.events is not None:
        content["text/event-stream"] = {"schema": schema_of[one.events]}
        description += f" {_EVENTS}"
    responses = {str(one.status): _response(description, content)}
    failure = {"application/json": {"schema": schema_of[Envelope]}}
    for status, codes in sorted(_codes(path, verb, one).items()):
        phrase = HTTPStatus(status).phrase
        responses[str(status)] = _response(f"{phrase}: {', '.join(f'`{code}`' for code in codes)}.", failure)
    return responses


def _response(description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    return {"description": description, "headers": headers, "content": content}


def _codes(path: str, verb: str, one: Operation) -> dict[int, list[str]]:
    """The errors there may be, by status: the likely ones."""
    has_model = "{model" in path or (one.body is not None and "model" in one.body.__struct_fields__)
    names = [*one.codes, *_ALL]
    if _needs_key(path):
        names += _WITH_KEY
    if one.admin:
        names.append("admin_key_required")
    if verb != "get":
        names += _WITH_BODY + _WITH_TYPES
    if one.body is not None:
        names += _WITH_TYPED_BODY
    if has_model:
        names += ("model_not_found", *(_WITH_ENGINE if verb == "post" else ()))
    by_status: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        by_status.setdefault(kind_of(name).status, []).append(name)
    return by_status


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _FIELD.findall(path)
    ]


def _query_parameters(one: Operation, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    schema = _schema_of(one.query, schemas)
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": kind}
        for name, kind in schema["properties"].items()
    ]


def _schema_of(kind: type, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """A struct's schema; msgspec names those by their module too that are not the only ones of their name."""
    full_name = re.sub(r"[^\w.]", "_", f"{kind.__module__}.{kind.__qualname__}")
    schema: dict[str, Any] = schemas[full_name if full_name in schemas else kind.__name__]
    return schema
