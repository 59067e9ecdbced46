"""GET /v1/api/version."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__
from hoshikage_server.api.operations import operation


class VersionObject(msgspec.Struct, frozen=True):
    """Which server this is."""

    version: str = __version__
    api: str = "v1"
    object: Literal["hoshikage.version"] = "hoshikage.version"


_BODY = msgspec.json.encode(VersionObject())


class Version:
    """Which server this is."""

    @operation("Get version", answer=VersionObject)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells the version."""
        response.data = _BODY
        response.content_type = falcon.MEDIA_JSON
