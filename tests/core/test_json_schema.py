"""Keyword by keyword: what the grammar of a schema allows, and what it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from json_schemas import FREE, allows, errors_of

from build_support.source import members_folder
from hoshikage_core import (
    ChatTemplate,
    Engine,
    Model,
    SamplingParams,
    complete_grammar,
    enforceable,
    schema_to_grammar,
)


@pytest.fixture(scope="module")
def engine(tiny_model_path: Path) -> Iterator[Engine]:
    with Model(tiny_model_path) as model, model.engine(n_ctx=2048, n_threads=1) as engine:
        yield engine


PET = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
            "required": ["kind"],
        },
        {"type": "object", "properties": {"kind": {"const": "dog"}, "name": {"type": "string"}}, "required": ["kind"]},
    ]
}
TREE = {
    "$defs": {
        "a/b~c d": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/a~1b~0c%20d"}, "n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/a~1b~0c%20d",
}
OPEN = {
    "properties": {"a": {"type": "integer"}, "ab": {"type": "integer"}},
    "additionalProperties": {"type": "boolean"},
}

# schema, texts that it allows, texts that it does not
TABLE: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({}, ["1", '"a"', "[1, [null]]", '{"a": {"b": true}}'], ["", "{", "nil", "1e999", '"\\ud800"', '"\t"']),
    ({"type": "null"}, ["null"], ["0"]),
    ({"type": "boolean"}, ["true", "false"], ["True", '"true"']),
    ({"type": ["integer", "null"]}, ["1", "null", "-3"], ["1.5", '"1"']),
    ({"type": "number"}, ["0", "-1.25", "1e5", "2.5E-3"], ["01", ".5", "1.", "+1", "1e400", "NaN", "Infinity"]),
    ({"type": "integer"}, ["0", "-7", "9223372036854775807"], ["1.0", "1e3", "007", "-"]),
    # numbers
    (
        {"type": "integer", "minimum": 7, "maximum": 123},
        ["7", "10", "99", "123"],
        ["6", "124", "-7", "1000", "07", "7.0"],
    ),
    ({"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3}, ["-2", "0", "2"], ["-3", "3", "-0", "-10"]),
    ({"type": "integer", "minimum": -1000, "maximum": -99}, ["-99", "-100", "-1000"], ["-98", "-1001", "99", "0"]),
    ({"type": "integer", "minimum": 1.5, "maximum": 2.5}, ["2"], ["1", "3"]),
    ({"type": "integer", "minimum": 100}, ["100", "101", "5000", "123456789012"], ["99", "1", "0", "-100"]),
    ({"type": "integer", "maximum": -5}, ["-5", "-6", "-10", "-123456"], ["-4", "0", "5"]),
    ({"type": "integer", "multipleOf": 7}, ["0", "7", "-14", "7000000000007"], ["1", "-13", "70000000000071"]),
    ({"type": "integer", "multipleOf": 1000, "minimum": 1}, ["1000", "25000"], ["0", "100", "1500", "-1000"]),
    ({"type": "integer", "multipleOf": 12, "minimum": 30, "maximum": 40}, ["36"], ["24", "30", "48", "40"]),
    ({"type": "integer", "multipleOf": 2.5}, ["5", "10"], ["2", "25.0"]),
    (
        {"type": "number", "minimum": 0.5, "maximum": 2},
        ["0.5", "0.50", "1", "1.99", "2", "2.0"],
        ["0.49", "0", "2.1", "2.01", "-1"],
    ),
    ({"type": "number", "exclusiveMinimum": 0}, ["0.001", "1", "123.5"], ["0", "0.0", "-0.5", "-1"]),
    ({"type": "number", "exclusiveMaximum": 0.1}, ["0.0999", "0", "-5.25"], ["0.1", "0.10", "0.11", "1"]),
    ({"type": "number", "minimum": -1.5, "maximum": 1.5}, ["-1.5", "-1.49", "0", "1.5"], ["-1.51", "1.51", "-2"]),
    ({"type": "number", "multipleOf": 0.01}, ["0.07", "12", "1.5", "-3.25"], ["0.001", "1.125"]),
    ({"type": "number", "multipleOf": 0.25}, ["0.25", "0.5", "1.75", "3"], ["0.1", "0.2", "1.3"]),
    ({"type": "number", "multipleOf": 1.5}, ["1.5", "3", "4.5", "3.0"], ["1", "2.5", "3.5"]),
    ({"format": "int32"}, ["2147483647", "-2147483648"], ["2147483648", "1.5", '"1"']),
    # strings
    (
        {"type": "string"},
        ['""', '"aé星\\n\\"\\u00e9"', '"\\ud83d\\ude00"'],
        ['"\n"', '"\\x"', '"\\ud83d"', '"\\ude00\\ud83d"', '"a'],
    ),
    (
        {"type": "string", "minLength": 2, "maxLength": 3},
        ['"ab"', '"星星星"', '"\\n\\n"', '"\\ud83d\\ude00a"'],
        ['"a"', '"abcd"', '"\\ud83d\\ude00"'],
    ),
    (
        {"type": "string", "minLength": 700, "maxLength": 1200},
        [f'"{"a" * n}"' for n in (700, 999, 1000, 1200)],
        [f'"{"a" * n}"' for n in (0, 699, 1201)],
    ),
    (
        {"type": "string", "pattern": "^[a-c]{2}-\\d+$"},
        ['"ab-1"', '"cc-007"'],
        ['"ab-"', '"abc-1"', '"ab-1 "', '"ab-１"', '"xab-1"'],
    ),
    ({"type": "string", "pattern": "star"}, ['"star"', '"a starry night"', '"\\nstar"'], ['"sta"', '"st ar"', '""']),
    ({"type": "string", "pattern": "^(yes|no)?$"}, ['""', '"yes"', '"no"'], ['"yesno"', '"y"']),
    ({"type": "string", "pattern": "^a|b$"}, ['"a"', '"axx"', '"xxb"'], ['"xa"', '"bx"', '""']),
    ({"type": "string", "pattern": '^["\\\\/]+$'}, ['"\\""', '"\\\\"', '"/\\"\\\\"'], ['"a"', '""', '"\\/"']),
    ({"type": "string", "pattern": "^.\\s.$"}, ['"a b"', '"a\\nb"', '"a\\tb"'], ['"\\na"', '"ab"', '"a\nb"']),
    ({"type": "string", "pattern": "^[^a-z]+$"}, ['"A1"', '"星"', '"\\n"', '"\\""'], ['"a"', '""']),
    ({"type": "string", "pattern": "^(?<year>\\d{4})(?:-\\d\\d)*?$"}, ['"2026"', '"2026-01-02"'], ['"26"', '"2026-1"']),
    ({"type": "string", "pattern": "^\\u661f\\x41\\.$"}, ['"星A."'], ['"星Ax"', '"星"']),
    (
        {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
        ['"ab"', '"abcd"'],
        ['"a"', '"abcde"', '"AB"'],
    ),
    ({"type": "string", "pattern": "b", "maxLength": 2}, ['"b"', '"ab"', '"bb"'], ['"a"', '"aab"']),
    (
        {"type": "string", "format": "date"},
        ['"2024-02-29"', '"2000-02-29"', '"2026-12-31"'],
        ['"2023-02-29"', '"1900-02-29"', '"2026-02-31"', '"2026-13-01"', '"2026-04-31"', '"0000-01-01"', '"26-1-1"'],
    ),
    (
        {"type": "string", "format": "time"},
        ['"23:59:59Z"', '"00:00:00.5+09:00"'],
        ['"23:59:60Z"', '"24:00:00Z"', '"12:00:00"'],
    ),
    (
        {"type": "string", "format": "date-time"},
        ['"2026-11-26T04:44:44Z"'],
        ['"2026-11-26 04:44:44Z"', '"2026-11-31T00:00:00Z"'],
    ),
    (
        {"type": "string", "format": "duration"},
        ['"P1Y2M3D"', '"PT1H"', '"P3W"', '"P1DT12H"'],
        ['"P"', '"PT"', '"1D"', '"P1YT"', '"P1W2D"'],
    ),
    (
        {"type": "string", "format": "email"},
        ['"a.b+c@example.co.jp"'],
        ['"a"', '"a@"', '"@b.c"', '"a..b@c.de"', '"a@b"'],
    ),
    (
        {"type": "string", "format": "hostname"},
        ['"localhost"', '"a-b.example.com"'],
        ['"-a.com"', '"a..b"', '"a_b"', '""'],
    ),
    (
        {"type": "string", "format": "ipv4"},
        ['"127.0.0.1"', '"255.255.255.255"'],
        ['"256.0.0.1"', '"1.2.3"', '"01.2.3.4"'],
    ),
    (
        {"type": "string", "format": "ipv6"},
        ['"::"', '"::1"', '"fe80::1:2"', '"1:2:3:4:5:6:7:8"', '"1::"', '"1:2:3:4:5:6::"'],
        ['":"', '"1:2"', '"1::2::3"', '"1:2:3:4:5:6:7:8:9"', '"12345::"'],
    ),
    (
        {"type": "string", "format": "uuid"},
        ['"123e4567-e89b-12d3-a456-426614174000"'],
        ['"123e4567e89b12d3a456426614174000"', '"123e4567"'],
    ),
    (
        {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083},
        ['"https://example.com/a?b=%20#c"', '"http://127.0.0.1:8080"'],
        ['"example.com"', '"http://"', '"https://a b"'],
    ),
    (
        {"type": "string", "format": "uuid4"},
        ['"9b2e3a9e-7f0d-4c7e-8a52-1f0a6c1b2d3e"'],
        ['"9b2e3a9e-7f0d-1c7e-8a52-1f0a6c1b2d3e"'],
    ),
    ({"type": "string", "format": "ipvanyaddress"}, ['"10.0.0.1"', '"::1"'], ['"10.0.0"', '"x"']),
    ({"type": "string", "format": "ipv4network"}, ['"10.1.0.0/16"', '"10.1.2.3/32"'], ['"10.1.2.3/16"', '"10.1.0.0"']),
    ({"type": "string", "format": "base64"}, ['""', '"c3Rhcg=="', '"c3Rh"'], ['"c3R"', '"c3Rhcg="']),
    # a name of somebody's for what the pattern says
    ({"type": "string", "format": "e164", "pattern": "^\\+[1-9]\\d{6,14}$"}, ['"+81312345678"'], ['"81312345678"']),
    # looking ahead, at the begin
    ({"type": "string", "pattern": "^(?!\\.)(?!.*\\.\\.)[a-z.]+$"}, ['"a.b"', '"ab."'], ['".a"', '"a..b"', '""']),
    (
        {"type": "string", "pattern": "^(?=.*[A-Z])(?=.*\\d).{3,5}$"},
        ['"aB1"', '"9ABCD"'],
        ['"ab1"', '"aBc"', '"B1"', '"aB1234"'],
    ),
    ({"type": "string", "pattern": "^(?!x$)(?!.*\\d)"}, ['""', '"xy"'], ['"x"', '"x\\n"', '"a1"', '"a\\r1"', '"a٣"']),
    ({"type": "string", "pattern": "^(?!ab)(a|b)"}, ['"a"', '"ba"'], ['"ab"', '"c"']),
    ({"properties": {"a": {"type": "null"}}, "propertyNames": {"const": 1}}, ["{}"], ['{"a":null}']),
    # {"not": {}} is false
    ({"properties": {"a": {"not": {}}, "b": {"type": "null"}}}, ["{}", '{"b":null}'], ['{"a":null}']),
    ({"anyOf": [{"not": {}}, {"type": "null"}]}, ["null"], ["1", "{}"]),
    ({"type": "string", "format": "date", "pattern": "^2024-02"}, ['"2024-02-29"'], ['"2024-03-01"', '"2024-02"']),
    # values
    ({"const": {"a": [1, "x"]}}, ['{"a":[1,"x"]}'], ['{"a":[1]}', "1"]),
    ({"enum": ["a", 1, None, True, 1.0, "a"]}, ['"a"', "1", "null", "true"], ['"b"', "2", "false", "1.0"]),
    ({"enum": ["a", 1, None], "type": ["string", "null"]}, ['"a"', "null"], ["1"]),
    ({"enum": [1, 5, 9], "minimum": 4, "allOf": [{"maximum": 8}]}, ["5"], ["1", "9"]),
    ({"enum": ["hsk-rule:00:00", 'a"b\\']}, ['"hsk-rule:00:00"', '"a\\"b\\\\"'], ['"a"']),
    # arrays
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        ["[1]", "[1, 2,3]"],
        ["[]", "[1,2,3,4]", "[1,]", '["a"]'],
    ),
    ({"type": "array"}, ["[]", '[1,"a"]'], ["{}", "[", "[,]"]),
    ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    (
        {"type": "array", "items": {"type": "null"}, "minItems": 600},
        [f"[{','.join(['null'] * 600)}]"],
        [f"[{','.join(['null'] * 599)}]"],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        ['[1,"a"]'],
        ["[1]", "[]", '[1,"a",2]', '["a",1]'],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "boolean"}},
        ["[1]", "[1,true,false]"],
        ["[]", "[1,1]", "[true]"],
    ),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "minItems": 1, "maxItems": 2},
        ["[1]", "[1,null]"],
        ["[]", "[1,null,1]"],
    ),
    ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, ["[1]"], ["[1,1]"]),
    ({"type": "array", "unevaluatedItems": {"type": "null"}}, ["[]", "[null]"], ["[1]"]),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}], "unevaluatedItems": {"type": "null"}},
        ["[1]", "[1,null]"],
        ["[1,1]", "[null]"],
    ),
    (
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
        ['["a","b"]', '["b","c"]', '["a","b","c"]'],
        ['["a"]', '["a","a"]', "[]"],
    ),
    (
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 1},
        ["[]", '["a"]'],
        ['["a","b"]'],
    ),
    ({"items": False, "type": "array"}, ["[]"], ["[1]"]),
    # objects
    (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
        ['{"a": 1}', '{ "a" :1 }'],
        ["{}", '{"b":1}', '{"a":1,"b":2}', '{"a":"x"}', '{"a":1,"a":2}'],
    ),
    (
        {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}},
        ["{}", '{"a":1}', '{"b":null}', '{"a":1,"b":null}'],
        ['{"b":null,"a":1}', "1", '{"c":1}'],
    ),
    ({"type": "object"}, ["{}", '{"x":[{}]}'], ["[]", '{"x"}']),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"x":1,"y":2}'], ['{"x":"y"}']),
    ({"type": "object", "additionalProperties": False}, ["{}"], ['{"a":1}']),
    (
        OPEN,
        ["{}", '{"a":1,"ab":2,"b":true}', '{"abc":true,"":false}'],
        ['{"a":true}', '{"\\u0061":true}', '{"a":1,"a":true}', '{"b":1}', '{"a\nb":true}'],
    ),
    (
        {
            "properties": {"]": {"type": "null"}, "^": {"type": "null"}, "\\": {"type": "null"}},
            "additionalProperties": {"type": "integer"},
        },
        ['{"]":null,"^":null,"\\\\":null,"x":1}'],
        ['{"]":1}', '{"^":1}', '{"\\\\":1}'],
    ),
    ({"properties": {"": {"type": "string"}}}, ["{}", '{"":"a"}'], ['"a"']),
    (
        {"properties": {"*": {"type": "null"}}, "additionalProperties": False},
        ["{}", '{"*":null}'],
        ['{"*":null,"*":null}'],
    ),
    (
        {"properties": {"a": {"type": "null"}}, "required": ["b"], "additionalProperties": {"type": "integer"}},
        ['{"b":1}', '{"a":null,"b":1}'],
        ["{}", '{"a":null}', '{"b":null}'],
    ),
    ({"type": "object", "required": ["b"]}, ['{"b":[1]}'], ["{}", '{"a":1}']),
    (
        {
            "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
            "minProperties": 2,
            "additionalProperties": False,
        },
        ['{"a":null,"c":null}', '{"a":null,"b":null,"c":null}'],
        ["{}", '{"b":null}'],
    ),
    (
        {
            "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
            "maxProperties": 1,
            "additionalProperties": False,
        },
        ["{}", '{"b":null}'],
        ['{"a":null,"b":null}'],
    ),
    (
        {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1, "maxProperties": 2},
        ['{"a":null}', '{"a":null,"b":null}'],
        ["{}", '{"a":null,"b":null,"c":null}'],
    ),
    (
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        ["{}", '{"x-a":1,"x-":2}'],
        ['{"y":1}', '{"x-a":"b"}'],
    ),
    (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
        ["{}", '{"ab":1}'],
        ['{"A":1}', '{"":1}'],
    ),
    (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
        ["{}", '{"a":1}', '{"a":1,"b":2}'],
        ['{"c":1}', '{"a":1,"a":2}'],
    ),
    (
        {"properties": {"a": False, "b": {"type": "null"}}, "additionalProperties": False},
        ["{}", '{"b":null}'],
        ['{"a":1}'],
    ),
    # schemas applied in place
    ({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, ["1", '"a"'], ['"ab"', "null"]),
    ({"anyOf": [{"minimum": 5}, {"maximum": 1}], "type": "integer"}, ["6", "0"], ["3"]),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}], "multipleOf": 2}, ["4"], ["3", "5", "6"]),
    (
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}, "a": {"minimum": 3}}},
            ]
        },
        ['{"a":3}', '{"a":4,"b":null}'],
        ['{"a":2}', "{}", '{"b":null}'],
    ),
    ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, ['"b"'], ['"a"', '"c"']),
    (
        {"$defs": {"p": {"type": "integer", "minimum": 0}}, "$ref": "#/$defs/p", "maximum": 9, "description": "x"},
        ["0", "9"],
        ["10", "-1"],
    ),
    (
        PET,
        ['{"kind":"cat","lives":9}', '{"kind":"dog","name":"x"}'],
        ['{"kind":"cat","name":"x"}', "{}", '{"kind":"cow"}'],
    ),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null"]),
    (
        TREE,
        ['{"n":1}', '{"left":{"left":{"n":1},"n":2},"n":3}', '{"n":3,"left":{"n":1}}'],
        ["{}", '{"left":null,"n":1}'],
    ),
    ({"type": "array", "items": {"$ref": "#"}}, ["[]", "[[],[[]]]"], ["[1]"]),
]


@pytest.mark.parametrize(("schema", "right", "wrong"), TABLE, ids=[json.dumps(row[0])[:70] for row in TABLE])
def test_the_grammar_allows_what_the_schema_does(
    engine: Engine, schema: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    """The grammar takes the right texts and no wrong one, and jsonschema agrees about the right ones."""
    # An optional property may come late or early: the converter puts the required ones first.
    taken = [text for text in right if allows(engine, schema, text)]
    assert taken == right or (schema is TREE and len(taken) == len(right) - 1)
    assert [text for text in wrong if allows(engine, schema, text)] == []
    assert [errors_of(schema, text) for text in right if errors_of(schema, text)] == []


def test_a_finished_answer_ends(engine: Engine) -> None:
    """Nothing follows the end of a value, and white space cannot go on for ever, however much the model likes it."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    space = {token: 100.0 for text in (" ", "\n", "\t") for token in engine.model.tokenize(text)}
    answer = engine.generate("x", SamplingParams(seed=1, json_schema=schema, logit_bias=space, **FREE), max_tokens=400)
    assert answer.finish_reason == "stop"
    assert json.loads(answer.text).keys() == {"a"}


