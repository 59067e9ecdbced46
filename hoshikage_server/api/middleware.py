"""What happens to every request before its resource sees it: an id, a language, a key."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import time
import uuid

import falcon

from hoshikage_server import messages
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
        """Runs first."""
        request.context.began = time.monotonic()
        request.path = _DOUBLE_SLASHES.sub("/v1/", request.path)
        request.context.model = None  # a resource sets it to the id of a registered model
        given = request.get_header("X-Request-Id") or ""
        request.context.request_id = given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        request.context.language = messages.choose(request.get_header("Accept-Language"), self._settings.now.lang)
        response.set_header("X-Request-Id", request.context.request_id)

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
    """Lets only those in who know a key; everybody where there are none."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._digests = [_digest(key) for key in settings.now.api_keys]
        settings.on_change(self._reread)

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Checks the Authorization header.

        Raises:
            RequestError: missing_api_key or invalid_api_key.
        """
        if not self._digests or request.path in _OPEN_PATHS or is_preflight(request):
            return
        scheme, _, key = (request.get_header("Authorization") or "").partition(" ")
        headers = {"WWW-Authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not key.strip():
            raise RequestError("missing_api_key", headers=headers)
        given = _digest(key.strip())
        # Every key is compared, so that the time tells nothing.
        if not sum(hmac.compare_digest(given, known) for known in self._digests):
            raise RequestError("invalid_api_key", headers=headers)

    def _reread(self) -> None:
        self._digests = [_digest(key) for key in self._settings.now.api_keys]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
