"""Which web pages may use the API. The rules, and the attack behind each, are in docs/http.md.

A browser lets any page send requests to any server, this machine's own included, and only keeps the answers from it.
What it adds to them (RFC 6454 `Origin`, `Sec-Fetch-Site`) no page can forge, and no other client sends.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

import falcon

from hoshikage_server.errors import RequestError
from hoshikage_server.settings import LiveSettings, Settings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Where nobody can buy a name: RFC 6761, 6762, 8375, and ICANN's reservation of .internal. Nor can one without a dot be.
_PRIVATE_DOMAINS = (".localhost", ".local", ".internal", ".home.arpa")
_HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(?: *, *[A-Za-z0-9-]{1,64}){0,63}")
_USUAL_HEADERS = "Authorization, Content-Type"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = "X-Request-Id, Retry-After, OpenAI-Processing-Ms, OpenAI-Version, WWW-Authenticate"
_MAX_AGE_S = "7200"  # browsers keep it no longer than that
_PREFLIGHT = "Access-Control-Request-Method"


def is_preflight(request: falcon.Request) -> bool:
    """Whether a browser asks what a page's request would be allowed to be. It cannot add a key to that."""
    return request.method == "OPTIONS" and bool(request.get_header("Origin") and request.get_header(_PREFLIGHT))


class Origins:
    """Lets pages of other origins use the API where the settings say so, and refuses what browsers can be tricked into.

    Args:
        settings: `cors_origins`; without keys, also the names by which this server may be called.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._own_name = socket.gethostname().lower()

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Runs before keys are checked.

        Raises:
            RequestError: origin_not_allowed or host_not_allowed.
        """
        settings = self._settings.now
        if not settings.keys and not self._is_local(request, settings):
            raise RequestError("host_not_allowed", host=_host_of(request)[:100])
        origin = request.get_header("Origin")
        if origin is None or request.method in _SAFE_METHODS:
            return
        if not (_is_allowed(origin, settings) or _is_own(origin, request)):
            raise RequestError("origin_not_allowed", origin=origin[:100])

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: object, is_successful: bool
    ) -> None:
        """Tells the browser; of errors too, so that the page can read them."""
        settings = self._settings.now
        if not settings.cors_origins:
            return
        response.append_header("Vary", "Origin")
        origin = request.get_header("Origin")
        if origin is None or not _is_allowed(origin, settings):
            return
        response.set_header("Access-Control-Allow-Origin", origin)
        if not is_preflight(request):
            response.set_header("Access-Control-Expose-Headers", _EXPOSED)
            return
        wanted = request.get_header("Access-Control-Request-Headers") or ""
        response.set_header("Access-Control-Allow-Methods", response.get_header("Allow") or _METHODS)
        response.set_header("Access-Control-Allow-Headers", _allowed_headers(wanted))
        response.set_header("Access-Control-Max-Age", _MAX_AGE_S)
        if request.get_header("Access-Control-Request-Private-Network") == "true":
            response.set_header("Access-Control-Allow-Private-Network", "true")
        if is_successful:
            response.status = falcon.HTTP_204

    def _is_local(self, request: falcon.Request, settings: Settings) -> bool:
        connection = request.env.get("gunicorn.socket")
        if connection is not None and connection.family == socket.AF_UNIX:  # no browser gets there
            return True
        name = _name_of(_host_of(request))
        if "." not in name or name == self._own_name or name.endswith(_PRIVATE_DOMAINS) or _is_address(name):
            return True
        return any(origin == "*" or name == _name_of(_netloc(origin)) for origin in settings.cors_origins)


def _is_allowed(origin: str, settings: Settings) -> bool:
    """Whether the settings name it."""
    origin = origin.lower()
    without_port = re.sub(r":\d+$", "", origin)
    return any(allowed in ("*", origin, f"{without_port}:*") for allowed in settings.cors_origins)


def _is_own(origin: str, request: falcon.Request) -> bool:
    """Whether it is this server's; the scheme is left out, as a proxy in front may speak TLS."""
    if request.get_header("Sec-Fetch-Site") == "same-origin":  # also where a proxy changes the Host
        return True
    return _netloc(origin) == _host_of(request)


def _allowed_headers(wanted: str) -> str:
    """Whatever the page wants to send: openai's browser client sends a dozen x-stainless-* that differ by version."""
    return wanted if _HEADER_NAMES.fullmatch(wanted) else _USUAL_HEADERS


def _host_of(request: falcon.Request) -> str:
    return (request.get_header("Host") or "").strip().lower()


def _netloc(origin: str) -> str:
    return origin.lower().partition("://")[2]


def _name_of(netloc: str) -> str:
    """A host without its port, and without the dot that may end it."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:  # brackets that hold no address
        return "?.?"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
