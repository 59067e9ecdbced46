"""hoshikage model pull and demo."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from hoshikage_server import demo as demo_model
from hoshikage_server.cli.model.registering import check_is_new
from hoshikage_server.cli.progress import progress
from hoshikage_server.cli.words import command, option, say
from hoshikage_server.errors import HubError, ServerError
from hoshikage_server.hub import choosing
from hoshikage_server.hub.choosing import RemoteFile
from hoshikage_server.hub.fetching import Hub, safe_path
from hoshikage_server.messages import Size
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.names import check_model_id
from hoshikage_server.settings import load_settings

_GGUF_MAGIC = b"GGUF"


@command("pull", "cli_pull")
@click.argument("reference", metavar="hf:OWNER/REPO[:QUANT]")
@option("--name", words="cli_pull_name")
@option("--mmproj", is_flag=True, words="cli_pull_mmproj")
@option("--force", is_flag=True, words="cli_pull_force")
def pull(reference: str, name: str | None, mmproj: bool, force: bool) -> None:
    """Fetches a model from a hub and registers it."""
    settings = load_settings()
    asked = choosing.parse(reference)
    label = asked.label if name is None else name
    check_model_id(label)
    model_map = ModelMap(settings.model_map)
    hub = Hub(asked.repo)
    choice = choosing.choose(choosing.choices(hub.files), asked)
    folder = settings.models_dir[0] / asked.repo
    first = folder / safe_path(choice.files[0])
    entry = model_map.entries().get(label)
    if entry is None or entry.file != first:  # the same one again is looked at, and told
        check_is_new(model_map, label, force)
    wanted = list(choice.files)
    eyes = choosing.projector(hub.files) if mmproj else None
    if mmproj and eyes is None:
        raise HubError("hub_no_mmproj", repo=asked.repo)
    if eyes is not None:
        wanted.append(eyes)
    _require_space(folder, wanted)
    size = "?" if choice.size_bytes is None else Size(choice.size_bytes)
    click.echo(say("pull_started", files=", ".join(file.name for file in wanted), size=size), err=True)
    with progress() as bars:
        fetched = [hub.fetch(file, folder / safe_path(file), bars.add(file.name, file.size_bytes)) for file in wanted]
    _check_is_gguf(first)
    given = {"sha256": fetched[0].sha256} if fetched[0].sha256 else {}
    if entry is None or entry.file != first:
        model_map.add(label, first, given, replace=force)
    if eyes is not None:
        click.echo(say("pull_mmproj_kept", path=folder / safe_path(eyes)))
    click.echo(say("model_added", model=label, path=first))


@command("demo", "cli_demo")
def demo() -> None:
    """Fetches the demo model and registers it."""
    path = demo_model.prepare(load_settings(), lambda key: click.echo(say(key), err=True))
    click.echo(say("demo_ready", model=demo_model.MODEL_ID, path=path))


def _require_space(folder: Path, files: list[RemoteFile]) -> None:
    """Refuses before the first byte what cannot end well; what is there already is left out of the sum."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    needed = sum(_missing_bytes(folder / safe_path(file), file.size_bytes or 0) for file in files)
    if needed > free:
        raise HubError("hub_no_space", path=existing, needed=Size(needed), free=Size(free))


def _missing_bytes(target: Path, size_bytes: int) -> int:
    for file in (target, target.with_name(f".{target.name}.part")):
        if file.is_file():
            return max(0, size_bytes - file.stat().st_size)
    return size_bytes


def _check_is_gguf(file: Path) -> None:
    """Its checksum was right: only what a repository calls a model may be none."""
    with file.open("rb") as opened:
        if opened.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
            raise ServerError("not_a_gguf", path=file)
