"""The command line: `hoshikage ...`."""

from __future__ import annotations

import logging
import sys

import click

from hoshikage_server import __version__
from hoshikage_server.cli.config import config
from hoshikage_server.cli.engine import load, status, unload
from hoshikage_server.cli.models import add, list_models, rm
from hoshikage_server.cli.serve import serve
from hoshikage_server.cli.version import version
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import language


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hoshikage", message="%(prog)s %(version)s")
def hoshikage() -> None:
    """Hoshikage: language models on your own machine, behind OpenAI's API."""


for _command in (serve, status, load, unload, list_models, add, rm, config, version):
    hoshikage.add_command(_command)


def main() -> None:
    """Runs the command line; an error is one sentence and exit status 1."""
    logging.getLogger("hoshikage_server").addHandler(logging.NullHandler())  # a command tells its errors itself
    try:
        hoshikage()
    except ServerError as error:
        click.echo(f"hoshikage: {error.text(language())}", err=True)
        sys.exit(1)
