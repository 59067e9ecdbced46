"""The command line: `hoshikage ...`."""

from __future__ import annotations

import logging
import sys

import click

from hoshikage_server import __version__
from hoshikage_server.cli.config import config
from hoshikage_server.cli.doctor import doctor
from hoshikage_server.cli.engine import load, status, unload
from hoshikage_server.cli.model import add, list_models, model, rm
from hoshikage_server.cli.serve import serve
from hoshikage_server.cli.version import version
from hoshikage_server.cli.words import Option, group, say, usage_error
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import cli_language

# Exit statuses; 0: done.
FAILED = 1
CALLED_WRONGLY = 2  # as Click and most others have it
NO_SERVER = 3
NOT_FOUND = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells tell it

_STATUS_OF = {
    **dict.fromkeys(("server_unreachable", "server_silent", "server_unknown"), NO_SERVER),
    "model_not_registered": NOT_FOUND,
}


@group("hoshikage", "cli_hoshikage", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, prog_name="hoshikage", message="%(prog)s %(version)s", cls=Option, words="cli_root_version"
)
def hoshikage() -> None:
    """The commands' root; what it says of itself is in the catalogue."""


for _command in (serve, status, load, unload, list_models, add, rm, model, doctor, config, version):
    hoshikage.add_command(_command)


def main() -> None:
    """Runs the command line; an error is one sentence."""
    logging.getLogger("hoshikage_server").addHandler(logging.NullHandler())  # a command tells its errors itself
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    try:
        status = hoshikage.main(arguments, prog_name="hoshikage", standalone_mode=False)
    except ServerError as error:
        return _tell(error.text(cli_language()), _STATUS_OF.get(error.code, FAILED))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return CALLED_WRONGLY
    except click.UsageError as error:
        hint = say("cli_see_help", command=error.ctx.command_path if error.ctx else "hoshikage")
        return _tell(f"{usage_error(error)}\n{hint}", CALLED_WRONGLY)
    except click.ClickException as error:
        return _tell(error.format_message(), FAILED)
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _tell(sentence: str, status: int) -> int:
    click.echo(f"hoshikage: {sentence}", err=True)
    return status
