"""Checks of the RPC servers that models are spread over."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

from hoshikage_server.doctor.finding import Finding, shell
from hoshikage_server.errors import ModelMapError
from hoshikage_server.messages import Sentence, said, told_by_system
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import Settings, is_loopback

_CONNECT_S = 3.0


def servers(settings: Settings) -> list[Finding]:
    """Whether each of them can be reached; one that is in use may keep others waiting, and is fine."""
    named = dict.fromkeys(settings.rpc_servers)
    with contextlib.suppress(ModelMapError):  # which another check tells
        for entry in ModelMap(settings.model_map).entries().values():
            named |= dict.fromkeys(entry.given.rpc_servers or ())
    if not named:
        return []
    with ThreadPoolExecutor(len(named)) as pool:
        return list(pool.map(_look, named))


def _look(server: str) -> Finding:
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return Finding("rpc", "ok", said("doctor_rpc", server=server))
    except OSError as error:
        fix = shell("hoshikage", "rpc-worker", "--port", port) if is_loopback(host) else None
        return Finding("rpc", "error", said("doctor_rpc_gone", server=server, reason=_reason(error, port)), fix)


def _reason(error: OSError, port: str) -> Sentence:
    if isinstance(error, socket.gaierror):
        return said("reason_rpc_unknown_host")
    if isinstance(error, ConnectionRefusedError):
        return said("reason_rpc_refused", port=port)
    return said("reason_rpc_unreached", port=port) if isinstance(error, TimeoutError) else told_by_system(error)
