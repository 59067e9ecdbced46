"""GET /health and the page at /."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__, messages
from hoshikage_server.api import body
from hoshikage_server.api.engine_status import degraded
from hoshikage_server.api.operations import operation
from hoshikage_server.engines.supervisor import Supervisor


class HealthObject(msgspec.Struct, frozen=True):
    """The server answers; `degraded` is there where a loaded model does without something, as /v1/status tells."""

    status: Literal["ok"] = "ok"
    degraded: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class Health:
    """Whether the server answers. No model is needed for that.

    Args:
        supervisor: Who knows the models that are loaded.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @operation("Check health", answer=HealthObject)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Says yes."""
        words = {word for engine in self._supervisor.snapshot().engines for word in degraded(engine)}
        body.write(response, HealthObject(degraded=tuple(sorted(words)) or msgspec.UNSET))


class Welcome:
    """What a person sees who opens the server's address."""

    @operation("Get welcome")
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Points to the API."""
        response.text = messages.text("welcome", request.context.language, version=__version__, url=request.prefix)
        response.content_type = "text/plain; charset=utf-8"
