"""No text for people stands outside the catalogue, and nothing stands in it that nobody says: read off the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import hoshikage_server
from hoshikage_server import errors, messages
from hoshikage_server.messages import CATALOGUE

ROOT = Path(hoshikage_server.__file__).resolve().parent
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(ROOT.rglob("*.py"))
    if "messages" not in path.relative_to(ROOT).parts
}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
MESSAGES = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "messages").glob("*.py")}

_ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
_SAYERS = {"say", "_say"}  # of the command line
_PRINTERS = {"echo", "print", "style", "secho", "write", "prompt", "confirm", "fail", "UsageError", "ClickException"}
_LOG = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_TEXT_FIELDS = {"help", "reason", "message", "prompt", "metavar", "short_help", "epilog", "description"}
_SENTENCE = re.compile(r"[A-Za-z]{2,}[,;:.]?\s+[A-Za-z]{2,}")  # two words: a name or a field of its own is none
_WORD = re.compile(r"[A-Za-z]{2,}")
_FORMAT = re.compile(r"%[-+ 0-9.]*[a-z]")
_WORDS_OF_AN_ERROR = re.compile(r"^str\((error|.*reason)\)")
_TELLERS = {"said", "unusable", "Crash", "_note_failure", "_unwritable", "Freed"}
_RAISING = {"engines/templates.py", "registry/files.py"}  # for others, who tell of it
# In brackets, behind a sentence that says what it means and what to do.
_QUOTED = {"demo_bad_content", "hub_unreachable"}
# Not for people: words of the protocol between parents and children, of a type, or of what another program has said.
_NOT_FOR_PEOPLE = {"api/openapi.py", "api/operations.py"}


def test_catalogues_do_not_hide_each_other() -> None:
    """A key of two files would have the words of one of them only."""
    keys = [
        key.value
        for tree in MESSAGES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Call)
    ]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == []
    assert set(keys) == set(CATALOGUE)


def test_every_key_is_used() -> None:
    """Whole, or as the end of a name that is put together (`f"state_{state}"`)."""
    names, prefixes = {"cli_reference"}, set()  # build_support says it
    for tree in (*TREES.values(), MESSAGES["__init__.py"]):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                prefixes.add(str(node.values[0].value))
    prefixes = {prefix for prefix in prefixes if re.fullmatch(r"[a-z]+_([a-z]+_)*", prefix)}
    unused = {key for key in CATALOGUE if key not in names and not key.startswith(tuple(prefixes))}
    assert sorted(unused) == []


def test_every_key_that_is_named_exists() -> None:
    """As the first argument of what says it, or as a command's words."""
    assert sorted(set(_keys_named()) - CATALOGUE.keys()) == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_sentence_stands_in_the_source(name: str) -> None:
    """Neither printed, nor logged, nor as the reason of an error."""
    assert list(_sentences(name, TREES[name])) == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_japanese_stands_in_the_source(name: str) -> None:
    """Signs are no words: an arrow or dots may stand anywhere."""
    docstrings = set(_docstrings(TREES[name]))
    found = [
        node.value
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if any(not char.isascii() and char.isalpha() for char in node.value)
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_words_of_other_programs_do_not_stand_alone(name: str) -> None:
    """What Python or the system says of an error is English, or in a language that nobody chose."""
    assert list(_foreign(name, TREES[name])) == []


def test_what_would_be_found_of_other_programs() -> None:
    """The test finds what it is for."""
    for source in (
        'ServerError("file_unreadable", reason=error.strerror)',
        'ServerError("file_unreadable", reason=str(error))',
        'said("log_x", reason=getattr(error, "strerror", None) or str(error))',
        "unusable(path, error.strerror or str(error))",
        "Crash(at, model, str(event.reason))",
    ):
        assert list(_foreign("x.py", ast.parse(source))), source
    assert not list(_foreign("x.py", ast.parse('said("log_x", reason=told_by_system(error))')))


def test_what_would_be_found() -> None:
    """The test finds what it is for."""
    found = lambda source: [line for line, _ in _sentences("x.py", ast.parse(source))]  # noqa: E731
    for source in (
        'click.echo("Two words")',
        'click.echo(f"hoshikage: no such {name}")',
        'raise ModelMapError("broken", reason="it is broken")',
        'log.info("engine %d", pid)',
        'console.print("Two words", style="bold")',
        'option("--x", help="Two words")',
    ):
        assert found(source) == [1], source
    for source in ('click.echo(f"hoshikage {version}")', 'log.info("%s\\n%s", a, b)', 'log.info(said("key"))'):
        assert found(source) == [], source


def test_a_sentence_within_a_sentence() -> None:
    """Is in the language of the whole, an error too; a program gets English."""
    error = errors.SettingsError("port", messages.said("unknown_setting"))
    assert "設定はありません" in error.text("ja")
    assert "no setting of this name" in str(error)
    sentence = messages.said("log_settings_kept", reason=error)
    assert "設定はありません" in sentence.text("ja")
    assert str(sentence) == sentence.text("en")


def _keys_named() -> Iterator[str]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = _called(node)
            says = called == "said" or (called in _SAYERS and name.startswith("cli/")) or _is_lookup(node)
            if (says or called in _ERRORS - {"SettingsError"}) and node.args:
                yield from _constant(node.args[0])
            if called in ("command", "group") and len(node.args) > 1:
                yield from _constant(node.args[1])
            for keyword in node.keywords:
                if keyword.arg == "words":
                    yield from _constant(keyword.value)


def _sentences(name: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    if name in _NOT_FOR_PEOPLE:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _called(node)
        if called in _LOG and _owner(node) in ("log", "logger", "logging"):
            yield from _literals(node.args, lambda text: _WORD.search(_FORMAT.sub("", text)))
        elif called in _PRINTERS or called in _ERRORS:
            yield from _literals(node.args, _SENTENCE.search)
        keywords = [keyword.value for keyword in node.keywords if keyword.arg in _TEXT_FIELDS]
        yield from _literals(keywords, _SENTENCE.search)


def _foreign(name: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "strerror" and name not in _RAISING:
            yield ast.unparse(node)
        if isinstance(node, ast.Constant) and node.value == "strerror":
            yield "strerror"
        if isinstance(node, ast.Call) and (_called(node) in _ERRORS or _called(node) in _TELLERS):
            for value in (*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")):
                if _WORDS_OF_AN_ERROR.search(ast.unparse(value)) and not _QUOTED.intersection(_constant(node.args[0])):
                    yield ast.unparse(node)


def _literals(nodes: Iterable[ast.AST], is_text: Callable[[str], object]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and is_text(part.value):
                yield part.lineno, part.value


def _constant(node: ast.AST) -> Iterator[str]:
    for part in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
            yield part.value


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_lookup(node: ast.Call) -> bool:
    return _called(node) == "text" and _owner(node) == "messages"


def _owner(node: ast.Call) -> str:
    owner = getattr(node.func, "value", None)
    return owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")


def _docstrings(tree: ast.AST) -> Iterator[int]:
    """Strings that are statements, on attributes too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
