"""Reading a request, and of its lists the objects that say by `type` what they are.

Those are read one by one: OpenAI has dozens of kinds, of which few can be had here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from hoshikage_server import invalid
from hoshikage_server.api import schema
from hoshikage_server.errors import RequestError

T = TypeVar("T")

_ROLES = "'user', 'assistant', 'system', 'developer'"
_WORDS = {
    "content.type": "'input_text', 'output_text', 'refusal'",
    "output.type": "'input_text', 'output_text'",
    "summary.type": "'summary_text'",
    "role": _ROLES,
    "language": "'ja', 'en', 'auto'",
    "status": "'in_progress', 'completed', 'incomplete'",
    "format.type": "'text', 'grammar'",
    "format.syntax": "'lark', 'regex'",
    "text.format": "'text', 'json_object', 'json_schema'",
    "text.format.type": "'text', 'json_object', 'json_schema'",
    "text.verbosity": "'low', 'medium', 'high'",
    "reasoning.effort": "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'",
    "reasoning.summary": "'auto', 'concise', 'detailed'",
    "reasoning.generate_summary": "'auto', 'concise', 'detailed'",
    "truncation": "'auto', 'disabled'",
    "tool_choice": "'none', 'auto', 'required'",
    "tool_choice.type": "'function', 'custom', 'allowed_tools'",
    "tool_choice.mode": "'auto', 'required'",
    "tools.type": "'function', 'custom'",
    "service_tier": "'auto', 'default', 'flex', 'scale', 'priority', 'fast', 'ultrafast'",
}


class Kind(msgspec.Struct, frozen=True):
    """What an object is: by its type, or by what else it has."""

    type: Any = None
    role: Any = None
    id: Any = None


_kind = msgspec.json.Decoder(Kind)


def decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, path: str = "") -> T:
    """Reads a body, or an object of it.

    Args:
        decoder: Its reader.
        data: Its JSON.
        path: Where in the body it stands.

    Raises:
        RequestError: It is no JSON, or a field of it cannot be; `param` names the field.
    """
    try:
        return schema.decode(decoder, bytes(data), _WORDS)
    except RequestError as error:
        if error.code != "invalid_json":
            error.param = ".".join(filter(None, (path, error.param))) or None
        raise


def kind_of(raw: msgspec.Raw, path: str) -> Kind:
    """What an object says that it is.

    Raises:
        RequestError: It is no object.
    """
    return decode(_kind, raw, path)


def unknown(kind: Any, path: str, known: Collection[str], elsewhere: Collection[str]) -> RequestError:
    """Why an object of this type is refused.

    Args:
        kind: Its type.
        path: Where in the body it stands.
        known: The types that can be had here.
        elsewhere: Those that OpenAI has besides.
    """
    if kind is None:
        return RequestError("missing_required_parameter", param=f"{path}.type")
    code = "unsupported_value" if isinstance(kind, str) and kind in elsewhere else "invalid_value"
    supported = ", ".join(f"'{name}'" for name in known)
    return RequestError(code, param=f"{path}.type", got=invalid.show(kind), supported=supported)
