"""What is said of a model_map.json that somebody has edited: the line, the column, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hoshikage_server.errors import ModelMapError
from hoshikage_server.registry.entries import parse
from hoshikage_server.registry.model_map import ModelMap

PATH = Path("/config/model_map.json")
GOOD = '{"path": "/m", "model": "x.gguf"}'


def fault(text: str | bytes) -> ModelMapError:
    with pytest.raises(ModelMapError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), PATH)
    return caught.value


def places(text: str | bytes) -> tuple[object, object]:
    values = fault(text).values
    return values["line"], values["column"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{\n  "a": {"path": "/m", "model": "x",}\n}', (2, 35), "the ',' after the last one"),
        ('{\n  "a": {"path": "/m", "model": "x"},\n}', (2, 36), "the ',' after the last one"),
        ('{\n  "a": {"path": "/m", "stop": ["x",], "model": "x"}}', (2, 35), "the ',' after the last one"),
        ('{\n  "a": {"path": "/m"\n  "model": "x"}\n}', (2, 21), "a ',' is missing"),
        ('{"a": {"path" "/m"}}', (1, 15), "a ':' is missing"),
        ("{'a': {}}", (1, 2), "single quotes"),
        ('{"a": {"path": \'/m\'}}', (1, 16), "single quotes"),
        ("{a: 1}", (1, 2), "double quotes"),
        ('{\n  // mine\n  "a": {}}', (2, 3), "no comments"),
        ('{"a": {"path": "C:\\models"}}', (1, 19), "written as"),
        ('{"a": {"path": "/m\n", "model": "x"}}', (1, 19), "not closed"),
        ('{"a": {"path": "/m"', (1, 20), "ends too early"),
        ('{"a": {}} x', (1, 11), "ends before this"),
        ('{"a": nul}', (1, 8), "no JSON"),
        ('{"a": {"path": "\\u12"}}', (1, 17), "written as"),
        ('{"a": {"path": "\\ud800"}, "b": 1}', (1, 17), "surrogate"),
        ('{"a":\n {"path": "x", "model": "\\ud800"}}', (2, 26), "surrogate"),
        ('{"a": {"x": "\\\\ud800 \\ud83c\\udf1f \\\\\\ud83c"}}', (1, 37), "surrogate"),
        ('{"a": {"x": "\\ud83c\\udf1f', (1, 26), "ends too early"),
        ('{"a": {"x": "\\ud83c', (1, 20), "ends too early"),
        ("[]", (1, 1), "one object"),
        ("\n\n  7", (3, 3), "one object"),
        ('{\n "a": 1}', (2, 2), "has to be an object"),
        (b'{\n "a": "\x82\xa0"}', (2, 8), "UTF-8"),
        ("\ufeff{}".encode("utf-16-le"), (1, 1), "UTF-8"),
    ],
)
def test_syntax(text: str | bytes, place: tuple[int, int], words: str) -> None:
    """The place is where the mistake is, not where the reader stumbled; the words say what to write."""
    assert places(text) == place, str(fault(text))
    assert words in str(fault(text))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sampling", {"top_k": 1, "temperature": -5}, "'sampling.temperature': decimal below minimum value"),
        ("n_ctx", 0, "'n_ctx': integer below minimum"),
        ("kv_type", "q3", "'f32', 'f16', 'bf16'"),
        ("embedding", {"pooling": "max"}, "'mean', 'cls', 'last'"),
        ("gpu_layers", "most", "'auto', 'all'"),
        ("split_mode", "row", "'none', 'layer', 'tensor'"),
        ("stop", ["a", ""], "'stop[1]': empty string"),
        ("lora", [{"path": "x"}, {"path": "y", "scale": 1000}], "'lora[1].scale': decimal above"),
        ("sha256", "x", "'sha256': string does not match"),
        ("path", 1, "'path': expected a string, but got an integer"),
        ("sampling", {"logit_bias": {"x": 1}}, "token ids"),
        ("path", "~no-such-user/x", "home folder"),
    ],
)
def test_a_value_that_cannot_be(key: str, value: object, words: str) -> None:
    """The line is that of the value, and the message names its model; the limits are those of a request."""
    entry = {"model": "x.gguf", "path": "/m", key: value}
    lines = ",\n".join(f'"{name}": {json.dumps(written)}' for name, written in entry.items())
    text = '{"first": ' + GOOD + ',\n"mine": {\n' + lines + "}}"
    error = fault(text)
    assert error.values["line"] == 3 + list(entry).index(key)
    assert "mine: " in str(error)
    assert words in str(error)
    assert "行目" in error.text("ja")
    assert "`$" not in str(error)


def test_what_is_missing_is_missing_in_an_entry() -> None:
    """The line is the entry's."""
    error = fault('{\n"first": ' + GOOD + ',\n  "second": {"path": "a"}}')
    assert (error.values["line"], error.values["column"]) == (3, 3)
    assert "second: Missing required parameter: 'model'" in str(error)


