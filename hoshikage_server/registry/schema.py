"""The JSON Schema of model_map.json, made from `Entry`: for editors, which complete and check by it while one types.

    {"$schema": "./model_map.schema.json", "qwen": {"path": ...}}

It says all but two things: that no two models may have the same name, and that 8.0 is no integer.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.registry.entry import Embedding, Entry, Lora
from hoshikage_server.registry.raw_map import SCHEMA_KEY

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_STRUCTS = (Entry, Sampling, Embedding, Lora)
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)$", re.MULTILINE)


def json_schema() -> dict[str, Any]:
    """The schema as plain values."""
    _, definitions = msgspec.json.schema_components([Entry], ref_template="#/$defs/{name}")
    for struct in _STRUCTS:
        _describe(definitions[struct.__name__], struct)
    for kind in definitions["Sampling"]["properties"]["logit_bias"]["anyOf"]:
        if kind["type"] == "object":  # keys that are numbers are text in JSON, of which msgspec says nothing
            kind["propertyNames"] = {"pattern": "^(0|[1-9][0-9]{0,9})$"}
    return {
        "$schema": DIALECT,
        "title": "model_map.json",
        "description": "The models that Hoshikage serves, by their names.",
        "type": "object",
        "properties": {
            SCHEMA_KEY: {
                "description": "Where this schema is, for editors.",
                "anyOf": [{"type": "string"}, {"$ref": "#/$defs/Entry"}],
            }
        },
        "additionalProperties": {"$ref": "#/$defs/Entry"},
        "$defs": definitions,
    }


def _describe(definition: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    """Moves what the docstring says of each attribute to where an editor shows it."""
    text = inspect.getdoc(struct) or ""
    definition["description"] = text.partition("\n\nAttributes:")[0]
    definition["additionalProperties"] = True  # keys of people and of later versions
    for name, words in _ATTRIBUTE.findall(text):
        if name in definition["properties"]:
            definition["properties"][name]["description"] = re.sub(r"\s+", " ", words)
