"""Every reason of hoshikage_core can be said in both languages, on its whole way to a reader."""

from __future__ import annotations

import ast
import errno
import os
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import hoshikage_core
import hoshikage_server
from hoshikage_core import GrammarError, InvalidArgumentError, JsonSchemaError, ModelLoadError, SamplingParams, errors
from hoshikage_core.files import why_no_file
from hoshikage_core.json_schema import enforceable
from hoshikage_server.engines import framing, wire
from hoshikage_server.engines.failures import failed, failed_load
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import CATALOGUE, told_by_system

CORE = Path(hoshikage_core.__file__).resolve().parent
ENGINES = Path(hoshikage_server.__file__).resolve().parent / "engines"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (*CORE.rglob("*.py"), *ENGINES.glob("*.py"))}
_WITH_REASON = {"InvalidArgumentError", "ModelLoadError", "AdapterLoadError", "JsonSchemaError", "RegexError"}
_WITH_REASON |= {
    "NumberRangeError",
    "DraftModelError",
    "TemplateLoadError",
    "TemplateFileError",
    "malformed",
    "unsupported",
}
MET = "ENOENT EACCES EPERM ENOSPC EROFS EISDIR ENOTDIR EEXIST EADDRINUSE EADDRNOTAVAIL EMFILE ENOMEM ETIMEDOUT"
MET += " ECONNREFUSED EIO ELOOP ENAMETOOLONG"


def reasons() -> Iterator[tuple[str, set[str]]]:
    """The name of each reason, and what it speaks of."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason":
                key = node.args[0]
                assert isinstance(key, ast.Constant), ast.unparse(node)
                yield str(key.value), {str(keyword.arg) for keyword in node.keywords}


def test_each_reason_has_its_sentence() -> None:
    """It speaks of nothing that the reason does not tell, in either language."""
    found = dict(reasons())
    assert len(found) > 90
    for key, values in found.items():
        if key == "os_error":  # by its number
            continue
        message = CATALOGUE[f"reason_{key}"]
        for template in message:
            assert {name for _, name, _, _ in string.Formatter().parse(template) if name} <= values, key
    known = {f"reason_{key}" for key in found.keys() - {"os_error"}}
    known |= {f"reason_load_{end}" for end in ("argument", "unsupported", "broke", "unexpected")}
    assert {key for key in CATALOGUE if key.startswith("reason_")} == known


def test_reasons_of_one_name_are_one() -> None:
    """Where it is said in several places, the values are the same."""
    values: dict[str, set[str]] = {}
    for key, names in reasons():
        assert values.setdefault(key, names) == names, key


@pytest.mark.parametrize("path", sorted(TREES), ids=lambda path: path.name)
def test_no_error_has_a_reason_without_a_name(path: Path) -> None:
    """The text of an error that a client may read stands in a Reason, and nowhere else."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and _called(node) in _WITH_REASON:
            for argument in node.args:
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                texts = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
                assert not any(" " in text for text in texts), ast.unparse(node)


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", "") or getattr(node.func, "attr", ""))


def _told(error: Exception, language: str) -> str:
    """What a client reads of an error of the engine's."""
    frame = failed(1, error)
    [read] = wire.frames_from_engine().feed(framing.encode(frame))
    assert isinstance(read, wire.Failed)
    return EngineError.reported(read.code, read.message, {"model": "m", "param": "p", **read.fields}).text(language)


@pytest.mark.parametrize(
    ("schema", "ja", "en"),
    [
        ({"type": "text"}, "型の名前", "must be a type's name"),
        ({"minLength": -1}, "0 以上の整数", "not below 0"),
        (
            {"type": "string", "pattern": "("},
            "'(': 正規表現として読めません。閉じかっこ ) がありません",
            "it lacks a closing",
        ),
        (
            {"type": "string", "pattern": "(?=a)"},
            "守らせることができません。先読み",
            "cannot be enforced: it looks ahead",
        ),
        ({"$ref": "#/$defs/a"}, "参照先 '#/$defs/a' がありません", "there is no '#/$defs/a'"),
        (
            {"type": "object", "not": {"type": "null"}},
            "の 'not': 守らせることができません",
            "'not' at # cannot be enforced",
        ),
        ({"type": "number", "multipleOf": 0.777}, "300 までの数", "only up to 300"),
    ],
)
def test_what_is_wrong_with_a_schema(schema: Mapping[str, Any], ja: str, en: str) -> None:
    """In the reader's language from the keyword to the last word."""
    with pytest.raises(JsonSchemaError) as caught:
        enforceable(schema)
    assert ja in _told(caught.value, "ja")
    assert en in _told(caught.value, "en")


def test_a_value_that_cannot_be(tmp_path: Path) -> None:
    """The field is named in front of the reason."""
    with pytest.raises(InvalidArgumentError) as caught:
        SamplingParams(temperature=101)
    assert "'temperature' が使えません: 0 から 100 の範囲にしてください（101 でした）" in _told(caught.value, "ja")
    assert "'temperature' must be from 0 to 100, not 101." in _told(caught.value, "en")
    assert str(caught.value) == "temperature: must be from 0 to 100, not 101"


def test_words_of_llama_cpp_are_quoted() -> None:
    """What they mean, and what to do, is said around them."""
    words = "missing tensor 'x'"
    refused = ModelLoadError("/m.gguf", errors.Reason("model_refused", "{words}", words=words))
    assert "ダウンロードし直すか" in _told(refused, "ja")
    assert f"（llama.cpp: {words}）" in _told(refused, "ja")
    assert "GBNF の書き方を確かめてください" in _told(GrammarError(words), "ja")
    for error in (errors.NativeError(1, words), errors.UnsupportedError(words), RuntimeError(words)):
        frame = failed_load(error)
        told = EngineError.reported(frame.code, frame.message, {"model": "m", **frame.fields})
        assert frame.code == "model_load_failed"
        assert "お使いください" in told.text("ja") or "確かめてください" in told.text("ja")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The number of the system's error crosses, not only its words."""
    reason = why_no_file(str(tmp_path / "none.gguf"))
    assert reason is not None
    assert "ファイルまたはフォルダがありません" in _told(ModelLoadError("none.gguf", reason), "ja")


@pytest.mark.parametrize("name", MET.split())
def test_what_the_system_says(name: str) -> None:
    """In both languages for the errors that people meet."""
    number = getattr(errno, name)
    told = told_by_system(OSError(number, os.strerror(number)))
    assert not told.text("ja").isascii()
    assert told.text("en").isascii()


def test_what_the_system_says_otherwise() -> None:
    """Its own words stand where we have none, as of a name that no server knows."""
    assert told_by_system(OSError(errno.EXDEV, "Invalid cross-device link")).text("ja") == "Invalid cross-device link"
    assert told_by_system(OSError(-2, "Name or service not known")).text("ja") == "Name or service not known"
    assert told_by_system(TimeoutError("timed out")).text("en") == "there was no answer in time"
