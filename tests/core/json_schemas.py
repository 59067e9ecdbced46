"""What tests of JSON schemas share: llama.cpp's grammar engine as the judge of what a schema's grammar allows."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import jsonschema

from hoshikage_core import Engine, NativeError, SamplingParams, schema_to_grammar

FREE = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def allows(engine: Engine, schema: dict[str, Any], text: str) -> bool:
    """Whether a text, as a whole, is one that the schema's grammar allows: something must follow it and be the end."""
    grammar = re.sub(r"^root ::= (.*)$", r'root ::= (\1) "\\n.\\n"', schema_to_grammar(schema), flags=re.MULTILINE)
    with engine.open(engine.model.tokenize("x"), SamplingParams(grammar=grammar)) as sequence:
        try:
            sequence.extend(engine.model.tokenize(f"{text}\n.\n"))
        except NativeError:
            return False
    return True


def errors_of(schema: dict[str, Any], text: str) -> list[str]:
    """What is wrong with an answer, by the package jsonschema; numbers are read as they are written."""
    # re.search spells named groups in another way, and lists in "items" are of an older draft.
    exact = json.loads(json.dumps(schema).replace("(?<", "(?P<"), parse_float=Decimal)
    draft = jsonschema.Draft7Validator if isinstance(schema.get("items"), list) else jsonschema.Draft202012Validator
    validator = draft(exact, format_checker=draft.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(json.loads(text, parse_float=Decimal))]
