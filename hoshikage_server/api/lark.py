r"""Lark's grammars as regular expressions, which a text can be bound to. Pure.

Each name is replaced by what it stands for. So a rule must not mention itself: such a language is no regular one, and
is refused. Which of several readings Lark's lexer would prefer makes no difference to what is read at all.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from hoshikage_server.messages import Said, said

_LENGTH_MAX = 50_000  # characters of the expression: names that mention others twice double it each time
_TOTAL_MAX = 10 * _LENGTH_MAX  # of all names together
_DEPTH_MAX = 80  # of names and brackets within each other
_N_KEPT = 16  # a request's are asked for several times, and agents send theirs again and again
_TOKENS = re.compile(
    r"""
    (?P<space>[ \t\r\f]+ | //[^\n]* | \#[^\n]*)
  | (?P<line>\n)
  | (?P<regex>/(?!/)(?:\\.|[^/\\\n])+/[a-z]*)
  | (?P<text>"(?:\\.|[^"\\\n])*"i?)
  | (?P<name>(?:[!?]+(?=_*[a-z]))?_*[a-zA-Z][a-zA-Z0-9_]*)
  | (?P<number>[0-9]+)
  | (?P<directive>%[a-z]+)
  | (?P<sign>\.\. | -> | [:|()\[\]+*?~.,{}-])
    """,
    re.VERBOSE,
)
# Of lark/grammars/common.lark: what each name takes, in words of our own.
_COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9a-fA-F]",
    "INT": "[0-9]+",
    "SIGNED_INT": r"[+\-]?[0-9]+",
    "DECIMAL": r"(?:[0-9]+\.[0-9]*|\.[0-9]+)",
    "FLOAT": r"(?:[0-9]+[eE][+\-]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?)",
    "NUMBER": r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+\-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?",
    "ESCAPED_STRING": r'"(?:[^"\\\n]|\\[^\n])*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[a-zA-Z]",
    "WORD": "[a-zA-Z]+",
    "CNAME": "[a-zA-Z_][a-zA-Z0-9_]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(?:\r?\n)+",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", '"': '"', "\\": "\\"}
_BRACKET = re.compile(r"\\.|\[(?:\\.|[^\]\\])*|([()])", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")


class LarkError(Exception):
    """A grammar cannot be used.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Said) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


@functools.lru_cache(maxsize=_N_KEPT)
def as_regex(grammar: str) -> str:
    """What the rule `start` takes.

    Raises:
        LarkError: The grammar is none, is no regular language, or uses what cannot be enforced.
    """
    definitions, ignored = _read(grammar)
    return _Expansion(definitions, ignored).whole()


def is_balanced(pattern: str) -> bool:
    """Whether a regular expression closes what it opens, and nothing else: what is around it stays as it is."""
    depth = 0
    for found in _BRACKET.finditer(pattern):
        if found[1]:
            depth += 1 if found[1] == "(" else -1
            if depth < 0:
                return False
    return depth == 0


