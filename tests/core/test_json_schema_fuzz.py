"""Random schemas, and random answers to them: whatever a model says, a finished answer validates."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from json_schemas import FREE, errors_of

from hoshikage_core import Engine, JsonSchemaError, Model, SamplingParams, enforceable

_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=1024, n_threads=1) as engine:
        yield engine


FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
PATTERNS = [
    "^a+$",
    "b",
    "^[^x]{1,3}$",
    r"^\d{2}(-\w)?$",
    r"^(on|off)$|z",
    r'^["\\]',
    "^.?$",
    r"\S\s",
    "^[à-ü星]*$",
    "(x|y$)",
]
NAMES = st.sampled_from(["a", "b", "ab", "*", "", 'q"\\', "星", "]", "root", "a\nb", "string"])
COUNTS = st.integers(0, 4)
NUMBERS = st.one_of(st.integers(-120, 1200), st.sampled_from([0.5, -0.25, 1.75, 99.9, 1e-3, -12.125, 1e3]))


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


STRINGS = optional(
    minLength=COUNTS, maxLength=COUNTS.map(lambda n: n + 3), pattern=st.sampled_from(PATTERNS)
) | st.builds(lambda name: {"format": name}, st.sampled_from(FORMATS))
RANGES = optional(
    minimum=NUMBERS,
    maximum=NUMBERS.map(lambda n: n + 500),
    exclusiveMinimum=NUMBERS,
    exclusiveMaximum=NUMBERS.map(lambda n: n + 700),
    multipleOf=st.sampled_from([1, 2, 3, 7, 10, 25, 100, 0.5, 0.01, 0.25, 2.5]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1.0, "", "a", 'q"', "星", "\n", "ab12"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def typed(name: str, rest: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return rest.map(lambda keywords: {"type": name, **keywords})


LEAVES = st.one_of(
    typed("string", STRINGS),
    typed("number", RANGES),
    typed("integer", RANGES),
    st.sampled_from(
        [{}, {"type": "null"}, {"type": "boolean"}, {"type": ["integer", "null"]}, {"type": ["string", "boolean"]}]
    ),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, VALUES),
    st.sampled_from([{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/leaf"}]),
    STRINGS,
    RANGES,
)


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    part = inner | st.booleans()
    objects = optional(
        properties=st.dictionaries(NAMES, inner, max_size=4),
        required=st.lists(NAMES, max_size=2, unique=True),
        additionalProperties=part,
        minProperties=st.integers(0, 2),
        maxProperties=st.integers(2, 4),
        patternProperties=st.dictionaries(st.sampled_from(PATTERNS[:4]), inner, min_size=1, max_size=1),
        propertyNames=st.sampled_from([{"enum": ["a", "b"]}, {"maxLength": 2}, {"pattern": "^a"}]),
    )
    arrays = optional(
        items=part,
        prefixItems=st.lists(inner, min_size=1, max_size=3),
        minItems=st.integers(0, 2),
        maxItems=st.integers(1, 4),
        uniqueItems=st.booleans(),
    )
    return st.one_of(
        typed("object", objects),
        typed("array", arrays),
        objects,
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda options: {"oneOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda parts, own: {"allOf": parts, **own},
            st.lists(inner, min_size=1, max_size=2),
            STRINGS | RANGES | objects,
        ),
        st.builds(
            lambda own, ref: {**own, "$ref": ref}, STRINGS | objects, st.sampled_from(["#/$defs/node", "#/$defs/leaf"])
        ),
        st.builds(
            lambda values, own: {"enum": values, **own}, st.lists(VALUES, min_size=1, max_size=4), STRINGS | RANGES
        ),
    )


SCHEMAS = st.builds(
    lambda root, leaf, node: {"$defs": {"leaf": leaf, "node": node}, **root},
    st.recursive(LEAVES, composed, max_leaves=6),
    LEAVES,
    st.recursive(LEAVES, composed, max_leaves=3),
)


@settings(max_examples=200, suppress_health_check=_CHECKS)
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_a_finished_answer_validates(engine: Engine, schema: dict[str, Any], seed: int) -> None:
    """A schema is refused, or what a random model says to it is valid JSON that jsonschema accepts."""
    check_answer(engine, schema, seed)


def check_answer(engine: Engine, schema: dict[str, Any], seed: int) -> None:
    try:
        enforceable(schema)
    except JsonSchemaError as error:
        event(f"refused: {error.keyword}")
        enforceable_or_malformed(schema)
        return
    # Some liking for what ends things: a random model hardly ever closes a bracket.
    likes = {engine.model.tokenize(text)[0]: 2.0 for text in '"]}'}
    sampling = SamplingParams(seed=seed, json_schema=schema, logit_bias=likes, **FREE)
    answer = engine.generate("star", sampling, max_tokens=300)
    event(f"finished: {answer.finish_reason}")
    if answer.finish_reason == "stop":
        json.loads(answer.text)
        assert errors_of(schema, answer.text) == [], answer.text


def refusal_of(schema: Any, *, strict: bool = True) -> JsonSchemaError | None:
    """What is said against it; what can be used is JSON."""
    try:
        json.dumps(enforceable(schema, strict=strict), allow_nan=False)
    except JsonSchemaError as error:
        return error
    return None


def enforceable_or_malformed(schema: dict[str, Any]) -> None:
    """Relaxed, either it can be used or it is wrong in itself."""
    error = refusal_of(schema, strict=False)
    assert error is None or "cannot be enforced" not in error.reason, error


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYWORDS = st.sampled_from(
    """
    type properties required additionalProperties items prefixItems minItems maxItems uniqueItems minLength
    maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf enum const anyOf oneOf
    allOf not if then else $ref $defs patternProperties propertyNames minProperties maxProperties contains
    dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems $id $anchor $dynamicRef nullable
    title
    """.split()  # noqa: SIM905
)
NEARLY = st.recursive(
    ANY_JSON | SCHEMAS | st.sampled_from(["#", "#/$defs/a", "^(a|b", "[", "a{9}{9}", "date", "object", "integer"]),
    lambda inner: (
        st.dictionaries(KEYWORDS, inner, max_size=4)
        | st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=400, suppress_health_check=_CHECKS)
@given(schema=st.dictionaries(KEYWORDS, NEARLY, max_size=5), strict=st.booleans())
def test_any_json_is_refused_or_used(schema: dict[str, Any], strict: bool) -> None:
    """Nothing but JsonSchemaError comes out, within moderate time, and the result can be written as JSON."""
    began_s = time.process_time()
    error = refusal_of(schema, strict=strict)
    assert error is None or (error.path.startswith("#") and error.reason)
    assert time.process_time() - began_s < 5


@settings(max_examples=200)
@given(pattern=st.text(alphabet='ab-^$.|()[]{}*+?\\dwsDWS01,:<>=!"é星', max_size=12))
def test_any_pattern_is_refused_or_used(pattern: str) -> None:
    """The same for patterns."""
    error = refusal_of({"type": "string", "pattern": pattern})
    assert error is None or error.keyword in ("pattern", "")
