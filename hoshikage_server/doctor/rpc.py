"""Checks of the RPC servers that models are spread over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from hoshikage_server.doctor.finding import Finding, shell
from hoshikage_server.doctor.probe import ProbeError, ask
from hoshikage_server.errors import ModelMapError
from hoshikage_server.messages import Said, Sentence, said
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import Settings, is_loopback


def servers(settings: Settings, ask: Callable[..., dict[str, Any]] = ask) -> list[Finding]:
    """Whether each of them answers as a worker that can be used; one that is in use by a model does not answer."""
    named = dict.fromkeys(settings.rpc_servers)
    with contextlib.suppress(ModelMapError):  # which another check tells
        for entry in ModelMap(settings.model_map).entries().values():
            named |= dict.fromkeys(entry.given.rpc_servers or ())
    if not named:
        return []
    try:
        told = ask("rpc", *named)
    except ProbeError as error:
        return [_unusable(server, error.reason) for server in named]
    if "error" in told:  # the module cannot be loaded, as another check tells
        return []
    return [_found(server, told[server]) for server in named]


def _found(server: str, problem: dict[str, Any] | None) -> Finding:
    if problem is None:
        return Finding("rpc", "ok", said("doctor_rpc", server=server))
    reason = msgspec.convert(problem, Said)
    if reason.key == "reason_rpc_silent":  # as it does while a model is on it
        return Finding("rpc", "warning", said("doctor_rpc_unusable", server=server, reason=reason))
    host, _, port = server.rpartition(":")
    could_start = reason.key == "reason_rpc_refused" and is_loopback(host)
    return _unusable(server, reason, shell("hoshikage", "rpc-worker", "--port", port) if could_start else None)


def _unusable(server: str, reason: Sentence | str, fix: str | None = None) -> Finding:
    return Finding("rpc", "error", said("doctor_rpc_unusable", server=server, reason=reason), fix)
