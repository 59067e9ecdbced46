"""Who answers: a running server, or this process where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from hoshikage_server.cli.asking import Backend
from hoshikage_server.cli.client import Client
from hoshikage_server.cli.progress import ProgressBar
from hoshikage_server.cli.words import option, say, url_option
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def backend_options(command: F) -> F:
    """--local and --url, for a command that asks."""
    return option("--local", is_flag=True, words="cli_local")(url_option(command))


@contextmanager
def choose(
    settings: Settings, model: str | None, url: str | None, is_local: bool, persona: str | None = None
) -> Iterator[tuple[Backend, str]]:
    """Finds somebody to ask, and the name of whom to ask for.

    Args:
        settings: Where a server is looked for, and how models are loaded without one.
        model: A model, a persona, MODEL@PERSONA or a GGUF file; None: the persona's, or the first model of the list.
        url: The server; None: that of the settings, if it runs.
        is_local: Whether to ask no server.
        persona: How the model shall answer.

    Raises:
        UsageError: A server is named, and shall not be asked.
        ServerError: The server cannot be asked, or there is no such persona, or no model.
    """
    backend, models = _found(settings, model, url, is_local)
    try:
        if persona is not None:
            backend.require_persona(persona)
            model = persona if model is None else f"{model}@{persona}"
        if model is None:
            models = backend.models() if models is None else models
            if not models:
                raise ServerError("nobody_to_ask")
            model = models[0]
        yield backend, model
    finally:
        backend.close()


def prepare(backend: Backend, model: str) -> None:
    """Has a model loaded, with a bar while that takes its time.

    Raises:
        ServerError: It cannot be loaded.
    """
    with ProgressBar(say("chat_loading", model=model)) as bar:
        backend.prepare(model, bar.tell)


def _found(settings: Settings, model: str | None, url: str | None, is_local: bool) -> tuple[Backend, list[str] | None]:
    """Whom to ask, and the models of the list if they are known by now."""
    from hoshikage_server.cli.server_backend import ServerBackend

    if is_local and url is not None:
        raise click.UsageError(say("options_exclude", one="--local", other="--url"), click.get_current_context())
    if not is_local and (url is not None or not _is_file(settings, model)):
        server = ServerBackend(Client(settings, url), settings)
        try:
            return server, server.models()
        except ServerError as error:
            if url is not None or error.code != "server_unreachable":
                raise
    return _local(settings), None


def _local(settings: Settings) -> Backend:
    from hoshikage_server.cli.local_backend import LocalBackend

    return LocalBackend(settings)


def _is_file(settings: Settings, model: str | None) -> bool:
    from hoshikage_server.registry.gguf_files import is_file_name
    from hoshikage_server.registry.model_map import ModelMap

    return model is not None and is_file_name(model) and model not in ModelMap(settings.model_map).entries()
