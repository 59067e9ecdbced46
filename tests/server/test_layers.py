"""What the parts of the server may know of each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "hoshikage_server"
ABOVE = {  # by the part that must not import them
    "registry": ("api", "cli", "doctor"),
    "engines": ("api", "cli", "doctor"),
    "messages": ("api", "cli", "doctor", "engines", "registry"),
    "api": ("cli", "doctor"),
}


def imported(file: Path) -> set[str]:
    """The parts of the server that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "hoshikage_server":
            found |= {name.name for name in node.names}
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("hoshikage_server.")}
    return found


def test_an_import_is_seen(tmp_path: Path) -> None:
    """In each of the forms that it can have."""
    file = tmp_path / "x.py"
    file.write_text(
        "import hoshikage_server.a.x\nfrom hoshikage_server import b\ndef f():\n  from hoshikage_server.c.y import z"
    )
    assert imported(file) == {"a", "b", "c"}


@pytest.mark.parametrize("part", ABOVE)
def test_no_part_imports_one_above_it(part: str) -> None:
    """What two of them need is beside both."""
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / part).rglob("*.py")
        for name in imported(file).intersection(ABOVE[part])
    }
    assert not wrong
