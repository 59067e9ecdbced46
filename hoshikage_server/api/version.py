"""GET /v1/api/version."""

from __future__ import annotations

import falcon
import msgspec

from hoshikage_server import __version__

_BODY = msgspec.json.encode({"object": "hoshikage.version", "version": __version__, "api": "v1"})


class Version:
    """Which server this is."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells the version."""
        response.data = _BODY
        response.content_type = falcon.MEDIA_JSON
