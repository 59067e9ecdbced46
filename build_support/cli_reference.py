"""Writes docs/cli.md and docs/cli.ja.md out of the commands' own help: `python -m build_support.cli_reference`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from hoshikage_server import messages
from hoshikage_server.cli import hoshikage

_DOCS = Path(__file__).resolve().parent.parent / "docs"
FILES = {"en": _DOCS / "cli.md", "ja": _DOCS / "cli.ja.md"}
_WIDTH = 100


def reference(language: str) -> str:
    """The document in a language. Help asks the environment for its language, which is set meanwhile."""
    before = os.environ.get("HOSHIKAGE_LANG")
    os.environ["HOSHIKAGE_LANG"] = language
    try:
        sections = list(_sections(hoshikage, None, "hoshikage"))
    finally:
        if before is None:
            del os.environ["HOSHIKAGE_LANG"]
        else:
            os.environ["HOSHIKAGE_LANG"] = before
    head = messages.text("cli_reference", language)
    return "\n\n".join([head, *sections]) + "\n"


def _sections(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    settings = {"terminal_width": _WIDTH, "max_content_width": _WIDTH, **command.context_settings}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _sections(command.commands[below], context, below)


def main() -> None:
    """Entry point."""
    for language, file in FILES.items():
        file.write_text(reference(language), encoding="utf-8")


if __name__ == "__main__":
    main()
