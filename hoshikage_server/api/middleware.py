"""What happens to every request before its resource sees it: an id, a language, a key."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import time
import uuid
from collections.abc import Sequence
from typing import Any

import falcon

from hoshikage_server import messages
from hoshikage_server.api.operations import declared
from hoshikage_server.api.origins import is_preflight
from hoshikage_server.errors import RequestError
from hoshikage_server.settings import LiveSettings

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPEN_PATHS = frozenset({"/", "/health", "/openapi.json"})
_DOUBLE_SLASHES = re.compile(r"^/+v1/+")  # left by joining a base URL and a path; the ids of models may hold others
_OPENAI_VERSION = "2020-10-01"  # OpenAI's own, since that day


class RequestContext:
    """Gives each request its id (the client's own if it is sane), its language, and what the log will say of it."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Runs first.

        Raises:
            RequestError: method_unknown.
        """
        request.context.began = time.monotonic()
        request.path = _DOUBLE_SLASHES.sub("/v1/", request.path)
        request.context.model = None  # a resource sets it to the id of a registered model
        given = request.get_header("X-Request-Id") or ""
        request.context.request_id = given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        request.context.language = messages.choose(request.get_header("Accept-Language"), self._settings.now.lang)
        response.set_header("X-Request-Id", request.context.request_id)
        if request.method not in falcon.COMBINED_METHODS:
            raise RequestError("method_unknown", method=request.method)

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: object, is_successful: bool
    ) -> None:
        """Runs before the response is written."""
        response.set_header("OpenAI-Processing-Ms", str(round((time.monotonic() - request.context.began) * 1000)))
        response.set_header("OpenAI-Version", _OPENAI_VERSION)
        # The kernel ends what is not read over TCP, not over a Unix socket.
        connection = request.env.get("gunicorn.socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            connection.settimeout(self._settings.now.write_timeout)


class ApiKeys:
    """Lets only those in who know a key; everybody where there are none.

    `request.context.is_admin` says whether a request may also do what is declared with `admin=True`: with an admin key,
    or where there are no keys at all.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._reread()
        settings.on_change(self._reread)

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Checks the Authorization header.

        Raises:
            RequestError: missing_api_key or invalid_api_key.
        """
        request.context.is_admin = not (self._digests or self._admin_digests)
        if request.context.is_admin or request.path in _OPEN_PATHS or is_preflight(request):
            return
        scheme, _, key = (request.get_header("Authorization") or "").partition(" ")
        headers = {"WWW-Authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not key.strip():
            raise RequestError("missing_api_key", headers=headers)
        given = _digest(key.strip())
        request.context.is_admin = _is_among(given, self._admin_digests)
        if not _is_among(given, self._digests) | request.context.is_admin:
            raise RequestError("invalid_api_key", headers=headers)

    def process_resource(
        self, request: falcon.Request, response: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Checks whether what is asked for needs an admin key.

        Raises:
            RequestError: admin_key_required.
        """
        responder = getattr(resource, f"on_{request.method.lower()}", None)
        if any(one.admin for one in declared(responder)) and not request.context.is_admin:
            raise RequestError("admin_key_required")

    def _reread(self) -> None:
        self._digests = [_digest(key) for key in self._settings.now.api_keys]
        self._admin_digests = [_digest(key) for key in self._settings.now.admin_keys]


def _is_among(given: bytes, known: Sequence[bytes]) -> bool:
    """Every key is compared, so that the time tells nothing."""
    return sum(hmac.compare_digest(given, key) for key in known) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
