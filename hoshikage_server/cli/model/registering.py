"""hoshikage model add, rm, scan and schema: what gets onto the list and off it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from hoshikage_server.cli.output import print_json
from hoshikage_server.cli.words import command, json_option, option, say
from hoshikage_server.errors import ModelMapError, ServerError
from hoshikage_server.registry import scanning
from hoshikage_server.registry.inspection import inspect
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.names import check_model_id
from hoshikage_server.settings import cli_language, load_settings


@command("add", "cli_add")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("label")
@click.argument("stop", nargs=-1)
@option("--n-ctx", type=click.IntRange(1, 2**31 - 1), words="cli_add_n_ctx")
@option("--thinking/--no-thinking", default=None, words="cli_add_thinking")
@option("--force", is_flag=True, words="cli_add_force")
def add(path: Path, label: str, stop: tuple[str, ...], n_ctx: int | None, thinking: bool | None, force: bool) -> None:
    """Registers a GGUF model."""
    model_map = ModelMap(load_settings().model_map)
    _check_order(path, label)
    check_model_id(label)
    check_is_new(model_map, label, force)
    inspect(path.absolute())
    given: dict[str, Any] = {"stop": list(stop) or None, "n_ctx": n_ctx, "thinking": thinking}
    given = {key: value for key, value in given.items() if value is not None}
    model_map.add(label, path.absolute(), given, replace=force)
    click.echo(say("model_added", model=label, path=path.absolute()))


@command("rm", "cli_rm")
@click.argument("label")
def rm(label: str) -> None:
    """Takes a model off the list."""
    if not ModelMap(load_settings().model_map).remove(label):
        raise ModelMapError("model_not_registered", model=label)
    click.echo(say("model_removed", model=label))


@command("scan", "cli_scan")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@json_option(words="cli_json")
def scan(folder: Path | None, is_json: bool) -> None:
    """Registers what is new in folders."""
    settings = load_settings()
    if folder is not None and not folder.is_dir():
        raise ServerError("scan_no_folder", path=folder)
    folders = [folder.absolute()] if folder is not None else list(settings.models_dir)
    model_map = ModelMap(settings.model_map)
    result = scanning.scan(folders, model_map.entries())
    added, skipped = [], list(result.skipped)
    for found in result.found:
        try:
            inspect(found.file)
        except ServerError as error:
            skipped.append(scanning.Skipped(found.file, error.code, error))
            continue
        model_map.add(found.id, found.file)
        added.append(found)
        if not is_json:
            click.echo(say("model_added", model=found.id, path=found.file))
    if is_json:
        language = cli_language()
        print_json(
            {
                "added": [{"id": found.id, "file": found.file, "size_bytes": found.size_bytes} for found in added],
                "skipped": [
                    {"path": one.path, "code": one.code, "reason": one.reason.text(language)} for one in skipped
                ],
            }
        )
        return
    if not added:
        click.echo(say("scan_none", folders=", ".join(map(str, folders))))
    for one in skipped:
        click.echo(one.reason.text(cli_language()), err=True)


@command("schema", "cli_schema")
def schema() -> None:
    """Prints the JSON Schema of model_map.json."""
    from hoshikage_server.registry.schema import json_schema

    print_json(json_schema())


def check_is_new(model_map: ModelMap, label: str, force: bool) -> None:
    """Refuses a name that is taken, unless its model shall be replaced."""
    if label in model_map.entries() and not force:
        raise ModelMapError("model_exists", model=label)


def _check_order(path: Path, label: str) -> None:
    """Helps those who write the name first, as an earlier version had it."""
    looks_like_file = label.endswith(".gguf") or ("/" in label and Path(label).is_file())
    if not path.exists() and looks_like_file and not str(path).endswith(".gguf"):
        raise ServerError("arguments_swapped", path=shlex.quote(label), model=shlex.quote(str(path)))
