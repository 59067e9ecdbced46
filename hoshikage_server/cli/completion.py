"""hoshikage completion: scripts that let a shell complete commands, options, models and personas."""

from __future__ import annotations

import click

from hoshikage_server.cli.words import command

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_HOSHIKAGE_COMPLETE"  # what Click takes from the program's name


@command("completion", "cli_completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Prints a shell's script."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, "hoshikage", _VARIABLE)
    click.echo(ShellComplete.source(made))  # Bash's own looks for a Bash to ask it for its version