def test_columns_count_characters() -> None:
    """Not bytes: editors do so."""
    assert places('{"星影": {"path": "月", "model": 1}}') == (1, 22)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ' + GOOD + ',\n "a": ' + GOOD + "}",
        '{"a": ' + GOOD + ',\n "\\u0061": ' + GOOD + "}",
        '{"a": {"path": "/m",\n "path": "/n", "model": "x"}}',
        '{"a": {"path": "/m", "model": "x", "sampling": {"top_k": 1,\n "top_k": 2}}}',
    ],
)
def test_a_key_that_comes_twice(text: str) -> None:
    """One of its values would be lost, and an entry with it."""
    error = fault(text)
    assert error.values["line"] == 2
    assert "second time" in str(error)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            '{"a": {PLACE, "aliases": ["x"]},\n"b": {PLACE, "aliases": ["y",\n"x"]}}',
            (3, 1),
            "'x' is a name of the model 'a'",
        ),
        ('{"a": {PLACE, "aliases": [\n"b"]}, "b": {PLACE}}', (2, 1), "'b' is a name of the model 'b'"),
        ('{"a": {PLACE, "aliases": [\n"a"]}}', (2, 1), "'a' is a name of the model 'a'"),
        ('{"a": {PLACE, "aliases": ["x",\n "x"]}}', (2, 2), "'x' is a name of the model 'a'"),
    ],
)
def test_names_that_are_taken(text: str, place: tuple[int, int], words: str) -> None:
    """Nobody could say which of them is meant."""
    text = text.replace("PLACE", GOOD.strip("{}"))
    assert places(text) == place
    assert words in str(fault(text))


def test_aliases(tmp_path: Path) -> None:
    """Ids first, then aliases; what is found is the model itself."""
    path = tmp_path / "model_map.json"
    path.write_text('{"a": {"path": "p", "model": "m", "aliases": ["gpt-4o", "最新"]}}')
    models = ModelMap(path)
    assert [models.find(name).id for name in ("a", "gpt-4o", "最新")] == ["a", "a", "a"]
    assert list(models.entries()) == ["a"]


def test_an_editors_marks() -> None:
    """A byte order mark, and where the schema is, are no entries and no errors."""
    text = b'\xef\xbb\xbf{"$schema": "./model_map.schema.json", "a": ' + GOOD.encode() + b"}"
    assert list(parse(text, PATH).entries) == ["a"]
    assert places(b"\xef\xbb\xbf{,}") == (1, 2)


def test_the_log_says_it_once_and_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys that are not used yet; again only where another one comes."""
    path = tmp_path / "model_map.json"
    models = ModelMap(path)
    path.write_text('{"a": {"path": "p", "model": "m", "mmproj": "eyes.gguf"}}')
    for _ in range(3):
        models.entries()
    assert [str(record.msg) for record in caplog.records] == [
        "'mmproj' of the model 'a' is kept, but this version does not use it yet"
    ]
    path.write_text('{"a": {"path": "p", "model": "m", "mmproj": "eyes.gguf", "rpc_servers": ["b"]}}')
    models.entries()
    assert len(caplog.records) == 2
