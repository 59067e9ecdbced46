"""Names that the shell completes."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Registered models, and files."""
    from hoshikage_server.errors import ServerError
    from hoshikage_server.registry.model_map import ModelMap
    from hoshikage_server.settings import load_settings

    try:
        entries = ModelMap(load_settings().model_map).entries()
    except ServerError:  # nothing may be printed here, and the command itself will tell it
        entries = {}
    names = [
        CompletionItem(name, help=entry.given.description)
        for name, entry in entries.items()
        if name.startswith(incomplete)
    ]
    return names or [CompletionItem(incomplete, type="file")]


def complete_persona(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Personas, with what people call them."""
    from hoshikage_server.errors import ServerError
    from hoshikage_server.registry.persona import in_language
    from hoshikage_server.registry.personas import Personas, folder_of
    from hoshikage_server.settings import cli_language, load_settings

    try:
        found = Personas(folder_of(load_settings())).all()
    except ServerError:
        found = {}
    return [
        CompletionItem(name, help=in_language(stored.persona.name, cli_language()))
        for name, stored in found.items()
        if name.startswith(incomplete)
    ]
