"""Personas as files: what can be in one, what is wrong with one, and what becomes of the others meanwhile."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import PersonaError, RequestError
from hoshikage_server.registry.persona import Example, LongTexts, Persona, ShortTexts, checked_id, from_toml, to_toml
from hoshikage_server.registry.persona import PersonaSampling as Values
from hoshikage_server.registry.personas import PERSONAS_MAX, Personas

FILE = Path("/p/x.toml")


def read_or_refused(content: bytes) -> None:
    """Anything else fails the test, also an error without words."""
    try:
        from_toml(content, FILE)
    except PersonaError as error:
        texts = [error.text(language) for language in ("ja", "en")]
    else:
        texts = ["fine"]
    assert all(texts)


def refused(text: str | bytes) -> str:
    with pytest.raises(PersonaError) as caught:
        from_toml(text if isinstance(text, bytes) else text.encode(), FILE)
    japanese, english = caught.value.text("ja"), caught.value.text("en")
    assert "{reason}" not in japanese + english
    return english


def test_all_that_a_file_can_say() -> None:
    """Every field, and texts in both languages."""
    read = from_toml(
        """
        name = { ja = "俳人", en = "Poet" }
        description = "Short."
        avatar = "🍁"
        model = "m"
        language = "auto"
        thinking = false
        stop = ["。。"]
        greeting = "Hi"
        system = '''
Answer in haiku.'''
        [sampling]
        temperature = 1
        logit_bias = { 15 = -1.5 }
        [[examples]]
        user = "u"
        assistant = "a"
        """.encode(),
        FILE,
    )
    assert read == Persona(
        name=ShortTexts("俳人", "Poet"),
        description="Short.",
        avatar="🍁",
        model="m",
        language="auto",
        thinking=False,
        stop=("。。",),
        greeting="Hi",
        system="Answer in haiku.",
        sampling=Values(temperature=1.0, logit_bias={15: -1.5}),
        examples=(Example("u", "a"),),
    )


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('name = "x"\n\nlanguage = "fr"', 3, "'language': 'fr'"),
        ('name = "x"\n[sampling]\ntemperature = 9', 3, "'sampling.temperature'"),
        (
            'name = "x"\n[sampling]\ntemprature = 1',
            3,
            "Unknown parameter: 'sampling.temprature'. Supported here are: t",
        ),
        ('name = "x"\nsytem = "y"', 2, "Unknown parameter: 'sytem'. Supported here are: name, description"),
        ('name = "x"\nsystem = """\nlanguage = 1\n"""\nlanguage = 1', 5, "'language'"),
        ('name = "x"\n[[examples]]\nuser = "u"\nassistant = "a"\n[[examples]]\nuser = 1', 6, "'examples[1].user'"),
        ('name = "x"\n[[examples]]\nuser = "u"', 2, "'examples[0].assistant'"),
        ('name = "x"\ngreeting = { ja = "y" }', 2, "'greeting.en'"),
        ('name = "x"\nstop = "y"', 2, "'stop'"),
        ('name = "x"\nmodel = ""', 2, "'model'"),
        ('name = "x"\navatar = "javascript:alert(document.cookie)"', 2, "'avatar'"),
        ('name = "x"\navatar = "http://x/y.png"', 2, "a data:image/ URL"),
        ('name = "x"\navatar = "https://example.com/y.png"', 2, "a data:image/ URL"),
        ('name = "x"\navatar = "//x/y.png"', 2, "a data:image/ URL"),
        ('name = "x"\navatar = "data:text/html,x"', 2, "a data:image/ URL"),
        ('name = "x"\nsampling.top_p = nan', 2, "nan and inf"),
        ('name = "x"\nsampling.min_p = inf', 2, "nan and inf"),
        ("name = 2020-01-01", 1, "dates and times"),
        ('name = "x"\nsampling.seed = 99999999999999999999', 2, "above maximum"),
        ('name = "x"\nsystem = ', 2, "line 2, the last one"),
        ('name = "x"\nname = "y"', 2, "Cannot overwrite a value"),
        (b'name = "x"\n# \xff', 2, "not UTF-8"),
        ('system = "y"', None, "Missing required parameter: 'name'"),
        ("", None, "Missing required parameter: 'name'"),
        ("name = [" + "[" * 5000, None, "nested too deeply"),
        ('name = "x"\n#' + "y" * 1024 * 1024, None, "too large"),
    ],
    ids=range(26),
)
def test_what_is_wrong_is_told_with_its_place(text: str | bytes, line: int | None, what: str) -> None:
    """The file, the line where that can be told, and the field."""
    told = refused(text)
    assert what in told
    assert str(FILE) in told
    if line is not None:
        assert f"{FILE}:{line} " in told


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
WHOLE = st.builds(
    Persona,
    name=TEXT | st.builds(ShortTexts, TEXT, TEXT),
    description=st.none() | TEXT,
    system=st.none() | TEXT | st.builds(LongTexts, TEXT, TEXT),
    language=st.sampled_from([None, "ja", "en", "auto"]),
    thinking=st.none() | st.booleans(),
    stop=st.lists(TEXT, max_size=3).map(tuple),
    examples=st.lists(st.builds(Example, TEXT, TEXT), max_size=3).map(tuple),
    sampling=st.builds(
        Values,
        temperature=st.none() | st.floats(0, 2),
        seed=st.none() | st.integers(-(2**63), 2**63 - 1),
        logit_bias=st.none() | st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-100, 100), max_size=3),
    ),
)


@settings(max_examples=60)
@given(WHOLE)
def test_what_is_written_is_read(persona: Persona) -> None:
    """Whatever its texts hold: line ends of all kinds, quotes, control characters."""
    assert from_toml(to_toml(persona), FILE) == persona


SCALARS: Any = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.times()
TREES = st.recursive(
    SCALARS.filter(lambda value: value is not None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*Persona.__struct_fields__, "ja", "temperature", "user"]) | st.text(max_size=5)


@settings(max_examples=100)
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_toml_is_a_persona_or_refused(values: dict[str, Any]) -> None:
    """Never anything else."""
    read_or_refused(tomli_w.dumps(values).encode("utf-8", "surrogatepass"))


@settings(max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f'name = "{text}'.encode("utf-8", "replace")))
def test_any_bytes_are_a_persona_or_refused(content: bytes) -> None:
    """Never anything else."""
    read_or_refused(content)


@pytest.mark.parametrize("name", ["haiku", "俳人", "a.b-c_9", "हिन्दी", "x" * 64, "1"])
def test_ids(name: str) -> None:
    """Letters of any script, digits, and three signs."""
    assert checked_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".x",
        "-x",
        "a/b",
        "a@b",
        "a b",
        "a\n",
        "x" * 65,
        "あ" * 64 + "あ",
        "\ud800",
        "a\0",
        "😀",
        "森" * 67,
    ],
)
def test_names_that_are_no_ids(name: str) -> None:
    """They would lead out of the folder, hide in it, or make "model@persona" mean two things."""
    with pytest.raises(RequestError) as caught:
        checked_id(name)
    assert caught.value.code == "invalid_persona_id"


def test_an_id_has_one_form() -> None:
    """How a keyboard composes a letter makes no difference."""
    assert checked_id("か\u3099") == "が"


def test_the_built_in_ones() -> None:
    """All are there in both languages, and say what they are."""
    found = Personas(Path("/nowhere")).all()
    assert list(found) == ["assistant", "storyteller", "translator"]
    for stored in found.values():
        persona = stored.persona
        assert stored.is_builtin
        for text in (persona.name, persona.description, persona.greeting, persona.system):
            assert isinstance(text, (ShortTexts, LongTexts))
            assert text.ja.strip() == text.ja != text.en == text.en.strip()
            assert all(line == line.strip() for line in (*text.ja.splitlines(), *text.en.splitlines()))
    assert found["translator"].persona.examples


def test_a_folder_as_people_edit_it(tmp_path: Path) -> None:
    """New, changed, broken, mended and deleted files show at once; a broken one is what it was."""
    personas = Personas(tmp_path / "personas")
    assert personas.errors == ()
    (tmp_path / "personas").mkdir()
    file = tmp_path / "personas" / "x.toml"
    file.write_text('name = "one"')
    assert personas.find("x").persona.name == "one"
    file.write_text('name = "two!"')
    assert personas.find("x").persona.name == "two!"
    file.write_text("name = ")
    assert personas.find("x").persona.name == "two!"
    [error] = personas.errors
    assert f"{file}:1 " in str(error)
    file.write_text('name = "three"')
    assert (personas.find("x").persona.name, personas.errors) == ("three", ())
    file.unlink()
    with pytest.raises(RequestError, match="no persona 'x'"):
        personas.find("x")


def test_files_that_are_no_personas(tmp_path: Path) -> None:
    """They are told of, and harm nobody: a pipe, a folder, a link to nothing, a bad name, one that nobody may read."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "link.toml").symlink_to(tmp_path / "nothing")
    (tmp_path / "a b.toml").write_text('name = "x"')
    (tmp_path / "broken.toml").write_text("name")
    (tmp_path / ".hidden.toml").write_text("name")
    (tmp_path / "notes.txt").write_text("name")
    (tmp_path / "good.toml").write_text('name = "x"')
    personas = Personas(tmp_path)
    assert [stored.id for stored in personas.all().values() if not stored.is_builtin] == ["good"]
    names = ("a b", "broken", "folder", "link", "pipe")
    assert len(personas.errors) == len(names)
    for error, name in zip(personas.errors, names, strict=True):
        assert f"{tmp_path}/{name}.toml" in str(error)
    with pytest.raises(PersonaError):
        personas.find("broken")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """It is told of, and the built-in ones are there."""
    (tmp_path / "personas").write_text("x")
    personas = Personas(tmp_path / "personas")
    assert list(personas.all()) == ["assistant", "storyteller", "translator"]
    assert len(personas.errors) == 1
    with pytest.raises(PersonaError, match="could not be written"):
        personas.save("x", Persona(name="x"), replace=True)


