"""Which fields of a struct are always encoded: for msgspec's schemas only those without a default are required."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from msgspec import inspect


def always_there(told: Iterable[Any], given: Iterable[Any]) -> dict[type[msgspec.Struct], list[str]]:
    """The encoded names of those fields, by the structs within what is told.

    Args:
        told: Types that are encoded.
        given: Types that are decoded; a struct within them too is left out, as what has a default may be missing.
    """
    skipped = _structs(given)
    return {
        kind: [field.encode_name for field in msgspec.structs.fields(kind) if _is_always(kind, field)]
        for kind in _structs(told)
        if kind not in skipped
    }


def _is_always(kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> bool:
    can_be_left_out = kind.__struct_config__.omit_defaults and not field.required
    return not can_be_left_out and field.default is not msgspec.UNSET and msgspec.UnsetType not in get_args(field.type)


def _structs(types: Iterable[Any]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    waiting: list[Any] = [inspect.type_info(kind) for kind in types]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in found:
                continue
            found.add(kind.cls)
            waiting += [field.type for field in kind.fields]
        for name in _INNER:
            inner = getattr(kind, name, ())
            waiting += inner if isinstance(inner, tuple) else [inner]
    return found


_INNER = ("type", "types", "item_type", "item_types", "key_type", "value_type")  # where msgspec.inspect keeps types
