"""hoshikage config."""

from __future__ import annotations

import click
import msgspec

from hoshikage_server.cli.columns import columns
from hoshikage_server.cli.output import print_json
from hoshikage_server.cli.words import command, json_option, say
from hoshikage_server.settings import Settings, Source, load_settings, sources


@command("config", "cli_config")
@json_option(words="cli_json")
def config(is_json: bool) -> None:
    """Shows the settings in effect; keys are not shown."""
    values, found = load_settings().public(), sources()
    if is_json:
        origin = {name: source._asdict() for name, source in found.items()}
        print_json({**values, "origin": origin})
        return
    head = [say("config_setting"), say("config_value"), say("config_origin"), say("config_meaning")]
    rows = (
        [name, _shown(values[name]), _origin(found[name]), say(f"setting_{name}")]
        for name in Settings.__struct_fields__
    )
    for line in columns([head, *rows]):
        click.echo(line)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value in (None, [], ()) else msgspec.json.encode(value).decode()


def _origin(source: Source) -> str:
    return source.name or say("origin_default")
