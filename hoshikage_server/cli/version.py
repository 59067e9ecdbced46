"""hoshikage version."""

from __future__ import annotations

import click

from hoshikage_server import __version__
from hoshikage_server.cli.words import command


@command("version", "cli_version")
def version() -> None:
    """Prints the version."""
    click.echo(f"hoshikage {__version__}")
