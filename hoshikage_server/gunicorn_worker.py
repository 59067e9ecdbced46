"""gunicorn's worker: how it ends, what it does about signals, and what it answers to what is no request."""

from __future__ import annotations

import contextlib
import functools
import http
import logging
import select
import signal
import socket
import ssl
import time
import uuid
from types import FrameType, TracebackType
from typing import Any

import gevent
from gevent.event import Event
from gevent.monkey import get_original
from gevent.pool import Pool
from gunicorn import util
from gunicorn.http.errors import (
    ConfigurationProblem,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from hoshikage_server import chunks, leftovers, logs
from hoshikage_server.errors import ClientGoneError, ServerError, kind_of
from hoshikage_server.listener import Listener
from hoshikage_server.messages import said
from hoshikage_server.serving import GOODBYE_S, check_addresses, shutdown_margin_s
from hoshikage_server.settings import LiveSettings

log = logging.getLogger(__name__)

# What gunicorn refuses before the application sees it; everything else of that kind is malformed_request.
_CODES = {
    "ExpectationFailed": "unsupported_expectation",
    "LimitRequestHeaders": "request_headers_too_large",
    "LimitRequestLine": "request_line_too_long",
    "UnsupportedTransferCoding": "unsupported_transfer_coding",
}
_OUR_FAULT = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)
_HEARTBEAT_S = 1.0  # also how soon it notices that its master is gone
_ENDING_TICK_S = 0.1
_poll = get_original("select", "poll")  # gevent's would switch greenlets


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves requests in greenlets.

    SIGTERM: accepts no more, lets running requests finish for `grace`, then cuts them off. SIGQUIT: without grace.
    SIGHUP: reads the settings again. SIGINT is for the master: a terminal sends it to both.
    """

    # gunicorn resets these to what they do by default before it sets its own, and so for a moment each of them kills.
    SIGNALS = tuple(set(GeventWorker.SIGNALS) - {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP})

    settings: LiveSettings  # set as soon as there is the process

    def init_process(self) -> None:
        """Called by gunicorn in the new process."""
        self._is_hurried = False
        self._ending = Event()
        self._idle: dict[gevent.Greenlet, Any] = {}  # connections between two requests
        # A signal that comes before the application is loaded counts too.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _ignore)
        super().init_process()

    def init_signals(self) -> None:
        """Called by gunicorn once gevent is ready."""
        super().init_signals()
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGHUP, self.handle_hup)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM."""
        self.alive = False
        self._ending.set()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT."""
        self._is_hurried = True
        self.handle_exit(sig, frame)

    def handle_hup(self, sig: int, frame: FrameType | None) -> None:
        """SIGHUP."""
        gevent.spawn(self._reread_settings)

    def load_wsgi(self) -> None:
        """Called by gunicorn before it serves."""
        super().load_wsgi()
        self.settings.on_change(lambda: self.log.error_log.setLevel(self.settings.now.log_level.upper()))
        if self.age > 1:  # the settings it was forked with are those of the server's start
            self._reread_settings()

    def run(self) -> None:
        """Called by gunicorn; returns when the process shall end."""
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        pool = Pool(self.worker_connections)
        listeners = []
        for listening in self.sockets:
            listening.setblocking(True)
            handle = functools.partial(self.handle, _Address(listening))
            listener = Listener(listening, handle=handle, spawn=pool, **tls)
            listener.start()
            listeners.append(listener)
        while self.alive:
            self.notify()
            self._ending.wait(_HEARTBEAT_S)
        for listener in listeners:
            listener.close()
        self._end(pool)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection."""
        greenlet = gevent.getcurrent()
        self._idle[greenlet] = client
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.pop(greenlet, None)

    def timeout_ctx(self) -> gevent.Timeout:
        """Called by gunicorn around the reading of a request's head."""
        return _HeadTimeout(self.cfg.keepalive, False)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serves one request."""
        greenlet = gevent.getcurrent()
        self._idle.pop(greenlet, None)
        _require_readable(req)
        chunks.watch(req)
        if _declared_bytes(req) > self.settings.now.max_body:  # see api/body.py
            req.force_close()
            req._expected_100_continue = False  # the client need not send it
        is_last = False
        try:
            super().handle_request(listener_name, req, sock, addr)
        except ClientGoneError:
            raise
        except StopIteration:
            is_last = True
        except OSError:  # writing failed, for whatever reason the network has
            raise ClientGoneError from None
        finally:
            sock.settimeout(None)  # see api/middleware.py
            self._idle[greenlet] = sock
        if not _can_go_on(sock, req.body, is_last=is_last or not self.alive):
            raise StopIteration  # gunicorn closes the connection

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called by gunicorn for what is no request, and for what escaped the application before its first byte."""
        if isinstance(exc, gevent.GreenletExit):  # the shutdown ends an idle connection
            return
        request_id = f"req_{uuid.uuid4().hex}"
        if isinstance(exc, (ParseException, ssl.SSLError)) and not isinstance(exc, _OUR_FAULT):
            error = ServerError(_CODES.get(type(exc).__name__, "malformed_request"))
            log.info("%s", _fields(request_id, error, exc))
        else:
            error = ServerError("internal_error", request_id=request_id)
            log.error("%s\n%s", _fields(request_id, error, exc), logs.way_of(exc))
        with contextlib.suppress(OSError):  # nobody is left to be told
            util.write_nonblock(client, refusal(error, self.settings.now.lang, request_id))
            leftovers.drop_all(client)

    def _reread_settings(self) -> None:
        self.settings.reread(lambda settings: check_addresses(self.cfg, settings))

    def _end(self, pool: Pool) -> None:
        """Waits for running requests, and then for them to say that they are cut off."""
        for greenlet, client in list(self._idle.items()):
            if not _has_unread(client):
                greenlet.kill(block=False)
        settings = self.settings.now
        grace_s = max(min(settings.grace, self.cfg.graceful_timeout - shutdown_margin_s(settings)), 0.0)
        deadline = time.monotonic() + grace_s
        pool.join(timeout=_ENDING_TICK_S)
        if len(pool) and not self._is_hurried:
            log.info(said("log_may_go_on", n=len(pool), seconds=f"{grace_s:g}"))
        while len(pool) and not self._is_hurried and time.monotonic() < deadline:
            self.notify()
            pool.join(timeout=_ENDING_TICK_S)
        if len(pool):
            log.warning(said("log_cut_off", n=len(pool)))
            pool.kill(timeout=GOODBYE_S)


