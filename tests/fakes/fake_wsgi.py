"""hoshikage_server.wsgi with the fake engine, for gunicorn's own command line."""

from __future__ import annotations

import sys
from pathlib import Path

from hoshikage_server.app import serving_app
from hoshikage_server.gunicorn_conf import live_settings

app = serving_app(live_settings, [sys.executable, str(Path(__file__).with_name("engine.py"))])
