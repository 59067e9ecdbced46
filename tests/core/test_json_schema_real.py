"""Schemas as people and their programs write them: pydantic's, those of agents' tools, OpenAI's examples."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from json_schemas import FREE, allows, errors_of

from hoshikage_core import Engine, Model, SamplingParams, enforceable


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=2048, n_threads=1) as engine:
        yield engine


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(pydantic.BaseModel):
    """A model whose docstring becomes a description."""

    x: float = pydantic.Field(ge=-180, le=180)
    y: Annotated[float, pydantic.Field(gt=0, multiple_of=0.5)]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog", "wolf"] = "dog"
    name: str = pydantic.Field(min_length=1, max_length=8, pattern=r"^[A-Z][a-z]*$")


class Node(pydantic.BaseModel):
    value: int
    children: list[Node] = pydantic.Field(default=[], max_length=2)


class Everything(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    point: Point
    maybe: Point | None = None
    color: Color
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    tree: Node
    pairs: list[tuple[int, str]] = pydantic.Field(min_length=1, max_length=2)
    colors: set[Color]
    table: dict[str, int]
    named: dict[Annotated[str, pydantic.Field(pattern="^k[0-9]$")], bool]
    by_color: dict[Color, int]
    when: datetime.datetime
    day: datetime.date
    clock: datetime.time
    span: datetime.timedelta
    key: uuid.UUID
    link: pydantic.AnyUrl
    price: Annotated[Decimal, pydantic.Field(gt=0)] | float
    count: pydantic.PositiveInt
    small: pydantic.conint(gt=2, lt=9, multiple_of=3)  # type: ignore[valid-type]
    text: Annotated[str, pydantic.StringConstraints(max_length=5)]
    flag: bool | None
    either: int | str | list[bool]


@pytest.mark.parametrize("model", [Point, Cat, Dog, Node])
def test_pydantic_models_come_back(engine: Engine, model: type[pydantic.BaseModel]) -> None:
    """What a random model says to a pydantic model's schema is an instance of it."""
    n_finished = 0
    likes = {engine.model.tokenize(text)[0]: 3.0 for text in '"]}'}
    for seed in range(4):
        schema = model.model_json_schema()
        sampling = SamplingParams(seed=seed, json_schema=schema, logit_bias=likes, **FREE)
        answer = engine.generate("star", sampling, max_tokens=400)
        if answer.finish_reason == "stop":
            n_finished += 1
            model.model_validate_json(answer.text)
            assert errors_of(schema, answer.text) == []
    assert n_finished


def test_all_of_pydantic(engine: Engine) -> None:
    """One model with whatever pydantic writes into schemas: an instance's JSON is allowed by the grammar."""
    schema = Everything.model_json_schema()
    instance = Everything(
        point=Point(x=1.5, y=0.5),
        color=Color.RED,
        pet=Dog(kind="wolf", name="Rex"),
        tree=Node(value=1, children=[Node(value=2)]),
        pairs=[(1, "a")],
        colors={Color.BLUE},
        table={"a": 1},
        named={"k1": True},
        by_color={Color.RED: 3},
        when=datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc),
        day=datetime.date(2026, 11, 26),
        clock=datetime.time(4, 44, 44, tzinfo=datetime.timezone.utc),
        span=datetime.timedelta(hours=1),
        key=uuid.UUID(int=5),
        link=pydantic.AnyUrl("https://example.com/a"),
        price=1.5,
        count=3,
        small=6,
        text="hello",
        flag=None,
        either=[True],
    )
    strict = {**schema, "required": list(schema["properties"])}  # all there, in the schema's order, as with OpenAI
    assert allows(engine, strict, instance.model_dump_json())


TOOLS: list[dict[str, Any]] = [
    {},
    {"type": "object", "properties": {}},
    {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The file", "format": "file-path"},
            "edits": {
                "type": "array",
                "items": {"type": "object", "properties": {"old": {"type": "string"}, "new": {"type": "string"}}},
                "uniqueItems": True,
            },
            "dryRun": {"type": "boolean", "default": False},
            "head": {"type": "number", "x-order": 3, "nullable": True},
        },
        "required": ["path", "edits"],
        "additionalProperties": False,
        "$schema": "http://json-schema.org/draft-07/schema#",
    },
    {
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1},
            "filters": {"type": "object", "additionalProperties": True},
            "range": {"not": {"type": "null"}, "type": "array", "contains": {"type": "integer"}},
            "when": {"oneOf": [{"type": "string"}, {"type": "string", "format": "date"}]},
            "id": {"type": "string", "pattern": "^(?=.{3,})\\p{L}+$"},
        },
        "required": ["query"],
        "if": {"properties": {"query": {"const": "x"}}},
        "then": {"required": ["id"]},
        "dependentRequired": {"id": ["when"]},
        "strict": True,
        "optional": ["filters"],
    },
]


@pytest.mark.parametrize("schema", TOOLS, ids=["nothing", "empty", "edit", "search"])
def test_tools_of_agents_are_taken_relaxed(schema: dict[str, Any]) -> None:
    """Without strict no well-formed schema of a tool is refused, and its arguments stay visible to llama.cpp."""
    relaxed = enforceable(schema, strict=False)
    assert list(relaxed.get("properties", {})) == list(schema.get("properties", {}))


def test_what_openai_documents(engine: Engine) -> None:
    """The recursive example of OpenAI's guide to structured outputs (a user interface, with "$ref": "#")."""
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["div", "button", "form"]},
            "label": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "attributes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                    "additionalProperties": False,
                    "required": ["name", "value"],
                },
            },
        },
        "required": ["type", "label", "children", "attributes"],
        "additionalProperties": False,
    }
    inner = '{"type":"button","label":"b","children":[],"attributes":[{"name":"a","value":"b"}]}'
    assert allows(engine, schema, f'{{"type":"div","label":"","children":[{inner},{inner}],"attributes":[]}}')
    assert not allows(engine, schema, f'{{"type":"div","label":"","children":[{inner},1],"attributes":[]}}')
