"""hoshikage_server.wsgi with the fake engine, for gunicorn's own command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hoshikage_server.api import client
from hoshikage_server.app import serving_app
from hoshikage_server.gunicorn_conf import live_settings

app = serving_app(live_settings, [sys.executable, str(Path(__file__).with_name("engine.py"))])


def trusting_app() -> Callable[..., Any]:
    """The same, but that it does not look again and again whether a client is still there."""
    client._POLL_S = 1000.0
    return app
