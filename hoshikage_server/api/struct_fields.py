"""Which fields of a struct are always encoded: for msgspec's schemas only those without a default are required."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect


def always_there(told: Iterable[Any], given: Iterable[Any]) -> dict[str, list[str]]:
    """The encoded names of those fields, by the names of the structs within what is told.

    Args:
        told: Types that are encoded.
        given: Types that are decoded; a struct within them too is left out, as its defaults may be missing.
    """
    skipped = {struct.cls for struct in _structs(given)}
    return {
        struct.cls.__name__: [field.encode_name for field in struct.fields if _is_always(struct, field)]
        for struct in _structs(told)
        if struct.cls not in skipped
    }


def _is_always(struct: inspect.StructType, field: inspect.Field) -> bool:
    has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    if has_default and struct.cls.__struct_config__.omit_defaults:
        return False
    return field.default is not msgspec.UNSET


def _structs(types: Iterable[Any]) -> Iterator[inspect.StructType]:
    """All structs within types, each once."""
    seen: set[int] = set()
    waiting = [inspect.type_info(kind) for kind in types if kind not in (None, msgspec.Struct)]
    found: dict[type, inspect.StructType] = {}
    while waiting:
        kind: Any = waiting.pop()
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        if isinstance(kind, inspect.StructType):
            if kind.cls in found:
                continue
            found[kind.cls] = kind
            waiting += [field.type for field in kind.fields]
        for name in ("type", "types", "item_type", "item_types", "key_type", "value_type"):
            inner = getattr(kind, name, ())
            waiting += inner if isinstance(inner, tuple) else [inner]
    yield from found.values()
