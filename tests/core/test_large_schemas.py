"""Schemas of a size that nobody writes by hand: right, and no request blocks the engine for long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from json_schemas import allows

from hoshikage_core import Engine, JsonSchemaError, Model, SamplingParams, enforceable, schema_to_grammar

# What is allowed is about 3 s; this is of the processor, and of a slow machine. Before, these took from 20 to 130 s.
LIMIT_S = 8


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=2048, n_threads=1) as engine:
        yield engine


def closed(n: int, **more: Any) -> dict[str, Any]:
    """An object with optional members p0, p1, ..., of which many begin alike."""
    properties = {f"p{i}": {"type": "integer"} for i in range(n)}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def some(*numbers: int, **others: Any) -> str:
    return json.dumps({f"p{i}": i for i in numbers} | others)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            closed(100),
            ["{}", some(0), some(99), some(1, 10, 11), some(0, 9, 90, 99), some(*range(100))],
            [some(100), some(10, 1), '{"p1": 1, "p1": 1}', '{"p": 1}', '{"p1": 1,}'],
        ),
        (
            closed(100, required=["p7", "p70"]),
            [some(7, 70), some(0, 7, 8, 69, 70, 71), some(*range(100))],
            ["{}", some(7), some(70), some(0, 70), some(7, 71), some(70, 7)],
        ),
        (
            closed(100, minProperties=2, maxProperties=3),
            [some(0, 1), some(98, 99), some(1, 10, 99)],
            ["{}", some(5), some(1, 2, 3, 4)],
        ),
        (
            closed(100) | {"additionalProperties": {"type": "boolean"}},
            ["{}", some(5, 50), some(5, 50, q=True), some(q=False, r=True)],
            [some(q=1), '{"q": true, "p1": 1}', '{"p5": true}'],
        ),
        (
            {"enum": [f"v{i}" for i in range(300)] + [1, 12, 123]},
            ['"v1"', '"v12"', '"v123"', "1", "12", "123"],
            ['"v"', '"v300"', '"v1', "2", "1234"],
        ),
        (
            {"type": "array", "prefixItems": [{"const": i} for i in range(5)], "minItems": 2, "maxItems": 4},
            ["[0, 1]", "[0, 1, 2]", "[0, 1, 2, 3]"],
            ["[]", "[0]", "[1, 0]", "[0, 1, 2, 3, 4]"],
        ),
    ],
    ids=["optional", "required", "counted", "open", "enum", "items"],
)
def test_wide_schemas(engine: Engine, schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    """Alternatives that share their beginnings are the same alternatives."""
    assert [text for text in good if not allows(engine, schema, text)] == []
    assert [text for text in bad if allows(engine, schema, text)] == []


def test_5000_optional_properties(smollm2_path: Path) -> None:
    """They are compiled, and choose the first tokens, in a few seconds."""
    with Model(smollm2_path) as model, model.engine(n_ctx=256, n_threads=1) as engine:
        engine.generate("x", max_tokens=1)
        began = time.process_time()
        # What a model wants is looked at first, and all tokens only where that may not be; and `{}` would be an end.
        biases = {model.tokenize("?")[0]: 100.0, model.tokenize("}")[0]: -100.0}
        sampling = SamplingParams(json_schema=closed(5000), seed=1, logit_bias=biases)
        assert engine.generate("A haiku: ", sampling, max_tokens=8).text.startswith("{")
        assert time.process_time() - began < LIMIT_S


@pytest.mark.parametrize(
    ("schema", "is_refused"),
    [
        (closed(5000, required=[f"p{i}" for i in range(5000)]), False),
        (closed(5000, minProperties=2500), True),
        ({"type": "array", "prefixItems": [{"type": "string"}] * 5000, "minItems": 0}, False),
        ({"anyOf": [{"type": "number", "minimum": i + 0.12345678, "maximum": i * 1e3} for i in range(1, 500)]}, True),
        (
            {"prefixItems": [{"type": "number", "minimum": i + 0.1234, "maximum": (i + 1) * 1e3} for i in range(5000)]},
            True,
        ),
        ({"type": "string", "pattern": r"^(?!\w{2000}x)"}, True),  # hundreds of ranges of letters, again and again
        ({"type": "string", "pattern": "{" * 500_000}, True),
        ({"properties": {str(i): {"pattern": f"[{i}{'ab' * 24_000}]"} for i in range(20)}}, True),
        ({"type": "string", "pattern": "(?<a>)" * 20_000}, False),
    ],
    ids=["required", "counted", "items", "a number", "numbers", "letters", "braces", "patterns", "groups"],
)
def test_what_would_take_long_is_refused(schema: dict[str, Any], is_refused: bool) -> None:
    """Either way the answer comes soon."""
    began = time.process_time()
    if is_refused:
        with pytest.raises(JsonSchemaError):
            enforceable(schema)
    else:
        assert schema_to_grammar(schema)
    assert time.process_time() - began < LIMIT_S


def test_many_tools_have_little_more_time_than_one(tiny_model_path: Path) -> None:
    """Each of them would be allowed alone."""
    tools: list[dict[str, Any]] = []
    for i in range(100):
        text = {"type": "string", "pattern": f"^(a|b)*a(a|b){{11}}{i}$"}
        parameters = {"type": "object", "properties": {"text": text}, "required": ["text"]}
        tools.append({"type": "function", "function": {"name": f"tool{i}", "parameters": parameters, "strict": True}})
    messages = [{"role": "user", "content": "Hi!"}]
    with Model(tiny_model_path) as model:
        chat = model.chat()
        assert chat.render(messages, tools=tools[:1]).grammar
        began = time.process_time()
        with pytest.raises(JsonSchemaError) as raised:
            chat.render(messages, tools=tools)
        assert str(raised.value.where).startswith("tools[")
        assert time.process_time() - began < 3 * LIMIT_S
