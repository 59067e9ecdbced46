"""hoshikage model verify: whether files are what their entries say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hoshikage_server.cli.columns import columns
from hoshikage_server.cli.output import print_json
from hoshikage_server.cli.progress import progress
from hoshikage_server.cli.words import command, json_option, option, say
from hoshikage_server.errors import ModelMapError
from hoshikage_server.hub.checksums import sha256_of
from hoshikage_server.messages import told_by_system
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import cli_language, load_settings

_WRONG = ("wrong", "missing")


@command("verify", "cli_verify")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@option("--write", is_flag=True, words="cli_verify_write")
@json_option(words="cli_json")
def verify(names: tuple[str, ...], write: bool, is_json: bool) -> int:
    """Compares files with the sha256 of their entries; the exit status is 1 where one differs."""
    model_map = ModelMap(load_settings().model_map)
    entries = model_map.entries()
    for name in names:
        if name not in entries:
            raise ModelMapError("model_not_registered", model=name)
    told = [_look(entries[name], model_map if write else None) for name in names or entries]
    if is_json:
        print_json(told)
    elif not told:
        click.echo(say("no_models"))
    else:
        for line in columns([row["id"], say(f"verify_{row['state']}", **row)] for row in told):
            click.echo(line)
    return 1 if any(row["state"] in _WRONG for row in told) else 0


def _look(entry: ModelEntry, write_to: ModelMap | None) -> dict[str, Any]:
    expected = entry.given.sha256
    told: dict[str, Any] = {"id": entry.id, "file": str(entry.file), "expected": expected, "sha256": None}
    if expected is None and write_to is None:
        return {**told, "state": "none"}
    try:
        told["sha256"] = sha256 = _digest(entry, sha256_of)
    except OSError as error:
        return {**told, "state": "missing", "reason": told_by_system(error).text(cli_language())}
    if expected is not None:
        return {**told, "state": "ok" if sha256 == expected.lower() else "wrong"}
    assert write_to is not None
    write_to.change(entry.id, {"sha256": sha256})
    return {**told, "state": "written"}


def _digest(entry: ModelEntry, digest: Callable[..., str]) -> str:
    with progress() as bars:
        return digest(entry.file, bars.add(entry.id, entry.file.stat().st_size))