class _HeadTimeout(gevent.Timeout):  # type: ignore[misc]  # gevent has no types
    """How long a head may take. What there was of one when its client hung up may be a key: gunicorn would log it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        if isinstance(error, NoMoreData):
            error.buf = None
        return super().__exit__(kind, error, trace)


class _Address:
    """What gunicorn asks a listening socket for, also once it is closed."""

    def __init__(self, listening: socket.socket) -> None:
        self._name = listening.getsockname()

    def getsockname(self) -> Any:
        return self._name


def _ignore(sig: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, it is not inherited by the engine."""


def _has_unread(client: Any) -> bool:
    if client.fileno() < 0:
        return False
    poll = _poll()
    poll.register(client.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _fields(request_id: str, error: ServerError, cause: BaseException) -> str:
    status = kind_of(error.code).status
    reason = type(cause).__name__
    return logs.fields(id=request_id, method=None, status=status, code=error.code, model=None, ms=None, reason=reason)


def _can_go_on(client: Any, body: Any, *, is_last: bool) -> bool:
    """Whether another request may follow; if not, the last answer has arrived, as far as that can be had."""
    try:
        if is_last:
            client.shutdown(socket.SHUT_WR)
        if leftovers.drop_body(body) and not (is_last and _has_unread(client)):
            return not is_last
        leftovers.drop_all(client)
    except OSError:  # nobody is left to be told
        pass
    return False


def _require_readable(req: Any) -> None:
    """Gunicorn lets other codings below "chunked" through, for the application to undo."""
    for name, value in req.headers:
        if name == "TRANSFER-ENCODING" and value.strip(" \t").lower() != "chunked":
            raise UnsupportedTransferCoding(value)


def _declared_bytes(req: Any) -> int:
    """How long a request says that its body is; gunicorn has made sure that it is a number."""
    return next((int(value) for name, value in req.headers if name == "CONTENT-LENGTH"), 0)


def refusal(error: ServerError, language: str, request_id: str) -> bytes:
    """The whole response that tells of an error and ends the connection."""
    from hoshikage_server.api import problems  # late: falcon is loaded after gevent has patched the standard library

    body = problems.envelope(error, language)
    status = http.HTTPStatus(kind_of(error.code).status)
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body
