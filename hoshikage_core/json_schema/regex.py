r"""Regular expressions of JSON schemas (ECMA-262's), read into trees.

Where ECMA-262 and Python's ``re`` differ (what ``\d``, ``\w``, ``\s`` and ``.`` hold beyond ASCII, whether ``$``
matches before a last newline), the tree holds what is a match for both.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import charsets
from hoshikage_core.json_schema.charsets import Ranges

_DEPTH_MAX = 50
_N_REPEATS_MAX = 2_000
_BOUNDS = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")
_N_DIGITS_MAX = 9  # of a bound
_OPEN_BOUND = Reason("regex_open_bound", "holds {{,n}}, which means different things in different dialects")
_REPEATS_MUCH = Reason("regex_repeats_much", "repeats more than {limit} times", limit=_N_REPEATS_MAX)
_ODD_CLASS = Reason(
    "regex_odd_class", "has a class that begins with ], which means different things in different dialects"
)


class RegexError(Exception):
    """A pattern cannot be used.

    Attributes:
        reason: Why.
        is_malformed: Whether it is no regular expression at all, rather than one beyond this subset.
    """

    def __init__(self, reason: Reason, *, is_malformed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_malformed = is_malformed


@dataclass(frozen=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True)
class Anchor:
    """The begin or the end of the text."""

    where: Literal["begin", "end"]


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """``low`` to ``high`` times; None is endless."""

    part: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Look:
    """What must, or must not, be found at the begin of the text."""

    part: Node
    is_negative: bool


Node: TypeAlias = "Chars | Anchor | Sequence | Choice | Repeat"

# What both dialects take for the class, and what at least one of them does.
_DIGIT = charsets.of("0123456789")
_WORD = charsets.union([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
_SPACE = charsets.of("\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_NO_DOT = charsets.of("\n\r\u2028\u2029")
_NO_DOT_ANYWHERE = charsets.of("\n")
_LAST_LINE_END = Sequence((Chars(charsets.of("\n")), Anchor("end")))
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


@functools.cache
def _class(letter: str) -> tuple[Ranges, Ranges]:
    r"""What ``\d`` and the like surely and possibly hold."""
    lower = letter.lower()
    sure = {"d": _DIGIT, "w": _WORD, "s": _SPACE}[lower]
    possible = charsets.union([*sure, *charsets.unicode_class(lower), *(charsets.of("\ufeff") if lower == "s" else ())])
    if letter.isupper():
        return charsets.complement(possible), charsets.complement(sure)
    return sure, possible


def parse(pattern: str) -> tuple[Node, list[Look]]:
    """The tree of a pattern, and what it looks ahead for: at its begin only.

    Raises:
        RegexError: It is malformed, or uses what is no regular language or differs between dialects.
    """
    return _Parser(pattern).parse()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.depth = 0
        self.holds_possible = False  # what is a match for one dialect: for what must not match

    def parse(self) -> tuple[Node, list[Look]]:
        looks = []
        if self.text.startswith(("^(?=", "^(?!")):
            self.at = 1
            while self.text.startswith(("(?=", "(?!"), self.at):
                looks.append(self.look())
        node = self.sequence() if looks else self.choice()
        if looks and self.peek() == "|":  # it looks ahead for the first of them only
            self.unsupported(Reason("regex_group", "looks ahead, or has a group of an unknown kind"))
        if self.at < len(self.text):
            self.malformed(Reason("regex_unbalanced", "has an unbalanced parenthesis"))
        return (Sequence((Anchor("begin"), node)) if looks else node), looks

    def look(self) -> Look:
        self.holds_possible = self.text[self.at + 2] == "!"
        self.at += 3
        node = self.choice()
        if not self.take(")"):
            self.malformed(Reason("regex_parenthesis", "lacks a closing parenthesis"))
        look = Look(Sequence((Anchor("begin"), node)), self.holds_possible)
        self.holds_possible = False
        return look

    def choice(self) -> Node:
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            self.unsupported(Reason("regex_too_deep", "is nested deeper than {limit} levels", limit=_DEPTH_MAX))
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        self.depth -= 1
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.peek() not in "|)":
            parts.append(self.repeated(self.atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeated(self, node: Node) -> Node:
        bounds = self.quantifier()
        if bounds is None:
            return node
        if isinstance(node, Anchor):
            self.malformed(Reason("regex_repeats_anchor", "repeats an anchor"))
        low, high = bounds
        if high is not None and low > high:
            self.malformed(Reason("regex_bounds", "repeats from {low} to {high} times", low=low, high=high))
        if max(low, high or 0) > _N_REPEATS_MAX:
            self.unsupported(_REPEATS_MUCH)
        self.take("?")  # lazy: the same texts match
        if self.peek() in ("*", "+", "?") or (self.at < len(self.text) and self.quantifier() is not None):
            self.malformed(Reason("regex_repeats_repetition", "repeats a repetition"))
        return Repeat(node, low, high)

    def quantifier(self) -> tuple[int, int | None] | None:
        for char, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(char):
                return bounds
        if self.peek() != "{":
            return None
        found = _BOUNDS.match(self.text, self.at)
        if found is None:
            return None  # a brace that is text
        low, comma, high = found.groups()
        if not low:
            if comma:
                self.unsupported(_OPEN_BOUND)
            return None
        if max(len(low), len(high)) > _N_DIGITS_MAX:
            self.unsupported(_REPEATS_MUCH)
        self.at = found.end()
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None

    def atom(self) -> Node:
        char = self.next()
        if char == "^":
            return Anchor("begin")
        if char == "$":
            return Choice((Anchor("end"), _LAST_LINE_END)) if self.holds_possible else Anchor("end")
        if char == ".":
            return Chars(charsets.complement(_NO_DOT_ANYWHERE if self.holds_possible else _NO_DOT))
        if char == "(":
            return self.group()
        if char == "[":
            return Chars(self.bracket())
        if char == "\\":
            return Chars(self.escape(in_class=False)[self.holds_possible])
        if char in "*+?":
            self.malformed(Reason("regex_repeats_nothing", "has nothing to repeat"))
        return Chars(charsets.of(char))

    def group(self) -> Node:
        if self.take("?"):
            self.at += self.text.startswith("P<", self.at)  # Python's spelling of a named group
            if self.take("<"):
                name = self.text[self.at : max(self.text.find(">", self.at), 0)]
                if not name.isidentifier():
                    self.unsupported(Reason("regex_looks_behind", "looks behind"))
                self.at += len(name) + 1
            elif not self.take(":"):
                self.unsupported(Reason("regex_group", "looks ahead, or has a group of an unknown kind"))
        node = self.choice()
        if not self.take(")"):
            self.malformed(Reason("regex_parenthesis", "lacks a closing parenthesis"))
        return node

    def bracket(self) -> Ranges:
        is_negated = self.take("^")
        sure: list[tuple[int, int]] = []
        possible: list[tuple[int, int]] = []
        if self.peek() == "]":
            self.unsupported(_ODD_CLASS)
        while not self.take("]"):
            low, low_possible = self.class_item()
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                high, _ = self.class_item()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
                    self.malformed(Reason("regex_range_of_class", "has a range whose end is a class"))
                if low[0][0] > high[0][0]:
                    self.malformed(Reason("regex_range_backwards", "has a range that ends before it begins"))
                low = low_possible = charsets.intersection(((low[0][0], high[0][0]),), charsets.ANY)
            sure += low
            possible += low_possible
        if is_negated:
            return charsets.complement(charsets.union(sure if self.holds_possible else possible))
        return charsets.union(possible if self.holds_possible else sure)

    def class_item(self) -> tuple[Ranges, Ranges]:
        if self.at >= len(self.text):
            self.malformed(Reason("regex_bracket", "lacks a closing bracket"))
        char = self.next()
        if char == "\\":
            return self.escape(in_class=True)
        return charsets.of(char), charsets.of(char)

    def escape(self, *, in_class: bool) -> tuple[Ranges, Ranges]:
        if self.at >= len(self.text):
            self.malformed(Reason("regex_backslash", "ends with a backslash"))
        char = self.next()
        if char in "dDwWsS":
            return _class(char)
        if char in "xu":
            return (code := self.code_point(char)), code
        if char == "b" and in_class:
            return charsets.of("\b"), charsets.of("\b")
        if char in _CONTROLS and not (char == "0" and self.peek().isdigit()):
            return charsets.of(_CONTROLS[char]), charsets.of(_CONTROLS[char])
        if char.isascii() and (char.isalnum() or char == "_"):
            self.unsupported(Reason("regex_escape", "holds the escape \\{char}", char=char))
        return charsets.of(char), charsets.of(char)

    def code_point(self, kind: str) -> Ranges:
        if kind == "u" and self.take("{"):
            digits = self.text[self.at : max(self.text.find("}", self.at), 0)]
            self.at += len(digits) + 1
            code = self.hexadecimal(digits)
        else:
            code = self.hexadecimal(self.take_n(2 if kind == "x" else 4))
            if 0xD800 <= code < 0xDC00 and self.text.startswith("\\u", self.at):
                self.at += 2
                low = self.hexadecimal(self.take_n(4))
                if not 0xDC00 <= low < 0xE000:
                    self.malformed(Reason("regex_surrogate", "holds half of a surrogate pair"))
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            text = "holds half of a surrogate pair, or a number that is no character"
            self.malformed(Reason("regex_no_character", text))
        return ((code, code),)

    def hexadecimal(self, digits: str) -> int:
        if not digits or len(digits) > 8 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            self.malformed(Reason("regex_incomplete_escape", "has an incomplete escape"))
        return int(digits, 16)

    def take_n(self, n: int) -> str:
        taken = self.text[self.at : self.at + n]
        self.at += n
        return taken if len(taken) == n else ""

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def take(self, char: str) -> bool:
        is_there = self.peek() == char
        self.at += is_there
        return is_there

    def malformed(self, why: Reason) -> NoReturn:
        raise RegexError(Reason("no_regex", "is no regular expression: it {why}", why=why), is_malformed=True)

    def unsupported(self, why: Reason) -> NoReturn:
        raise RegexError(Reason("regex_unenforceable", "cannot be enforced: it {why}", why=why))
