"""Personas as a terminal shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from hoshikage_server.cli.output import readable
from hoshikage_server.cli.words import say
from hoshikage_server.registry.catalog import Served
from hoshikage_server.registry.persona import in_language
from hoshikage_server.registry.personas import Stored
from hoshikage_server.settings import cli_language

_HEADINGS = ("id", "name", "model", "language", "origin")


def summary(found: Iterable[Stored], builtin: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """A table's headings and its rows, a persona a row."""
    rows = []
    for stored in found:
        origin = "builtin" if stored.is_builtin else "override" if stored.id in builtin else "own"
        persona = stored.persona
        rows.append(
            [
                stored.id,
                " ".join(filter(None, [_emoji(persona.avatar), in_language(persona.name, cli_language())])),
                persona.model or say("persona_any_model"),
                persona.language or "-",
                say(f"persona_is_{origin}"),
            ]
        )
    return [say(f"row_persona_{name}") for name in _HEADINGS], rows


def shown(served: Served, opening: Sequence[dict[str, Any]], greeting: str) -> list[str]:
    """How a chat with a persona begins: what the model gets, and what the person sees."""
    lines = [f"{say('row_persona_model')}: {served.entry.id}"]
    for message in opening:
        name = {"system": "system", "user": "example", "assistant": "answer"}[message["role"]]
        lines += _block(f"row_persona_{name}", message["content"])
    return lines + (_block("row_persona_greeting", greeting) if greeting else [])


def _block(key: str, text: str) -> list[str]:
    return [f"{say(key)}:", *(f"  {readable(line)}" for line in text.strip().splitlines())]


def _emoji(avatar: str | None) -> str:
    """An avatar, where it is no picture."""
    return avatar if avatar is not None and len(avatar) <= 16 and ":" not in avatar else ""
