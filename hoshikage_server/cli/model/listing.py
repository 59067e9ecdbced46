"""hoshikage model list and show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from hoshikage_server.api.build import open_peaks
from hoshikage_server.cli.columns import columns
from hoshikage_server.cli.output import print_json
from hoshikage_server.cli.words import command, json_option, option, say
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import ModelMapError
from hoshikage_server.hub.checksums import size_of
from hoshikage_server.messages import Size
from hoshikage_server.registry.entry import Entry, ModelEntry
from hoshikage_server.registry.inspection import DevicePlan, Inspection, MemoryNeed, Plan, inspect
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.peaks import Peak
from hoshikage_server.settings import cli_language, load_settings

_INSPECT_S = 60.0
_TEMPLATE_LINES = 5
_FILE_KEYS = ("path", "model")
_MEASURED = ("private_bytes", "vram_bytes", "at")


@command("list", "cli_list")
@option("--details", is_flag=True, words="cli_list_details")
@json_option(words="cli_json")
def list_models(details: bool, is_json: bool) -> None:
    """Lists the registered models."""
    models = ModelMap(load_settings().model_map)
    entries = list(models.entries().values())
    for error in models.refused:
        click.echo(f"hoshikage: {error.text(cli_language())}", err=True)
    if is_json:
        print_json([_told(entry) for entry in entries])
    elif not entries:
        click.echo(say("no_models"))
    elif details:
        for line in columns(_cells(entry) for entry in entries):
            click.echo(line)
    else:
        for entry in entries:
            click.echo(f"{entry.id}\t{entry.file}")


@command("show", "cli_show")
@click.argument("name")
@json_option(words="cli_json")
def show(name: str, is_json: bool) -> None:
    """Shows what a model is, and what memory it needs."""
    settings = load_settings()
    entry = ModelMap(settings.model_map).entries().get(name)
    if entry is None and not Path(name).is_file():
        raise ModelMapError("model_not_registered", model=name)
    file = Path(name).absolute() if entry is None else entry.file
    spec = spec_of(entry or _unregistered(file), settings)
    found = inspect(file, timeout_s=_INSPECT_S, spec=spec)
    peak = open_peaks(settings.cache_dir).of(spec)
    if is_json:
        told = {"id": None if entry is None else entry.id, "file": str(file), **msgspec.to_builtins(found)}
        told["no_plan"] = None if found.no_plan is None else found.no_plan.text(cli_language())
        measured = None if peak is None else {name: getattr(peak, name) for name in _MEASURED}
        print_json({**told, "measured": measured, "entry": None if entry is None else given_keys(entry.given)})
        return
    rows = [(say(f"show_{key}"), line) for key, lines in _rows(entry, file, found, peak) for line in lines]
    shown = columns([label if i == 0 or rows[i - 1][0] != label else "", line] for i, (label, line) in enumerate(rows))
    for line in shown:
        click.echo(line)


def given_keys(entry: Entry) -> dict[str, Any]:
    """What an entry says besides where its file is."""
    told: dict[str, Any] = msgspec.to_builtins(entry)
    return {key: value for key, value in told.items() if key not in _FILE_KEYS}


def _told(entry: ModelEntry) -> dict[str, object]:
    size_bytes = size_of(entry.file)
    told = {"id": entry.id, "file": str(entry.file), "is_there": size_bytes is not None, "size_bytes": size_bytes}
    return {**told, "entry": given_keys(entry.given)}


def _cells(entry: ModelEntry) -> list[str]:
    size_bytes = size_of(entry.file)
    size = say("file_missing") if size_bytes is None else str(Size(size_bytes))
    return [entry.id, size, str(entry.file), " ".join(_words(entry.given))]


def _words(entry: Entry) -> list[str]:
    return [f"{key}={_word(value)}" for key, value in given_keys(entry).items() if value not in ([], {})]


def _word(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else msgspec.json.encode(value).decode()


def _unregistered(file: Path) -> ModelEntry:
    """What it would be if it were registered, with no word about it."""
    return ModelEntry("", file, Entry(str(file.parent), file.name), file.parent)


def _rows(entry: ModelEntry | None, file: Path, found: Inspection, peak: Peak | None) -> list[tuple[str, list[str]]]:
    size = str(Size(found.size_bytes))
    if found.n_parts > 1:
        size = say("show_parts", size=size, n=found.n_parts)
    arch = say("show_params", arch=found.arch, n=billions(found.n_params), layers=found.n_layer)
    rows: list[tuple[str, list[str]]] = [
        ("name", [found.name] if found.name else []),
        ("file", [str(file)]),
        ("arch", [arch]),
        ("size", [size]),
        ("quantisation", [found.quantisation]),
        ("context", [say("show_tokens", n=found.n_ctx_train)]),
        ("template", _template(found.chat_template)),
        ("thinking", [say("yes")] if found.supports_thinking else []),
        ("pooling", [found.pooling] if found.pooling else []),
        ("license", [found.license] if found.license else []),
        ("memory", [_memory(need) for need in found.memory]),
        ("plan", [] if found.plan is None else _plan(found.plan)),
        ("plan", [] if found.no_plan is None else [found.no_plan.text(cli_language())]),
        ("measured", [] if peak is None else [_measured(peak)]),
        ("entry", [] if entry is None else _words(entry.given)),
    ]
    return rows


def _template(template: str | None) -> list[str]:
    if template is None:
        return [say("show_no_template")]
    lines = template.strip().splitlines()
    shown = [line if len(line) <= 100 else f"{line[:99]}…" for line in lines[:_TEMPLATE_LINES]]
    return [*shown, say("show_more_lines", n=len(lines))] if len(lines) > _TEMPLATE_LINES else shown


def _memory(need: MemoryNeed) -> str:
    sizes = f"RAM {Size(need.ram_bytes)}"
    if need.vram_bytes:
        sizes += f", VRAM {Size(need.vram_bytes)}"
    return f"{say('show_tokens', n=need.n_ctx)}: {sizes}"


def _plan(plan: Plan) -> list[str]:
    parallel = say("show_parallel", n=plan.parallel) if plan.parallel > 1 else ""
    head = say("comma").join(filter(None, [say("show_tokens", n=plan.n_ctx), parallel, f"KV {plan.kv_type}"]))
    return [head, *columns(_device_cells(device) for device in plan.devices)]


def _device_cells(device: DevicePlan) -> list[str]:
    parts = {"weights": device.weights_bytes, "kv": device.context_bytes, "compute": device.compute_bytes}
    told = [say(f"plan_{part}", size=Size(n_bytes)) for part, n_bytes in parts.items()]
    free = say("plan_free", free=Size(device.free_bytes), total=Size(device.total_bytes))
    short = say("plan_short") if device.needed_bytes > device.free_bytes else ""
    name = say("device_host") if device.name == "host" else device.name
    if device.description not in device.name:  # that of an RPC worker's is its server
        name = f"{name} {device.description}"
    return [name, *told, say("plan_total", size=Size(device.needed_bytes)), free, short]


def _measured(peak: Peak) -> str:
    sizes = f"RAM {Size(peak.private_bytes)}"
    if peak.vram_bytes:
        sizes += f", VRAM {Size(peak.vram_bytes)}"
    return say("show_measured_at", sizes=sizes, date=time.strftime("%Y-%m-%d %H:%M", time.localtime(peak.at)))


def billions(n_params: int) -> str:
    """A number of weights, as people say it."""
    return f"{n_params / 1e9:.1f}B" if n_params >= 1e9 else f"{n_params / 1e6:.1f}M"
