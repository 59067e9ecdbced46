"""The command line: `hoshikage ...`."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys

import click

from hoshikage_server import __version__
from hoshikage_server.cli.bench import bench
from hoshikage_server.cli.cache import cache
from hoshikage_server.cli.chat import chat
from hoshikage_server.cli.completion import completion
from hoshikage_server.cli.config import config
from hoshikage_server.cli.doctor import doctor
from hoshikage_server.cli.engine import load, status, unload
from hoshikage_server.cli.model import add, list_models, model, rm
from hoshikage_server.cli.persona import persona
from hoshikage_server.cli.rpc_worker import rpc_worker
from hoshikage_server.cli.run import run as ask
from hoshikage_server.cli.serve import serve
from hoshikage_server.cli.version import version
from hoshikage_server.cli.words import Option, PipeClosedError, group, say, usage_error
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.settings import cli_language

# Exit statuses; 0: done.
FAILED = 1
CALLED_WRONGLY = 2  # as Click and most others have it
NO_SERVER = 3
NOT_FOUND = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells tell it
PIPE_CLOSED = 141  # 128 + SIGPIPE

_STATUS_OF = {
    **dict.fromkeys(("server_unreachable", "server_silent", "server_unknown"), NO_SERVER),
    **dict.fromkeys(("file_not_found", "model_not_registered", "model_not_found", "nobody_to_ask"), NOT_FOUND),
    **dict.fromkeys(("persona_not_found", "model_persona_not_found"), NOT_FOUND),
    **dict.fromkeys(("persona_without_model", "persona_without_models"), NOT_FOUND),
}


@group("hoshikage", "cli_hoshikage", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, prog_name="hoshikage", message="%(prog)s %(version)s", cls=Option, words="cli_root_version"
)
def hoshikage() -> None:
    """The commands' root; what it says of itself is in the catalogue."""


for _command in (
    *(serve, chat, ask, status, load, unload, list_models, add, rm, model, persona),
    *(bench, rpc_worker, cache, doctor, config, completion, version),
):
    hoshikage.add_command(_command)


def main() -> None:
    """Runs the command line; an error is one sentence."""
    logging.getLogger("hoshikage_server").addHandler(logging.NullHandler())  # a command tells its errors itself
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:  # it was closed: Python left it out, and `__main__` took its place
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # an answer may hold what the terminal's encoding does not
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = run()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the interpreter ends
    except KeyboardInterrupt:  # it came beside the command
        status = INTERRUPTED
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    try:
        status = hoshikage.main(arguments, prog_name="hoshikage", standalone_mode=False)
        sys.stdout.flush()
    except ServerError as error:
        code = error.values.get("told_code") or error.code  # the server's, where it told one
        return _tell(error.text(cli_language()), _STATUS_OF.get(str(code), FAILED))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return CALLED_WRONGLY
    except click.UsageError as error:
        hint = say("cli_see_help", command=error.ctx.command_path if error.ctx else "hoshikage")
        return _tell(f"{usage_error(error)}\n{hint}", CALLED_WRONGLY)
    except click.ClickException as error:
        return _tell(error.format_message(), FAILED)
    except click.Abort:  # what Click makes of Ctrl-C, once it has ended the line
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo(err=True)
        return INTERRUPTED
    except (PipeClosedError, BrokenPipeError):  # nobody is left to be told
        _discard_output()
        return PIPE_CLOSED
    except ImportError as error:
        if not (error.name or "").endswith("_native"):
            raise
        return _tell(say("doctor_backend_failed", reason=error), FAILED)
    except OSError as error:  # as of a full disk that the output goes to
        _discard_output()
        reason = said("output_closed") if error.errno == errno.EBADF else told_by_system(error)
        return _tell(say("output_failed", reason=reason), FAILED)
    return status if isinstance(status, int) else 0


def _discard_output() -> None:
    """Keeps what is left in the buffer from being an error when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _tell(sentence: str, status: int) -> int:
    click.echo(f"hoshikage: {sentence}", err=True)
    return status
