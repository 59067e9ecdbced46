"""GET /health and the page at /."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__, messages
from hoshikage_server.api.operations import operation


class HealthObject(msgspec.Struct, frozen=True):
    """The server answers."""

    status: Literal["ok"] = "ok"


_HEALTHY = msgspec.json.encode(HealthObject())


class Health:
    """Whether the server answers. No model is needed for that."""

    @operation("Check health", answer=HealthObject)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Says yes."""
        response.data = _HEALTHY
        response.content_type = falcon.MEDIA_JSON


class Welcome:
    """What a person sees who opens the server's address."""

    @operation("Get welcome")
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Points to the API."""
        response.text = messages.text("welcome", request.context.language, version=__version__, url=request.prefix)
        response.content_type = "text/plain; charset=utf-8"
