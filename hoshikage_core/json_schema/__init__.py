"""JSON schemas as grammars that hold to them in full.

llama.cpp converts a schema to a grammar, but leaves out what it does not know and gets some of the rest wrong. So a
schema is gathered here into shapes (``gather``), their rules are written here (``emit``), and llama.cpp gets a schema
that carries them (``carrier``, ``seal``), because its code for tool calls wants a schema to look into.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hoshikage_core.errors import JsonSchemaError, Reason
from hoshikage_core.json_schema.automaton import WORK_MAX, TooManyStatesError, metered, spend
from hoshikage_core.json_schema.carrier import Carrier
from hoshikage_core.json_schema.document import Document
from hoshikage_core.json_schema.emit import Emitter
from hoshikage_core.json_schema.finite import Finite
from hoshikage_core.json_schema.gather import Gatherer
from hoshikage_core.json_schema.seal import complete_grammar
from hoshikage_core.json_schema.shapes import Literals, Object

__all__ = ["TOOLS_WORK_MAX", "complete_grammar", "enforceable", "metered", "texts_of"]

TOOLS_WORK_MAX = 4 * WORK_MAX
"""Of all the schemas of one request; to be given to ``metered``."""


def enforceable(schema: Mapping[str, Any] | bool, *, strict: bool = True) -> dict[str, Any]:
    """A schema that llama.cpp makes a grammar of which, once completed, allows only what the given one does.

    It is for llama.cpp's eyes: show models and people the original. The grammar allows less than the schema in places
    where nothing is lost: one spelling for a character of a pattern, no properties that nobody mentioned.

    Args:
        schema: The schema; see docs/structured-output.md for the keywords.
        strict: Refuse what cannot be enforced. Otherwise it is left out, and what is malformed still refused.

    Raises:
        JsonSchemaError: The schema is malformed, contradicts itself, is too large, or cannot be enforced.
    """
    try:
        with metered() as meter:
            made = _enforceable(schema, strict)
        spend(meter.n_nodes)
    except TooManyStatesError:
        raise JsonSchemaError("#", "", Reason("schema_too_large", "is too large")) from None
    return made


def texts_of(schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """By name, the texts that those of an object's properties may be that are one of a few texts.

    Raises:
        JsonSchemaError: As ``enforceable`` does.
    """
    document = Document(schema, is_strict=False)
    gatherer = Gatherer(document)
    found: dict[str, list[str]] = {}
    for shape in gatherer.shapes(gatherer.place(document.root)):
        for member in shape.members if isinstance(shape, Object) else ():
            values: list[Any] = []
            for option in gatherer.shapes(member.place):
                values += option.values if isinstance(option, Literals) else [None]
            if values and all(isinstance(value, str) for value in values):
                found[member.name] = values
    return found


def _enforceable(schema: Mapping[str, Any] | bool, is_strict: bool) -> dict[str, Any]:
    document = Document(schema, is_strict=is_strict)
    gatherer = Gatherer(document)
    root = gatherer.place(document.root)
    finite = Finite(gatherer, root)
    if not finite.place(root):
        reason = Reason("endless", "has no value that ends: something required holds itself")
        raise document.malformed(document.root, "", reason)
    return Carrier(gatherer, finite, Emitter(gatherer, finite)).place(root)
