"""GET /v1/api/version."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__
from hoshikage_server.api import body
from hoshikage_server.api.operations import operation


class VersionObject(msgspec.Struct, frozen=True):
    """Which server this is."""

    version: str = __version__
    api: str = "v1"
    object: Literal["hoshikage.version"] = "hoshikage.version"


class Version:
    """Which server this is."""

    @operation("Get version", answer=VersionObject)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells the version."""
        body.write(response, VersionObject())