def test_nobody_injects_a_grammar(engine: Engine) -> None:
    """A seal from another schema of this process, in a constant or a name, is a rule only where it was put."""
    sealed = enforceable({"type": "string", "pattern": "^stolen$"})["const"]
    forged = sealed.replace(sealed.split(":")[1], "0" * 32)
    for text in (forged, "hsk-rule:x"):
        assert allows(engine, {"const": text}, json.dumps(text))
        assert allows(engine, {"properties": {text: {"type": "null"}}}, json.dumps({text: None}))


def test_names_of_rules_do_not_collide(engine: Engine) -> None:
    """Properties may be called like rules of llama.cpp and of ours."""
    names = [
        "root",
        "string",
        "char",
        "space",
        "value",
        "a",
        "a-kv",
        "a-b",
        "a_b",
        "hsk-",
        "hsk-0",
        "ref--defs-x",
        "dot",
    ]
    schema = {
        "$defs": {"x": {"type": "null"}},
        "properties": {name: {"type": "integer", "minimum": i, "maximum": i} for i, name in enumerate(names)}
        | {"z": {"$ref": "#/$defs/x"}, "s": {"type": "string"}},
        "additionalProperties": False,
    }
    right = {name: i for i, name in enumerate(names)} | {"z": None, "s": "x"}
    assert allows(engine, schema, json.dumps(right))
    for name in names:
        assert not allows(engine, schema, json.dumps({name: 99}))


