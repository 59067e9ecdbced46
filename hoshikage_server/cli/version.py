"""hoshikage version."""

from __future__ import annotations

import click

from hoshikage_server import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"hoshikage {__version__}")
