"""hoshikage persona edit: a file in the person's editor, which is never left with what they wrote being lost."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hoshikage_server.cli.completing import complete_persona
from hoshikage_server.cli.words import command, say
from hoshikage_server.errors import PersonaError, RequestError, ServerError
from hoshikage_server.registry.persona import from_toml
from hoshikage_server.registry.personas import Personas, folder_of, read_file
from hoshikage_server.settings import cli_language, load_settings


@command("edit", "cli_persona_edit")
@click.argument("persona_id", metavar="ID", shell_complete=complete_persona)
def edit(persona_id: str) -> None:
    """Opens an editor, and says what is wrong afterwards."""
    personas = Personas(folder_of(load_settings()))
    path = personas.file_of(persona_id)
    is_copy = not path.exists()
    if is_copy:
        builtin = personas.builtin.get(persona_id)
        if builtin is None:
            raise RequestError("persona_not_found", persona=persona_id)
        personas.save_bytes(persona_id, read_file(builtin.file), replace=True)
    before = read_file(path)
    _edit_until_good(persona_id, path)
    is_same = read_file(path) == before
    if is_copy and is_same:
        personas.remove(persona_id)
    click.echo(say("persona_unchanged") if is_same else say("persona_saved", persona=persona_id, path=path))


def _edit_until_good(persona_id: str, path: Path) -> None:
    """Lets it be edited; again, if it cannot be used and somebody is there to say yes.

    Raises:
        ServerError: It cannot be used, or there is no editor.
    """
    while True:
        try:
            click.edit(filename=str(path))
        except click.ClickException as error:
            raise ServerError("editor_failed", path=path, reason=error.message) from None
        try:
            from_toml(read_file(path), path)
            return
        except PersonaError as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise ServerError("persona_left_broken", persona=persona_id, path=path, error=error) from None
            click.echo(f"hoshikage: {error.text(cli_language())}", err=True)
            if not click.confirm(say("persona_edit_again"), default=True, err=True):
                raise ServerError("persona_left_broken", persona=persona_id, path=path, error=error) from None
