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
    """Personas: one file each in the folder of the configuration."""
    from hoshikage_server.errors import ServerError
    from hoshikage_server.settings import load_settings

    try:
        folder = load_settings().config_dir / "personas"
        names = sorted(file.stem for file in folder.glob("*.toml"))
    except (ServerError, OSError):
        names = []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
