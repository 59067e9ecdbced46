"""How gunicorn is run: its options from our settings, and `hoshikage serve`'s application."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shlex
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from gunicorn.app.base import BaseApplication

from hoshikage_server import messages, signals
from hoshikage_server.errors import ModelMapError, SettingsError
from hoshikage_server.messages import said
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import LiveSettings, Settings, is_loopback, unknown_variables

_KEEPALIVE_S = 5  # how long a client that asks nothing may keep its connection
_WORKER_TIMEOUT_S = 60
GOODBYE_S = 1.0  # in which requests that are cut off tell their clients
_OTHER_DESCRIPTORS = 128  # beside connections: engines, their pipes, logs
_SLACK_S = 3.0  # for being scheduled at all


def shutdown_margin_s(settings: Settings) -> float:
    """How long a worker takes to end once the grace of its requests is over: its engines have to stop too."""
    return GOODBYE_S + 2 * settings.stop_timeout + _SLACK_S


def gunicorn_options(live: LiveSettings) -> dict[str, Any]:
    """Our settings as gunicorn's."""
    settings = live.now
    host = f"[{settings.host}]" if ":" in settings.host and not settings.host.startswith("unix:") else settings.host

    ends_with_terminal = signals.lives_in_terminal()

    def on_starting(arbiter: Any) -> None:
        check_addresses(arbiter.cfg, settings)
        n_allowed = _allow_descriptors(settings.max_connections + _OTHER_DESCRIPTORS)
        if n_allowed < settings.max_connections:
            sentence = said("log_few_descriptors", wanted=settings.max_connections, allowed=n_allowed)
            arbiter.log.warning("%s", sentence.text(settings.lang))

    def when_ready(arbiter: Any) -> None:
        signals.install(arbiter, ends_with_terminal)
        for listener in arbiter.LISTENERS:
            _limit_unread_answers(listener, settings.write_timeout)
        _say(greeting(settings, arbiter.LISTENERS[0].sock))

    def post_fork(arbiter: Any, worker: Any) -> None:
        worker.settings = live

    return {
        "bind": host if host.startswith("unix:") else f"{host}:{settings.port}",
        "workers": 1,  # compute belongs to the engine; a second worker would want a model of its own
        "worker_class": "hoshikage_server.gunicorn_worker.Worker",
        "worker_connections": settings.max_connections,
        "timeout": _WORKER_TIMEOUT_S,
        "keepalive": _KEEPALIVE_S,
        "graceful_timeout": math.ceil(settings.grace + shutdown_margin_s(settings)),
        "control_socket_disable": True,  # gunicorn would open one under $HOME
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # a heartbeat a second, not on a disk
        "loglevel": settings.log_level,
        "proc_name": "hoshikage",
        "on_starting": on_starting,
        "when_ready": when_ready,
        "post_fork": post_fork,
    }


def tell_unknown_variables(language: str) -> None:
    """Says on stderr which variables are none of ours, and so most likely misspelled."""
    with contextlib.suppress(OSError):  # where nothing can be printed, it can still serve
        for name in unknown_variables():
            os.write(2, f"hoshikage: {messages.text('unknown_variable', language, name=name)}\n".encode())


def check_addresses(config: Any, settings: Settings) -> None:
    """Refuses settings that are not for where gunicorn listens; see `check_exposure`."""
    for address in config.address:
        if isinstance(address, tuple):
            check_exposure(address[0], settings)


def check_exposure(host: str, settings: Settings) -> None:
    """Refuses to listen where others can connect while there are no keys.

    Raises:
        SettingsError: So it would be.
    """
    if not settings.keys and not is_loopback(host):
        raise SettingsError("HOSHIKAGE_API_KEYS", messages.said("open_without_keys", host=host))


def greeting(settings: Settings, listener: socket.socket) -> str:
    """The URL, and a curl line that works when pasted."""
    address = listener.getsockname()
    if not isinstance(address, tuple):
        return messages.text("listening", settings.lang, url=address)
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"http://{host}:{address[1]}"
    lines = [messages.text("listening", settings.lang, url=url)]
    try:
        model = next(iter(ModelMap(settings.model_map).entries()), None)
    except ModelMapError as error:
        return "\n".join([*lines, error.text(settings.lang)])
    if model is None:
        return "\n".join([*lines, messages.text("no_models", settings.lang)])
    question = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    key = ' -H "Authorization: Bearer $KEY"' if settings.keys else ""
    body = shlex.quote(msgspec.json.encode(question).decode())
    lines.append(f"curl -N {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d {body}")
    return "\n".join(lines)


def _allow_descriptors(n_wanted: int) -> int:
    """Raises this process' limit of descriptors as far as it may; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < n_wanted:
        soft = n_wanted if hard == unlimited else min(n_wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return n_wanted if soft == unlimited else soft


def _say(text: str) -> None:
    """Prints a line unless that is impossible: on a full disk it is. print() would try again when the process ends."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{text}\n".encode(sys.stdout.encoding, "replace"))


def _limit_unread_answers(listener: Any, timeout_s: float) -> None:
    """Lets the kernel end connections whose client reads nothing. Connections inherit it from the listening socket."""
    if listener.sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Runs gunicorn with our settings instead of its command line.

    Args:
        engine_command: The engine program; tests give another.
    """

    def __init__(self, settings: LiveSettings, engine_command: Sequence[str] | None = None) -> None:
        self._settings = settings
        self._engine_command = engine_command
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in gunicorn_options(self._settings).items():
            if name in self.cfg.settings:  # older ones have no control socket to disable
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn in its worker, after gevent has patched the standard library."""
        from hoshikage_server.app import ENGINE_COMMAND, serving_app

        return serving_app(self._settings, self._engine_command or ENGINE_COMMAND)
