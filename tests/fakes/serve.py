"""`hoshikage serve` with the fake engine: the real server but for the model."""

from __future__ import annotations

import sys
from pathlib import Path

from hoshikage_server.serving import Server
from hoshikage_server.settings import LiveSettings, load_settings

Server(LiveSettings(load_settings()), [sys.executable, str(Path(__file__).with_name("engine.py"))]).run()
