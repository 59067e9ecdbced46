"""Checks of what people have written: the list of models, and personas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoshikage_server.doctor.finding import Finding, shell
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import ModelMapError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.registry.entry import UNUSED, Entry, ModelEntry
from hoshikage_server.registry.entry_files import is_template, placed
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.parts import all_parts
from hoshikage_server.settings import Settings


def models(settings: Settings) -> list[Finding]:
    """The list, and whether what it names is there."""
    path = settings.model_map
    models = ModelMap(path)
    try:
        entries = models.entries()
    except ModelMapError as error:
        return [Finding("models", "error", error, _editor(path))]
    refused = [Finding("models", "error", error, _editor(path)) for error in models.refused]
    if not entries and not refused:
        return [Finding("models", "warning", said("no_models"), "hoshikage model demo")]
    found = [*refused, *_twice(path), *_missing(entries), *_unreadable(entries), *_same_file(entries)]
    found += _keys(path, entries)
    return found or [Finding("models", "ok", said("doctor_models", n=len(entries), path=path))]


def expects_gpu(settings: Settings) -> bool:
    """Whether a model is to be loaded onto a GPU in any case; of a list that cannot be read, the other check tells."""
    try:
        entries = ModelMap(settings.model_map).entries()
    except ModelMapError:
        return False
    return any(spec_of(entry, settings).expects_gpu for entry in entries.values())


def personas(settings: Settings) -> list[Finding]:
    """Whether their files can be read."""
    from hoshikage_server.registry.personas import Personas, folder_of

    there = Personas(folder_of(settings))
    found = [Finding("personas", "error", error) for error in there.errors]
    return found or [Finding("personas", "ok", said("doctor_personas", n=len(there.all())))]


def _missing(entries: dict[str, ModelEntry]) -> Iterator[Finding]:
    for model_id, entry in entries.items():
        gone = next((part for part in all_parts(entry.file) if not part.is_file()), None)
        if gone is not None:
            told = said("doctor_model_gone", model=model_id, path=gone)
            yield Finding("models", "error", told, shell("hoshikage", "rm", model_id))


def _unreadable(entries: dict[str, ModelEntry]) -> Iterator[Finding]:
    """What an entry names besides the model, and cannot be opened: answers need it."""
    for model_id, entry in entries.items():
        given = entry.given
        named = [("lora", "adapter_load_failed", lora.path) for lora in given.lora]
        if given.draft_model is not None and given.speculation is None:
            named.append(("draft_model", "draft_model_failed", given.draft_model))
        if given.chat_template is not None and not is_template(given.chat_template):
            named.append(("chat_template", "template_file_failed", given.chat_template))
        for key, code, name in named:
            path = placed(name, entry.folder)
            try:
                with open(path, "rb"):
                    continue
            except OSError as error:
                told = said(code, model=model_id, path=path, reason=told_by_system(error))
            yield Finding("models", "error", told, shell("hoshikage", "model", "set", model_id, f"{key}="))


def _same_file(entries: dict[str, ModelEntry]) -> Iterator[Finding]:
    by_file: dict[Path, list[str]] = {}
    for model_id, entry in entries.items():
        by_file.setdefault(entry.file.resolve(), []).append(model_id)
    for file, names in by_file.items():
        if len(names) > 1:
            yield Finding("models", "warning", said("doctor_same_file", path=file, models=", ".join(names)))


def _keys(path: Path, entries: dict[str, ModelEntry]) -> Iterator[Finding]:
    raw: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
    for model_id in entries:
        for key in raw[model_id]:
            if key in UNUSED:
                fix = shell("hoshikage", "model", "set", model_id, f"{key}=")
                yield Finding("models", "warning", said("doctor_key_unused", model=model_id, key=key), fix)
            elif key not in Entry.__struct_fields__:
                fix = shell("hoshikage", "model", "set", model_id, f"{key}=")
                yield Finding("models", "warning", said("doctor_key_unknown", model=model_id, key=key), fix)


def _twice(path: Path) -> Iterator[Finding]:
    """Names that stand in the file more than once: the last one counts."""
    twice: set[str] = set()

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.update(name for name in names if names.count(name) > 1)
        return dict(pairs)

    json.loads(path.read_bytes(), object_pairs_hook=note)
    for name in sorted(twice):
        yield Finding("models", "warning", said("doctor_twice", name=name, path=path), _editor(path))


def _editor(path: Path) -> str:
    return f"${{EDITOR:-vi}} {shell(path)}"
