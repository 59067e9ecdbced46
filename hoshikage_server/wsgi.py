"""The WSGI application for any gunicorn command line; `hoshikage serve` does not need it."""

from hoshikage_server.app import serving_app
from hoshikage_server.gunicorn_conf import live_settings

app = serving_app(live_settings)
