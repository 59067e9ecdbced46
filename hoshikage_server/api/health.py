"""GET /health and the page at /."""

from __future__ import annotations

import falcon

from hoshikage_server import __version__, messages


class Health:
    """Whether the server answers. No model is needed for that."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Says yes."""
        response.data = b'{"status":"ok"}'
        response.content_type = falcon.MEDIA_JSON


class Welcome:
    """What a person sees who opens the server's address."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Points to the API."""
        response.text = messages.text("welcome", request.context.language, version=__version__, url=request.prefix)
        response.content_type = "text/plain; charset=utf-8"
