"""For `gunicorn -c python:hoshikage_server.gunicorn_conf hoshikage_server.wsgi:app`."""

from hoshikage_server.serving import gunicorn_options, tell_unknown_variables
from hoshikage_server.settings import LiveSettings, load_settings

live_settings = LiveSettings(load_settings())
tell_unknown_variables(live_settings.now.lang)
globals().update(gunicorn_options(live_settings))
