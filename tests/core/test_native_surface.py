"""The C boundary as a lint: nothing that Python can call may let an exception out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hoshikage_core import _ffi

CSRC = Path(__file__).resolve().parents[2] / "csrc"
DECLARATION = re.compile(r"^\w[\w ]*?[ *](hsk_\w+)\((.*?)\)( HSK_NOEXCEPT)?;", re.DOTALL | re.MULTILINE)
HEADER = (CSRC / "hoshikage.h").read_text(encoding="utf-8")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(CSRC.glob("*.cpp")))
FUNCTIONS = {match[1]: (match[2], match[3]) for match in DECLARATION.finditer(HEADER)}


def body_of(name: str) -> str:
    """The definition of a function, from its name to the closing brace in the first column."""
    match = re.search(rf"^[\w ]+[ *]{name}\([^{{]*\) noexcept \{{.*?^\}}", SOURCE, re.DOTALL | re.MULTILINE)
    assert match, f"{name} is not defined as noexcept in csrc/"
    return match[0]


def test_the_header_was_read() -> None:
    """The pattern above finds the functions: every name that is called in Python is among them."""
    assert len(FUNCTIONS) > 30
    assert {name for name in dir(_ffi.lib) if name.startswith("hsk_")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_exception_gets_out(name: str) -> None:
    """A function is noexcept, and one that can fail does all its work inside the guard and takes the error last."""
    arguments, noexcept = FUNCTIONS[name]
    assert noexcept
    body = body_of(name)
    if "hsk_error" in arguments:
        assert arguments.rstrip().endswith("hsk_error *error")
        assert re.search(r"noexcept \{\s*return hsk::guarded\(error, \[&\]", body)
    else:
        assert "guarded" not in body
