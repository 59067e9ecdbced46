"""hoshikage status, load and unload: what a running server does, and what it holds in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import click

from hoshikage_server import messages
from hoshikage_server.api.status_objects import LoadObject, StatusObject, UnloadObject
from hoshikage_server.cli.client import Client, model_path
from hoshikage_server.cli.status_view import StatusView
from hoshikage_server.settings import Settings, load_settings

_ANSWER_S = 10.0  # for what the server does at once
_MARGIN_S = 30.0  # over what the server allows itself
_WATCH_S = 1.0
_CLEAR = "\x1b[H\x1b[J"

_url: Callable[[Any], Any] = click.option(
    "--url", help="The server: http://HOST:PORT or unix:/PATH (from HOSHIKAGE_HOST and HOSHIKAGE_PORT)."
)


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print what the server told, as docs/status.md describes it.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@_url
def status(is_json: bool, watch: bool, url: str | None) -> None:
    """Show what the server does and holds. It wakes nothing."""
    settings = load_settings()
    client = Client(settings, url)

    def show() -> str:
        if is_json:
            return client.get_raw("/v1/status", StatusObject, _ANSWER_S).decode()
        return StatusView(settings.lang).table(client.get("/v1/status", StatusObject, _ANSWER_S), client.url)

    if not watch:
        click.echo(show())
        return
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            click.echo(show() if is_json else f"{_CLEAR}{show()}")
            time.sleep(_WATCH_S)


@click.command()
@click.argument("model_id", metavar="NAME")
@_url
def load(model_id: str, url: str | None) -> None:
    """Load the model NAME, so that its next answer begins at once."""
    settings = load_settings()
    allowed_s = 2 * (settings.queue_timeout + settings.load_timeout + settings.stop_timeout)
    path = f"{model_path(model_id)}/load"
    told = Client(settings, url).post(path, LoadObject, allowed_s + _MARGIN_S)
    details = StatusView(settings.lang).loaded(told.engine) if told.engine else []
    _tell("model_was_loaded" if told.was_loaded else "model_loaded", model_id, details, settings)


@click.command()
@click.argument("model_id", metavar="NAME")
@_url
def unload(model_id: str, url: str | None) -> None:
    """Take the model NAME out of memory; the next question loads it again."""
    settings = load_settings()
    path = f"{model_path(model_id)}/unload"
    told = Client(settings, url).post(path, UnloadObject, settings.stop_timeout + _MARGIN_S)
    details = StatusView(settings.lang).unloaded(told.unloaded) if told.unloaded else []
    _tell("model_unloaded" if told.was_loaded else "model_was_unloaded", model_id, details, settings)


def _tell(key: str, model_id: str, details: list[str], settings: Settings) -> None:
    sentence = messages.text(key, settings.lang, model=model_id)
    if details:
        told = messages.text("comma", settings.lang).join(details)
        sentence = messages.text("with_details", settings.lang, sentence=sentence, details=told)
    click.echo(sentence)
