"""hoshikage status, load and unload: what a running server does, and what it holds in memory."""

from __future__ import annotations

import contextlib
import time

import click

from hoshikage_server.api.status_objects import LoadObject, StatusObject, UnloadObject
from hoshikage_server.cli.client import Client, model_path
from hoshikage_server.cli.status_view import StatusView
from hoshikage_server.cli.words import command, json_option, option, say, url_option, warn_on_cpu
from hoshikage_server.settings import cli_language, load_settings

_ANSWER_S = 10.0  # for what the server does at once
_MARGIN_S = 30.0  # over what the server allows itself
_WATCH_S = 1.0
_CLEAR = "\x1b[H\x1b[J"


@command("status", "cli_status")
@json_option(words="cli_status_json")
@option("--watch", is_flag=True, words="cli_status_watch")
@url_option
def status(is_json: bool, watch: bool, url: str | None) -> None:
    """Shows what the server does and holds."""
    settings = load_settings()
    client = Client(settings, url)

    def show() -> str:
        if is_json:
            return client.get_raw("/v1/status", StatusObject, _ANSWER_S).decode()
        return StatusView(cli_language()).table(client.get("/v1/status", StatusObject, _ANSWER_S), client.url)

    if not watch:
        click.echo(show())
        return
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            click.echo(show() if is_json else f"{_CLEAR}{show()}")
            time.sleep(_WATCH_S)


@command("load", "cli_load")
@click.argument("model_id", metavar="NAME")
@url_option
def load(model_id: str, url: str | None) -> None:
    """Loads a model."""
    settings = load_settings()
    allowed_s = 2 * (settings.queue_timeout + settings.load_timeout + settings.stop_timeout)
    path = f"{model_path(model_id)}/load"
    told = Client(settings, url).post(path, LoadObject, allowed_s + _MARGIN_S)
    details = StatusView(cli_language()).loaded(told.engine) if told.engine else []
    _tell("model_was_loaded" if told.was_loaded else "model_loaded", model_id, details)
    if told.engine is not None:
        warn_on_cpu(told.engine.no_gpu)


@command("unload", "cli_unload")
@click.argument("model_id", metavar="NAME")
@url_option
def unload(model_id: str, url: str | None) -> None:
    """Takes a model out of memory."""
    settings = load_settings()
    path = f"{model_path(model_id)}/unload"
    told = Client(settings, url).post(path, UnloadObject, settings.stop_timeout + _MARGIN_S)
    details = StatusView(cli_language()).unloaded(told.unloaded) if told.unloaded else []
    _tell("model_unloaded" if told.was_loaded else "model_was_unloaded", model_id, details)


def _tell(key: str, model_id: str, details: list[str]) -> None:
    sentence = say(key, model=model_id)
    if details:
        told = say("comma").join(details)
        sentence = say("with_details", sentence=sentence, details=told)
    click.echo(sentence)
