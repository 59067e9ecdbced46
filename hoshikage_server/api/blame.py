"""Which field of a request an error of the engine's is about: the engine knows its questions, not the requests."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hoshikage_server.errors import FIELD_CODES, GRAMMAR_CODES, ServerError


def blame_field(error: ServerError, request: msgspec.Struct, fields: Mapping[str, str], bound_by: str | None) -> None:
    """Names the field in an error; leaves one alone that is about none.

    Args:
        error: The engine's.
        request: The request.
        fields: Which field it is, by the error's code or by the engine's name for it.
        bound_by: The field that the answer's grammar follows from.
    """
    if error.code in FIELD_CODES:
        told = str(error.values.get("field"))
        field = fields.get(told, told)
        error.param = field if field in request.__struct_fields__ else error.param
    elif error.code in GRAMMAR_CODES:
        error.param = bound_by
    else:
        error.param = fields.get(error.code, error.param)
