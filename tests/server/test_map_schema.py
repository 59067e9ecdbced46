"""The JSON Schema of model_map.json: an editor with it and the server say the same of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import ModelMapError
from hoshikage_server.registry.entries import parse
from hoshikage_server.registry.entry import Entry
from hoshikage_server.registry.schema import json_schema

GOOD: dict[str, Any] = {"path": "/m", "model": "x.gguf"}
FULL: dict[str, Any] = {
    **GOOD,
    "stop": ["</s>"],
    "aliases": ["gpt-4o"],
    "description": "for questions",
    "n_ctx": 8192,
    "parallel": 2,
    "gpu_layers": "all",
    "tensor_split": [3, 0.5],
    "main_gpu": 0,
    "split_mode": "layer",
    "kv_type": "q8_0",
    "flash_attention": True,
    "idle_timeout": 60.5,
    "degrade": True,
    "sampling": {
        "temperature": 0.7,
        "top_k": 40,
        "logit_bias": {"5": -100},
        "dry_sequence_breakers": ["\n"],
        "mine": 1,
    },
    "chat_template": "{{ messages }}",
    "system": "You are kind.",
    "thinking": False,
    "lora": [{"path": "a.gguf", "scale": 0.5}, {"path": "b.gguf"}],
    "embedding": {"pooling": "mean"},
    "sha256": "0" * 64,
    "speculation": "ngram",
    "draft_model": "small.gguf",
    "mmproj": "eyes.gguf",
    "rpc_servers": ["10.0.0.2:50052"],
}


def is_good(entry: object) -> bool:
    """What the server says."""
    try:
        parse(json.dumps({"a": entry}).encode(), Path("/c/model_map.json"))
    except ModelMapError:
        return False
    return True


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema())


def test_it_is_a_schema_and_says_what_things_are() -> None:
    """By its dialect's own schema; each key has the words that its docstring has."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    entry = schema["$defs"]["Entry"]
    assert set(entry["properties"]) == set(Entry.__struct_fields__) == set(FULL)
    assert all(value["description"] for value in entry["properties"].values())
    assert "Attributes" not in json.dumps(schema)
    assert set(schema["$defs"]["Sampling"]["properties"]) == set(Sampling.__struct_fields__)


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"a": GOOD},
        {"a": {**GOOD, "stop": []}, "b/c:d@e": FULL},
        {"$schema": "./s.json", "a": {**GOOD, "mine": [1]}},
    ],
)
def test_good_files(validator: Draft202012Validator, file: dict[str, Any]) -> None:
    """Also with keys of people."""
    validator.validate(file)
    parse(json.dumps(file).encode(), Path("/c/model_map.json"))


@pytest.mark.parametrize("key", FULL)
@pytest.mark.parametrize(
    "value",
    [
        *(None, True, -1, 0, 1, 65, 2**31, 1.5, -0.5, 1e9 + 0.5, "", "x", "auto", "q8_0", [], [""], ["b"], [1], {}),
        *({"a": 1}, {"temperature": 3}, {"top_k": "x"}, {"pooling": "max"}, {"logit_bias": {"x": 1}}),
        *([{"path": ""}], [{"scale": 1}], [{"path": "a", "scale": -101}], "0" * 63, "g" * 64, "A" * 64),
    ],
    ids=repr,
)
def test_each_key_with_all_kinds_of_values(validator: Draft202012Validator, key: str, value: object) -> None:
    """The schema refuses what the server refuses, and nothing else."""
    entry = {**GOOD, key: value}
    assert validator.is_valid({"a": entry}) == is_good(entry)


@pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"path": "/m"}, {"model": "x"}])
def test_bad_entries(validator: Draft202012Validator, entry: object) -> None:
    """What every entry needs."""
    assert not validator.is_valid({"a": entry})
    assert not is_good(entry)
