"""hoshikage list, add and rm."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import click

from hoshikage_server.cli.words import command, option, say
from hoshikage_server.errors import ModelMapError, ServerError
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import load_settings

_GGUF_MAGIC = b"GGUF"


@command("list", "cli_list")
def list_models() -> None:
    """Lists the registered models."""
    settings = load_settings()
    entries = ModelMap(settings.model_map).entries()
    if not entries:
        click.echo(say("no_models"))
    for entry in entries.values():
        click.echo(f"{entry.id}\t{entry.file}")


@command("add", "cli_add")
@click.argument("model_id", metavar="NAME")
@click.argument("file", type=click.Path(path_type=Path))
@option("--force", is_flag=True, words="cli_add_force")
def add(model_id: str, file: Path, force: bool) -> None:
    """Registers a GGUF model."""
    settings = load_settings()
    _check_name(model_id)
    model_map = ModelMap(settings.model_map)
    if model_id in model_map.entries() and not force:
        raise ModelMapError("model_exists", model=model_id)
    _check_is_gguf(file)
    model_map.add(model_id, file.absolute(), replace=True)
    click.echo(say("model_added", model=model_id, path=file.absolute()))


@command("rm", "cli_rm")
@click.argument("model_id", metavar="NAME")
def rm(model_id: str) -> None:
    """Takes a model off the list."""
    settings = load_settings()
    if not ModelMap(settings.model_map).remove(model_id):
        raise ModelMapError("model_not_registered", model=model_id)
    click.echo(say("model_removed", model=model_id))


def _check_name(model_id: str) -> None:
    # Cs: bytes of the command line that are no UTF-8
    if not model_id.strip() or any(unicodedata.category(char) in ("Cc", "Cs") for char in model_id):
        raise ModelMapError("invalid_model_name", name=ascii(model_id))


def _check_is_gguf(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            is_gguf = opened.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except (FileNotFoundError, NotADirectoryError):
        raise ServerError("file_not_found", path=file) from None
    except IsADirectoryError:
        raise ServerError("file_is_folder", path=file) from None
    except OSError as error:
        raise ServerError("file_unreadable", path=file, reason=error.strerror) from error
    if not is_gguf:
        raise ServerError("not_a_gguf", path=file)
