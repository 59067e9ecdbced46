"""Grammars of Lark's as regular expressions."""

from __future__ import annotations

import re
import tracemalloc

import pytest

from hoshikage_core.json_schema.patterns import compile_pattern
from hoshikage_server.api.lark import LarkError, as_regex

# What Codex 0.171 binds its tool `apply_patch` to, in words of our own
PATCH = """
start: begin hunk+ end
begin: "*** Begin" LF
end: "*** End" LF?

hunk: add_hunk | delete_hunk
    | update_hunk   // a definition goes on behind a |
add_hunk: "*** Add: " name LF ("+" /(.*)/ LF -> line)+
delete_hunk: "*** Delete: " name LF
update_hunk: "*** Update: " name LF change?
name: /(.+)/
change: (context | ("+" | "-" | " ") /(.*)/ LF)+
context: ("@@" | "@@ " /(.+)/) LF
%import common.LF
"""
TAKEN = [
    (PATCH, ["*** Begin\n*** Add: a.py\n+x\n+\n*** End",
             "*** Begin\n*** Update: a\n@@ f\n-a\n+b\n*** Delete: b\n*** End\n"],
     ["", "*** Begin\n*** End", "*** Begin\n*** Add: a.py\nx\n*** End", "*** Begin\n*** Update: \n*** End"]),
    ("start: expr\nexpr: term (SP ADD SP term)*\nterm: INT\nSP: \" \"\nADD.2: \"+\"\n%import common.INT",
     ["1", "1 + 23"], ["1+2", "1 +", "+"]),
    ("?start: [\"a\"] \"b\"i~2 \"x\"..\"z\"", ["abBx", "bbz"], ["abx", "bba", "aabbx"]),
    ("start: NAME (\",\" NAME)*\nNAME: /[a-z]+/ DIGITS?\nDIGITS: \"0\"..\"9\"+\n%ignore \" \"",
     ["a1,b", " a , b2 "], ["a 1", ",", "a,,b"]),
    ("start: \"a\\n\\t\\\"\\\\\\x41.*\"", ["a\n\t\"\\A.*"], ["a\n\t\"\\A.."]),
    ("start: /a\\/b|c/ _NL\n_NL: \"\\n\"", ["a/b\n", "c\n"], ["a/b", "a\n"]),
    ("%import common (WS_INLINE, CNAME)\n%import common.SIGNED_NUMBER -> N\nstart: CNAME WS_INLINE N",
     ["a_1 \t-2.5e3"], ["1a 2", "a2"]),
    ("start: \"a\"?B \"ß1\"i\nB: \"b\"", ["abß1", "bß1"], ["a", "abS1"]),
    ("start: \"a\"~2..3 | (\"b\" | ) \"c\"", ["aa", "aaa", "c", "bc"], ["a", "aaaa", "b"]),
]  # fmt: skip


@pytest.mark.parametrize(("grammar", "good", "bad"), TAKEN)
def test_a_grammar_takes_what_lark_would(grammar: str, good: list[str], bad: list[str]) -> None:
    """Judged by Python's `re`; the engine can enforce what comes out."""
    pattern = as_regex(grammar)
    compile_pattern(f"^(?:{pattern})$")
    assert [text for text in good if not re.fullmatch(pattern, text)] == []
    assert [text for text in bad if re.fullmatch(pattern, text)] == []


DOUBLING = "start: a0\n" + "\n".join(f"a{i}: a{i + 1} a{i + 1}" for i in range(30)) + '\na30: "x"'
WIDE = f'start: {" ".join(f"a{i}" for i in range(50))}\nlong: "{"x" * 20_000}"\n'
WIDE += "\n".join(f'a{i}: long "x"' for i in range(50))
DEEP = "".join(f"a{i}: {'(' * 30} a{i + 1} {')' * 30}\n" for i in range(30)) + 'a30: "x"\nstart: a0'
LONG = "".join(f"a{i}: a{i + 1} a{i + 1}\n" for i in range(10)) + f'a10: "{"x" * 40}"\nstart: ((({"a0 " * 5000})))'
# Less than a definition may be long, and hundreds of millions of characters
REPEATED = f'long: "{"x" * 500}"\na: {"long " * 90}\nstart: {"a " * 9_000}'
REFUSED = [
    ('start: "a" start', "'start' mentions itself"),
    ('start: a\na: b | "x"\nb: "(" a ")"', "'a' mentions itself"),
    ('begin: "a"', "no rule 'start'"),
    ("start: other", "'other' is not defined"),
    ('start: "a"\nstart: "b"', "'start' is defined twice"),
    ("start: /a/i", "has flags"),
    ("%declare A\nstart: A", "%declare"),
    ("%import python.NAME\nstart: NAME", "python.NAME cannot be imported"),
    ("%import common.NOTHING\nstart: NOTHING", "common.NOTHING cannot be imported"),
    ('start: "a"\nb: "c', "line 2"),
    ('start: ("a"', "line 1"),
    ('start: "a" )', "line 1"),
    ('start: pair{"a"}\npair{x}: x x', "line 2"),
    ('start: "a"~x', "line 1"),
    ("start", "line 1"),
    ("%", "line 1"),
    (DOUBLING, "too large"),
    ("start: " + "(" * 20_000, "too large"),
    (WIDE, "too large"),
    (DEEP, "too large"),
    (LONG, "too large"),
    ('start: "a"\nblank: " "\n%ignore blank', "line 3"),
    ("start: A\nA: b\nb: /x/", "line 2"),
    ("start: /a)|(b/", "line 1"),
    ("start: /(a/ /b)/", "line 1"),
    ('start: "\\ud800"', "line 1"),
    ('start: "a"~\u0663', "line 1"),
    ("\n".join(f"a{i}: a{i + 1}" for i in range(100)) + '\na100: "x"\nstart: a0', "too large"),
]


def test_what_is_too_large_is_never_built() -> None:
    """It is refused before it takes memory."""
    tracemalloc.start()
    try:
        with pytest.raises(LarkError, match="too large"):
            as_regex(REPEATED)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("grammar", "reason"), REFUSED)
def test_what_cannot_be_enforced_is_refused(grammar: str, reason: str) -> None:
    """With its place or its name."""
    with pytest.raises(LarkError, match=re.escape(reason)):
        as_regex(grammar)
