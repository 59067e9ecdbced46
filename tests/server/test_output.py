"""What reaches the terminal."""

from __future__ import annotations

import json

import pytest

from hoshikage_server.cli.columns import width
from hoshikage_server.cli.output import print_json, readable, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("星影　は🌟👩‍🚀です", "星影　は🌟👩‍🚀です"),
        ("\x1b[2Jgone\x07", "?[2Jgone?"),
        ("line\r\n", "line\n"),
        ("abc\rx", "abcx"),
        ("\x9b2J", "?2J"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("\udcff", "?"),
    ],
)
def test_text_cannot_move_the_cursor(text: str, shown: str) -> None:
    """Lines, tabs, Japanese and emoji stay; what a terminal obeys does not."""
    assert readable(text) == shown


def test_columns_of_a_table_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Japanese takes two columns a character; markup and escapes are text; nothing is cut off in a pipe."""
    rows = [("星影", "[bold]x[/bold]"), ("a" * 300, "\x1b[1m"), ("x\ny", 7)]
    table(("名前", "value"), rows)
    lines = capsys.readouterr().out.splitlines()
    starts = [lines[0].index("value"), lines[1].index("[bold]"), lines[2].index("?[1m"), lines[3].index("7")]
    assert {width(line[:start]) for line, start in zip(lines, starts, strict=True)} == {302}
    assert lines[1].endswith("[bold]x[/bold]")
    assert lines[3].startswith("x y")


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Characters as they are."""
    print_json({"a": ["星", None]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": ["星", None]}
    assert "星" in out
