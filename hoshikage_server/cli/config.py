"""hoshikage config."""

from __future__ import annotations

import click
import msgspec

from hoshikage_server.cli.words import command
from hoshikage_server.settings import load_settings


@command("config", "cli_config")
def config() -> None:
    """Prints the settings in effect, as JSON; keys are not shown."""
    click.echo(msgspec.json.format(msgspec.json.encode(load_settings().public()), indent=2).decode())
