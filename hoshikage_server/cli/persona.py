"""hoshikage persona list, show, add, rm and try; `edit` has a file of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
import msgspec

from hoshikage_server.api.persona_objects import told
from hoshikage_server.cli.answer_view import AnswerView
from hoshikage_server.cli.asking import Backend, Wishes
from hoshikage_server.cli.asking_options import max_tokens_option
from hoshikage_server.cli.backends import backend_options, choose, prepare
from hoshikage_server.cli.completing import complete_persona
from hoshikage_server.cli.output import print_json, table
from hoshikage_server.cli.persona_edit import edit
from hoshikage_server.cli.persona_view import shown, summary
from hoshikage_server.cli.words import FloatRange, command, group, json_option, option, say
from hoshikage_server.errors import PersonaError, RequestError, ServerError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.registry.gguf_files import find_served
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.persona import Persona, from_toml, in_language, refused
from hoshikage_server.registry.personas import Personas, folder_of, read_file
from hoshikage_server.settings import Settings, cli_language, load_settings

_SUFFIX = ".toml"
_LANGUAGES = click.Choice(["ja", "en", "auto"])


_persona_argument = click.argument("persona_id", metavar="ID", shell_complete=complete_persona)


@group("persona", "cli_personas")
def persona() -> None:
    """Named ways to answer."""


@command("list", "cli_persona_list")
@json_option(words="cli_persona_list_json")
def list_personas(is_json: bool) -> None:
    """Lists the personas; what is wrong with files goes to stderr."""
    catalog = _catalog(load_settings())
    errors = catalog.personas.errors
    found = list(catalog.personas.all().values())
    if is_json:
        print_json([told(stored, catalog) for stored in found])
    else:
        table(*summary(found, catalog.personas.builtin))
    for error in errors:
        click.echo(f"hoshikage: {error.text(cli_language())}", err=True)


@command("show", "cli_persona_show")
@_persona_argument
@json_option(words="cli_persona_show_json")
def show(persona_id: str, is_json: bool) -> None:
    """Shows what a persona says: its file, or the same as JSON."""
    catalog = _catalog(load_settings())
    stored = catalog.personas.find(persona_id)
    if is_json:
        print_json(told(stored, catalog))
        return
    click.echo(f"# {stored.file}")
    click.echo(read_file(stored.file).decode().strip())


@command("add", "cli_persona_add")
@click.argument("persona_id", metavar="ID")
@click.argument("file", metavar="[FILE.toml]", required=False, type=click.Path(path_type=Path))
@option("--name", words="cli_persona_add_name")
@option("--description", words="cli_persona_add_description")
@option("--system", words="cli_persona_add_system")
@option("--model", words="cli_persona_add_model")
@option("--language", type=_LANGUAGES, words="cli_persona_add_language")
@option("--greeting", words="cli_persona_add_greeting")
@option("--temperature", type=FloatRange(0, 2), words="cli_persona_add_temperature")
@option("--stop", multiple=True, words="cli_persona_add_stop")
@option("--thinking/--no-thinking", default=None, words="cli_persona_add_thinking")
@option("--avatar", words="cli_persona_add_avatar")
@option("--force", is_flag=True, words="cli_persona_add_force")
def add(persona_id: str, file: Path | None, force: bool, **given: Any) -> None:
    """Makes a persona from options, or from a file."""
    values = {name: value for name, value in given.items() if value not in (None, ())}
    if file is None and persona_id.endswith(_SUFFIX) and not values and Path(persona_id).exists():
        file = Path(persona_id)
        persona_id = file.name.removesuffix(_SUFFIX)
    catalog = _catalog(load_settings())
    personas = catalog.personas
    catalog.require_no_model(persona_id)
    if file is None and not values and Path(persona_id).suffix == _SUFFIX:
        raise ServerError("file_not_found", path=persona_id)
    if file is None:
        made = _persona_of(persona_id, values)
        catalog.require_a_model(persona_id, made)
        personas.save(persona_id, made, replace=force)
    elif values:
        raise PersonaError("persona_file_and_options")
    else:
        if not file.exists():
            raise ServerError("file_not_found", path=file)
        content = read_file(file)
        catalog.require_a_model(persona_id, from_toml(content, file))
        personas.save_bytes(persona_id, content, replace=force)
    click.echo(say("persona_added", persona=persona_id, path=personas.file_of(persona_id)))


@command("rm", "cli_persona_rm")
@_persona_argument
def rm(persona_id: str) -> None:
    """Deletes a person's own persona."""
    personas = Personas(folder_of(load_settings()))
    personas.remove(persona_id)
    key = "persona_restored" if persona_id in personas.builtin else "persona_removed"
    click.echo(say(key, persona=persona_id))


@command("try", "cli_persona_try")
@_persona_argument
@click.argument("message", metavar="[MESSAGE]", required=False)
@option("--language", type=_LANGUAGES, words="cli_persona_try_language")
@max_tokens_option
@backend_options
def try_persona(
    persona_id: str, message: str | None, language: str | None, max_tokens: int | None, url: str | None, local: bool
) -> None:
    """Shows how a chat begins, or has a message answered."""
    settings = load_settings()
    if message is not None:
        model, _, persona_id = persona_id.rpartition("@")
        with choose(settings, model or None, url, local, persona_id) as (backend, name):
            _ask(backend, message, Wishes(name, max_tokens=max_tokens, language=language))
        return
    if max_tokens is not None or url is not None or local:
        raise click.UsageError(say("persona_try_nothing_asked"), click.get_current_context())
    catalog = _catalog(settings)
    if "@" not in persona_id:
        catalog.personas.find(persona_id)
    served = find_served(catalog, persona_id)
    if served.persona is None:  # a model of the persona's name wins
        raise RequestError("persona_not_found", persona=persona_id)
    opening = served.opening([], language, cli_language())
    greeting = in_language(served.persona.greeting, served.persona.spoken(language, cli_language()))
    click.echo("\n".join(shown(served, opening, greeting)))


def _ask(backend: Backend, message: str, wishes: Wishes) -> None:
    prepare(backend, wishes.model)
    view = AnswerView()
    with closing(backend.stream([{"role": "user", "content": message}], wishes)) as pieces:
        view.show(pieces)
    view.cut(wishes.max_tokens)


for _command in (list_personas, show, add, edit, rm, try_persona):
    persona.add_command(_command)


def _catalog(settings: Settings) -> Catalog:
    return Catalog(ModelMap(settings.model_map), Personas(folder_of(settings)))


def _persona_of(persona_id: str, values: dict[str, Any]) -> Persona:
    if "name" not in values and "system" not in values:
        raise PersonaError("persona_needs_name")
    temperature = values.pop("temperature", None)
    fields = {
        "name": persona_id,
        **values,
        **({} if temperature is None else {"sampling": {"temperature": temperature}}),
    }
    try:
        body = msgspec.json.encode(fields)
    except UnicodeEncodeError:  # bytes of the command line that are no UTF-8
        raise ServerError("text_not_utf8") from None
    try:
        return msgspec.json.decode(body, type=Persona)
    except msgspec.ValidationError as error:
        raise refused(str(error), body) from None
