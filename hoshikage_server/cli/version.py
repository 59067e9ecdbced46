"""hoshikage version."""

from __future__ import annotations

import click

from hoshikage_server import __version__
from hoshikage_server.api.build import read_build
from hoshikage_server.cli.words import command


@command("version", "cli_version")
def version() -> None:
    """Prints the version, and what was built."""
    click.echo(f"hoshikage {__version__}")
    if build := read_build():
        backend = build.backend if build.cuda_version is None else f"{build.backend} {build.cuda_version}"
        click.echo(f"llama.cpp {build.llama_cpp_commit[:12]}, {backend}")
