"""What the value of a setting has to be, in words: made from its type, so that they cannot differ."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from hoshikage_server.messages import Said, said


def expected(field_type: Any) -> Said:
    """What a value of a field may be."""
    info = inspect.type_info(field_type)
    kinds = [kind for kind in (info.types if isinstance(info, inspect.UnionType) else (info,)) if not _is_none(kind)]
    words = [str(value) for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values]
    number = next((kind for kind in kinds if isinstance(kind, (inspect.IntType, inspect.FloatType))), None)
    if number is not None and words:
        return said("must_be_integer_or_word", range=_range(number), words=", ".join(words))
    if isinstance(number, inspect.IntType):
        return said("must_be_integer", range=_range(number))
    if number is not None:
        return said("must_be_number", range=_range(number))
    if words:
        return said("must_be_word", words=", ".join(words))
    if isinstance(kinds[0], inspect.BoolType):
        return said("must_be_switch")
    if isinstance(kinds[0], inspect.VarTupleType) and isinstance(kinds[0].item_type, inspect.FloatType):
        return said("must_be_numbers", range=_range(kinds[0].item_type))
    return said("must_be_text" if isinstance(kinds[0], inspect.StrType) else "must_be_texts")


def _is_none(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.NoneType)


def _range(kind: inspect.IntType | inspect.FloatType) -> Said | str:
    if kind.gt is not None:
        return said("range_above", low=_shown(kind.gt), high=_shown(kind.le))
    if kind.ge is not None and kind.le is not None:
        return said("range_within", low=_shown(kind.ge), high=_shown(kind.le))
    return "" if kind.ge is None else said("range_from", low=_shown(kind.ge))


def _shown(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.15g}"
