"""Talking to a running server over HTTP."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from hoshikage_server.cli.sse import EventTooLongError, SseDecoder
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.settings import Settings, cli_language

_CONNECT_S = 5.0
_ANSWER_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_UNAUTHORIZED = 401
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # to listen on, but not to connect to

T = TypeVar("T")


class _Error(msgspec.Struct):
    message: str
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


class Client:
    """A server, as the command line sees it.

    Args:
        settings: Where it listens unless `url` says otherwise, and a key.
        url: `http://HOST:PORT`, or `unix:/PATH`.

    Raises:
        ServerError: invalid_url.
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        self.url = url or _url_of(settings)
        self._headers = {"Accept-Language": cli_language(), "Accept": "application/json", "Connection": "close"}
        self._has_key = bool(settings.keys)
        if settings.keys:
            self._headers["Authorization"] = f"Bearer {settings.keys[0]}"
        if not self.url.startswith("unix:"):
            self.url = self.url if "://" in self.url else f"http://{self.url}"
            self.url = self.url.rstrip("/").removesuffix("/v1")
        self._connection()  # so that a bad URL is told before anything else

    def get(self, path: str, kind: type[T], timeout_s: float) -> T:
        """The answer to a GET.

        Raises:
            ServerError: Nobody answers there, not in time, or with an error.
        """
        return self._decode(*self._ask("GET", path, timeout_s), kind)

    def get_raw(self, path: str, kind: type[T], timeout_s: float) -> bytes:
        """The same as it came, once it has been looked at."""
        status, body = self._ask("GET", path, timeout_s)
        self._decode(status, body, kind)
        return body

    def post(self, path: str, kind: type[T], timeout_s: float) -> T:
        """The answer to a POST without a body; raises as `get` does."""
        return self._decode(*self._ask("POST", path, timeout_s), kind)

    def stream(self, path: str, body: bytes, silence_s: float) -> Generator[bytes]:
        """The data of the events that answer a POST. Closing the iterator hangs up, which cancels the answer.

        Args:
            path: Where.
            body: The JSON to send.
            silence_s: How long nothing may come; the server sends comments while it has nothing to tell.

        Raises:
            ServerError: As for `get`; also where an event tells of an error, and where the stream breaks off.
        """
        with self._answered("POST", path, silence_s, body) as response:
            if response.status != 200:
                raise self._failure(response.status, response.read(_ANSWER_BYTES))
            if response.headers.get_content_type() != "text/event-stream":
                raise ServerError("server_unknown", url=self.url, status=response.status)
            yield from self._events(response)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        decoder = SseDecoder()
        while piece := self._piece(response):
            for data in decoder.feed(piece):
                if data == b"[DONE]":
                    return
                if data.startswith(b'{"error"'):
                    raise self._failure(response.status, data)
                yield data
        raise ServerError("answer_broke_off", url=self.url)

    def _piece(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read1(_PIECE_BYTES)
        except TimeoutError:
            raise
        except (OSError, http.client.IncompleteRead):
            return b""

    def _ask(self, method: str, path: str, timeout_s: float) -> tuple[int, bytes]:
        with self._answered(method, path, timeout_s) as response:
            return response.status, response.read(_ANSWER_BYTES)

    @contextmanager
    def _answered(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a request; whatever goes wrong, also while it is read, is told."""
        connection = self._connection()
        limit_s = _CONNECT_S
        try:
            connection.connect()
            limit_s = timeout_s
            connection.sock.settimeout(limit_s)
            headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
            connection.request(method, self._prefix() + path, body, headers)
            with connection.getresponse() as response:
                yield response
        except TimeoutError:
            raise ServerError("server_silent", url=self.url, seconds=f"{limit_s:g}") from None
        except (OSError, UnicodeError) as error:  # or no name of a host
            raise self._unreachable(error) from None
        except (http.client.HTTPException, EventTooLongError):
            raise ServerError("server_unknown", url=self.url, status="?") from None
        finally:
            connection.close()

    def _unreachable(self, error: OSError | UnicodeError) -> ServerError:
        reason = told_by_system(error) if isinstance(error, OSError) else said("address_unusable")
        return ServerError("server_unreachable", url=self.url, reason=reason)

    def _decode(self, status: int, body: bytes, kind: type[T]) -> T:
        if status != 200:
            raise self._failure(status, body)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ServerError("server_unknown", url=self.url, status=status) from None

    def _failure(self, status: int, body: bytes) -> ServerError:
        """What the body of an error tells. Of keys it speaks of headers, and here they are settings."""
        try:
            told = msgspec.json.decode(body, type=_Refusal).error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ServerError("server_unknown", url=self.url, status=status)
        if status == _UNAUTHORIZED:
            return ServerError("server_refuses_key" if self._has_key else "server_needs_key", url=self.url)
        return ServerError("server_refused", reason=told.message, told_code=told.code)

    def _prefix(self) -> str:
        return "" if self.url.startswith("unix:") else urlsplit(self.url).path

    def _connection(self) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _UnixConnection(self.url)
        try:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError
            kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
            return kind(parts.hostname, parts.port, timeout=_CONNECT_S)
        except ValueError:  # also a port that is no number
            raise ServerError("invalid_url", url=self.url) from None


class _UnixConnection(http.client.HTTPConnection):
    """To a socket in the file system."""

    def __init__(self, url: str) -> None:
        super().__init__("localhost", timeout=_CONNECT_S)
        self._path = url.removeprefix("unix:").removeprefix("//")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_S)
        self.sock.connect(self._path)


def model_path(model: str) -> str:
    """Where a model is; its id may hold anything."""
    return f"/v1/models/{quote(model, safe='', errors='surrogateescape')}"


def _url_of(settings: Settings) -> str:
    host = settings.host.strip("[]")
    if host.startswith("unix:"):
        return host
    host = _ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
