"""The WSGI application for any gunicorn command line; `hoshikage serve` does not need it."""

from hoshikage_server import logs
from hoshikage_server.app import build_deps, create_app
from hoshikage_server.settings import load_settings

_settings = load_settings()
logs.configure(_settings.log_level)
app = create_app(build_deps(_settings))
