"""Commands whose help and errors are in the person's language: every word out of the catalogue, Click's own included.

Commands and options name the catalogue's key of their help, which is looked up when it is shown: a program may import
the commands before it knows the language.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from hoshikage_server import messages
from hoshikage_server.settings import cli_language

F = TypeVar("F", bound=Callable[..., Any])


def say(key: str, /, **values: object) -> str:
    """A sentence of the catalogue in the language of whoever sits at the terminal."""
    return messages.text(key, cli_language(), **values)


def warn_on_cpu(reason: str | None) -> None:
    """Tells why the CPU computes although a GPU was to, if there is something to tell."""
    if reason is not None:
        click.echo(say("on_cpu", reason=reason), err=True)


class PipeClosedError(Exception):
    """Nobody reads the output any more, as behind `| head`."""


class Option(click.Option):
    """An option whose help is the catalogue's sentence `words`."""

    def __init__(self, *args: Any, words: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._words = words

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Names and help."""
        self.help = say(self._words)
        return super().get_help_record(ctx)

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """What stands behind the help; a range is told where it is missed, or in the help's own words."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class FloatRange(click.FloatRange):
    """A range that a nan is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("", param, ctx)
        return number


class Name(click.ParamType[str]):
    """A text that is not empty."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same."""
        if not value:
            self.fail(say("cli_empty"), param, ctx)
        return str(value)


class _Worded(click.Command):
    """What commands and groups have in common."""

    words = ""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it. Click would make a failure of a pipe that is closed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise PipeClosedError from None

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence of its help, as the list of commands shows it."""
        return say(self.words).splitlines()[0]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its help."""
        self.help = say(self.words)
        super().format_help_text(ctx, formatter)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """How it is called."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix=say("cli_usage"))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its options."""
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
        if records:
            with formatter.section(say("cli_options")):
                formatter.write_dl(records)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """--help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = say("cli_help")
        return option


class Command(_Worded):
    """A command."""


class Group(_Worded, click.Group):
    """A command with commands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its options, and then its commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its commands, in the order in which they were added."""
        commands = [self.commands[name] for name in self.list_commands(ctx) if not self.commands[name].hidden]
        with formatter.section(say("cli_commands")):
            formatter.write_dl([(str(command.name), command.get_short_help_str()) for command in commands])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called for."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = guesses(name, self.list_commands(ctx))
            raise click.UsageError(say("cli_no_such_command", name=name) + close, ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, as a person meets them rather than by the alphabet."""
        return list(self.commands)


def command(name: str, words: str) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function a command.

    Args:
        name: What it is called by.
        words: The catalogue's key of its help.
    """

    def make(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command)(function)
        made.words = words
        return made

    return make


def group(name: str, words: str, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """Makes a function a command with commands; see `command`."""

    def make(function: Callable[..., Any]) -> Group:
        made = click.group(name, cls=Group, **attributes)(function)
        made.words = words
        return made

    return make


def option(*names: str, words: str, **attributes: Any) -> Callable[[F], F]:
    """Gives a command an option; `words` is the catalogue's key of its help."""
    return click.option(*names, cls=Option, words=words, **attributes)


json_option = functools.partial(option, "--json", "is_json", is_flag=True)
url_option = option("--url", type=Name(), metavar="TEXT", words="cli_url")  # of the server that is talked to


def usage_error(error: click.ClickException) -> str:
    """What is wrong with how a command was called."""
    if isinstance(error, click.NoSuchOption):
        return say("cli_no_such_option", name=error.option_name) + guesses(error.option_name, error.possibilities or ())
    if isinstance(error, click.MissingParameter):
        return say("cli_missing_parameter", name=_name(error))
    if isinstance(error, click.BadOptionUsage):
        return say("cli_bad_option", name=error.option_name)
    if isinstance(error, click.BadParameter):
        return say("cli_bad_parameter", name=_name(error), reason=_expected(error))
    return error.format_message()


def _name(error: click.BadParameter) -> str:
    param = error.param
    if param is None:
        return str(error.param_hint or "")
    return param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name


def _expected(error: click.BadParameter) -> str:
    kind = None if error.param is None else error.param.type
    if isinstance(kind, click.Choice):
        return say("cli_expected", what=", ".join(map(str, kind.choices)))
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        return say("cli_expected_range", least=kind.min, most="..." if kind.max is None else kind.max)
    if kind is click.INT or kind is click.FLOAT:
        return say("cli_expected", what=say("type_integer" if kind is click.INT else "type_decimal"))
    return error.message


def guesses(name: str, names: Iterable[str]) -> str:
    """The names that one may have been meant, as a sentence; empty where none is like it."""
    close = difflib.get_close_matches(name, list(names))
    return say("cli_did_you_mean", names=", ".join(close)) if close else ""