def test_own_ones_win_over_built_in_ones(tmp_path: Path) -> None:
    """Until they are deleted; a broken one leaves the built-in one in use."""
    personas = Personas(tmp_path / "personas")
    with pytest.raises(RequestError, match="exists already"):
        personas.save("assistant", Persona(name="mine"), replace=False)
    personas.save("assistant", Persona(name="mine"), replace=True)
    assert personas.find("assistant").persona.name == "mine"
    assert not personas.find("assistant").is_builtin
    personas.remove("assistant")
    assert personas.find("assistant").is_builtin
    with pytest.raises(RequestError, match="is built in"):
        personas.remove("assistant")
    (tmp_path / "personas" / "assistant.toml").write_text("x")
    assert personas.find("assistant").is_builtin
    assert len(personas.errors) == 1


def test_only_one_of_many_makes_it(tmp_path: Path) -> None:
    """Who creates at the same time is told the truth."""

    def make(index: int) -> bool:
        try:
            Personas(tmp_path / "personas").save("x", Persona(name=str(index)), replace=False)
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1
    assert [path.name for path in (tmp_path / "personas").iterdir()] == ["x.toml"]


def test_there_is_a_limit(tmp_path: Path) -> None:
    """Of what the API can fill a disk with."""
    for index in range(PERSONAS_MAX):
        (tmp_path / f"{index}.toml").touch()
    personas = Personas(tmp_path)
    with pytest.raises(RequestError, match="at most"):
        personas.save("x", Persona(name="x"), replace=False)
    personas.save("0", Persona(name="x"), replace=True)


def test_sampling_is_that_of_requests() -> None:
    """The same values, under the same names."""
    assert Values.__struct_fields__ == Sampling.__struct_fields__
    assert msgspec.json.schema(Persona)
