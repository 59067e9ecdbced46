"""Which fields of a struct are always encoded: for msgspec's schemas only those without a default are required."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect


def always_there(told: Iterable[Any], given: Iterable[Any]) -> dict[type, list[str]]:
    """The encoded names of those fields, by the structs within what is told.

    Args:
        told: Types that are encoded.
        given: Types that are decoded; a struct within them too is left out, as what has a default may be missing.
    """
    skipped = _structs(given).keys()
    return {
        kind: [field.encode_name for field in struct.fields if _is_always(struct, field)]
        for kind, struct in _structs(told).items()
        if kind not in skipped
    }


def _is_always(struct: inspect.StructType, field: inspect.Field) -> bool:
    is_optional = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    return not (is_optional and struct.cls.__struct_config__.omit_defaults) and field.default is not msgspec.UNSET


def _structs(types: Iterable[Any]) -> dict[type, inspect.StructType]:
    found: dict[type, inspect.StructType] = {}
    waiting: list[Any] = [inspect.type_info(kind) for kind in types]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in found:
                continue
            found[kind.cls] = kind
            waiting += [field.type for field in kind.fields]
        for name in _INNER:
            inner = getattr(kind, name, ())
            waiting += inner if isinstance(inner, tuple) else [inner]
    return found


_INNER = ("type", "types", "item_type", "item_types", "key_type", "value_type")  # where msgspec.inspect keeps types