def _tokens(grammar: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(grammar):
        found = _TOKENS.match(grammar, at)
        if found is None:
            raise LarkError(said("lark_unreadable", line=line))
        kind = str(found.lastgroup)
        if kind != "space":
            yield _Token(kind, found[0], line)
        line += kind == "line"
        at = found.end()


def _statements(grammar: str) -> Iterator[list[_Token]]:
    """A statement goes on in lines that begin with | or inside of brackets."""
    statement: list[_Token] = []
    depth, is_new_line = 0, True
    for token in _tokens(grammar):
        if token.kind == "line":
            is_new_line = True
            continue
        if is_new_line and statement and not depth and token.text != "|":
            yield statement
            statement = []
        is_new_line = False
        depth += (token.text in "([") - (token.text in ")]")
        statement.append(token)
    if statement:
        yield statement


def _read(grammar: str) -> tuple[dict[str, list[_Token]], list[list[_Token]]]:
    """The tokens of each name's definition, and those of what may stand between any two."""
    definitions: dict[str, list[_Token]] = {}
    ignored: list[list[_Token]] = []

    def define(name: str, tokens: list[_Token]) -> None:
        if name in definitions:
            raise LarkError(said("lark_twice", name=name))
        definitions[name] = tokens

    for statement in _statements(grammar):
        first, *rest = statement
        if first.text == "%import":
            for name, common in _imported(statement):
                define(name, [_Token("common", common, first.line)])
        elif first.text == "%ignore" and rest:
            ignored.append(rest)
        elif first.kind == "directive":
            raise LarkError(said("lark_directive", name=first.text))
        else:
            head = [token.text for token in rest[:4]]
            colon = head.index(":") if ":" in head else -1
            # `name:`, or with a priority, which decides between readings: `name.2:`, `name.-1:`
            if first.kind != "name" or colon < 0 or (colon and head[0] != "."):
                raise LarkError(said("lark_unreadable", line=first.line))
            define(first.text.lstrip("!?"), rest[colon + 1 :])
    return definitions, ignored


def _imported(statement: list[_Token]) -> Iterator[tuple[str, str]]:
    """`%import common.LF`, `%import common.LF -> NL`, `%import common (LF, WS)`: names here, and there."""
    texts = [token.text for token in statement[1:]]
    if texts[:1] != ["common"]:
        raise LarkError(said("lark_import", name="".join(texts)))
    if texts[1:2] == ["."] and len(texts) in (3, 5):
        names = [(texts[-1], texts[2])]
    else:
        names = [(text, text) for text in texts[1:] if text not in "(,)"]
    for name, common in names:
        if common not in _COMMON:
            raise LarkError(said("lark_import", name=f"common.{common}"))
        yield name, common


class _Expansion:
    """Puts definitions in the place of their names.

    Attributes:
        between: What may stand before any terminal of a rule.
        depth: Of names and brackets that are being read.
    """

    def __init__(self, definitions: dict[str, list[_Token]], ignored: list[list[_Token]]) -> None:
        self._definitions = definitions
        self._made: dict[str, str] = {}
        self._under_way: list[str] = []
        self._n_chars = 0
        self.depth = 0
        skipped = "|".join(_Reading(self, tokens, is_rule=False).whole() for tokens in ignored)
        self.between = f"(?:{skipped})*" if skipped else ""

    def whole(self) -> str:
        """What the grammar takes."""
        if "start" not in self._definitions:
            raise LarkError(said("lark_no_start"))
        return self.of("start") + self.between

    def of(self, name: str) -> str:
        """What a name takes."""
        if name not in self._made:
            if name not in self._definitions:
                raise LarkError(said("lark_undefined", name=name))
            if name in self._under_way:
                raise LarkError(said("lark_recursive", name=name))
            self.deepen()
            self._under_way.append(name)
            is_rule = not name.isupper()
            self._made[name] = _Reading(self, self._definitions[name], is_rule=is_rule).whole()
            self._under_way.pop()
            self.depth -= 1
            self._n_chars += len(self._made[name])
            if self._n_chars > _TOTAL_MAX:
                raise LarkError(said("lark_too_large"))
        return self._made[name]

    def deepen(self) -> None:
        """Another name or bracket within what is being read."""
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise LarkError(said("lark_too_large"))


class _Reading:
    """Reads one definition."""

    def __init__(self, expansion: _Expansion, tokens: list[_Token], *, is_rule: bool) -> None:
        self._expansion = expansion
        self._tokens = tokens
        self._at = 0
        self._is_rule = is_rule

    def whole(self) -> str:
        """All of it."""
        made = self._choice()
        if self._at < len(self._tokens):
            self._unreadable()
        return made

    def _choice(self) -> str:
        options = [self._sequence()]
        n_chars = len(options[0])
        while self._take("|"):
            options.append(self._sequence())
            n_chars += len(options[-1])
            if n_chars > _LENGTH_MAX:
                raise LarkError(said("lark_too_large"))
        return f"(?:{'|'.join(options)})" if len(options) > 1 else options[0]

    def _sequence(self) -> str:
        parts: list[str] = []
        n_chars = 0
        while self._at < len(self._tokens) and self._peek() not in ("|", ")", "]", "->"):
            parts.append(self._repeated(self._atom()))
            n_chars += len(parts[-1])
            if n_chars > _LENGTH_MAX:
                raise LarkError(said("lark_too_large"))
        if self._take("->"):  # a name in the tree that Lark makes
            self._next()
        return "".join(parts)

    def _repeated(self, part: str) -> str:
        for sign in ("*", "+", "?"):
            if self._take(sign):
                return f"(?:{part}){sign}"
        if self._take("~"):
            low = self._next().text
            high = self._next().text if self._take("..") else low
            if not (low.isdigit() and high.isdigit()):
                self._unreadable()
            return f"(?:{part}){{{low},{high}}}"
        return part

    def _atom(self) -> str:
        token = self._next()
        if token.text in ("(", "["):
            self._expansion.deepen()
            inner = self._choice()
            if not self._take(")" if token.text == "(" else "]"):
                self._unreadable()
            self._expansion.depth -= 1
            return f"(?:{inner})?" if token.text == "[" else inner
        if token.kind == "common":
            return _COMMON[token.text]
        if token.kind == "name" and self._peek() != "{":
            is_terminal = token.text.isupper()
            if not (is_terminal or self._is_rule):  # a terminal has no rules in it
                self._unreadable()
            made = self._expansion.of(token.text)
            if not is_terminal:
                return made
        elif token.kind == "text":
            made = self._literal(token)
        elif token.kind == "regex":
            made = self._regex(token)
        else:
            self._unreadable()
        return self._expansion.between + made if self._is_rule else made

    def _literal(self, token: _Token) -> str:
        text = _unescape(token.text.rstrip("i")[1:-1])
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._unreadable()
        if self._take(".."):
            last = self._next()
            high = _unescape(last.text[1:-1])
            if last.kind != "text" or len(text) != 1 or len(high) != 1:
                self._unreadable()
            return f"[{_escape(text)}-{_escape(high)}]"
        if token.text.endswith("i"):
            return "".join(map(_in_any_case, text))
        return _escape(text)

    def _regex(self, token: _Token) -> str:
        body, _, flags = token.text[1:].rpartition("/")
        if flags:
            raise LarkError(said("lark_flags", name=token.text))
        if not is_balanced(body):
            self._unreadable()
        return f"(?:{body})"

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _next(self) -> _Token:
        if self._at == len(self._tokens):
            self._unreadable()
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, sign: str) -> bool:
        is_there = self._at < len(self._tokens) and self._tokens[self._at][:2] == ("sign", sign)
        self._at += is_there
        return is_there

    def _unreadable(self) -> NoReturn:
        place = self._tokens[min(self._at, len(self._tokens) - 1)].line if self._tokens else 1
        raise LarkError(said("lark_unreadable", line=place))


def _unescape(text: str) -> str:
    def char(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code:
            return chr(min(int(code, 16), 0x10FFFF))
        return _ESCAPES.get(found[4], found[0])

    return _ESCAPE.sub(char, text)


def _in_any_case(char: str) -> str:
    forms = (form for form in (char, char.lower(), char.upper()) if len(form) == 1)
    return f"[{''.join(map(_escape, forms))}]"


def _escape(text: str) -> str:
    return re.sub(r"[\\^$.|?*+()\[\]{}\-]", r"\\\g<0>", text)
