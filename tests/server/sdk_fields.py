"""The fields of openai-python's types, as paths: `messages[].content[].text`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, ForwardRef, Union, get_args, get_origin

import pydantic
import typing_extensions

_WRAPPERS = (
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.Annotated,
    typing_extensions.ReadOnly,
)
_MAX_DEPTH = 7  # some types hold themselves


def fields_of(kind: Any, leaves: Iterable[str] = (), path: str = "") -> Iterator[str]:
    """Every field of a type and of the types of its fields, a parent before its children.

    Args:
        kind: A TypedDict, a pydantic model, or what holds such.
        leaves: Fields whose own fields do not matter.
        path: Where the type stands.
    """
    seen: set[str] = set()
    for name in _walk(kind, frozenset(leaves), path, _MAX_DEPTH):
        if name not in seen:
            seen.add(name)
            yield name


def _walk(kind: Any, leaves: frozenset[str], path: str, depth: int) -> Iterator[str]:
    if path in leaves or depth == 0:
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in _WRAPPERS:
        yield from _walk(arguments[0], leaves, path, depth)
    elif origin in (Union, types.UnionType):
        for inner in arguments:
            yield from _walk(inner, leaves, path, depth)
    elif typing_extensions.is_typeddict(kind):
        for name, inner in typing_extensions.get_type_hints(kind, include_extras=True).items():
            yield from _field(name, inner, leaves, path, depth)
    elif isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        for name, field in kind.model_fields.items():
            yield from _field(field.alias or name, field.annotation, leaves, path, depth)
    elif isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, dict) and arguments:
        yield from _walk(arguments[0], leaves, f"{path}[]", depth)
    elif isinstance(kind, (ForwardRef, typing.TypeVar)):
        raise TypeError(f"{path}: {kind} is not resolved")


def _field(name: str, kind: Any, leaves: frozenset[str], path: str, depth: int) -> Iterator[str]:
    own = f"{path}.{name}".lstrip(".")
    yield own
    yield from _walk(kind, leaves, own, depth - 1)