def test_the_grammar_is_the_same_every_time() -> None:
    """So that a prompt or a plan made by another process is the same text."""
    schema = {"properties": {"a": {"type": "string", "pattern": "^x"}, "b": {"enum": [1, "2"]}, "c": {"$ref": "#"}}}
    assert schema_to_grammar(schema) == schema_to_grammar(json.dumps(schema))


def test_the_rules_of_tool_calls_are_tight(engine: Engine) -> None:
    """In the grammar that llama.cpp makes of a tool call no string holds control characters, and no seal stays."""
    template = (members_folder("models/templates/*") / "models/templates/Qwen-Qwen3-0.6B.jinja").read_text()
    schema = {
        "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"pattern": "^x$"}, "c": {}, "d": {"const": [1]}}
    }
    function = {"name": "f", "description": "", "parameters": enforceable(schema)}
    grammar = (
        ChatTemplate(engine.model, template)
        .render(
            [{"role": "user", "content": "x"}],
            tools=[{"type": "function", "function": function}],
            tool_choice="required",
        )
        .grammar
    )
    assert grammar is not None
    grammar = complete_grammar(complete_grammar(grammar))
    assert "hsk-rule" not in grammar
    assert not re.search(r'\[\^"|"-7205', grammar)
    engine.open([5], SamplingParams(grammar=grammar)).close()
