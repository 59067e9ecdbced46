"""What is wrong with model_map.json, for whoever edited it: the line, and what to write instead."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hoshikage_server import json_faults, json_text
from hoshikage_server.errors import ModelMapError, RequestError
from hoshikage_server.invalid import shorten
from hoshikage_server.json_text import Step
from hoshikage_server.messages import Sentence, said

_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")
_IDS_TOLD = 20


def at(path: Path, content: bytes, offset: int, what: Sentence) -> ModelMapError:
    """The error for something that begins at a byte."""
    line, column = json_text.spot(content, offset)
    reason = said("map_at", line=line, column=column, what=what)
    return ModelMapError("invalid_model_map", path=path, reason=reason, line=line, column=column)


def of_entry(path: Path, content: bytes, model_id: str, error: RequestError) -> ModelMapError:
    """The error for a value that an entry has, or lacks."""
    steps: list[Step] = [int(index) if index else key for index, key in _STEP.findall(error.param or "")]
    return member(path, content, [model_id, *steps], said("map_entry", model=model_id, what=error))


def of_ids(path: Path, content: bytes, reasons: Mapping[str, Sentence]) -> tuple[ModelMapError, ...]:
    """What is said of the first models that are left out because of their names."""
    if not reasons:
        return ()
    offsets = {one.path[0]: one.offset for one in json_text.members(content) if len(one.path) == 1}
    told = []
    for model_id, reason in itertools.islice(reasons.items(), _IDS_TOLD):
        line, column = json_text.spot(content, offsets[model_id])
        name = shorten(ascii(model_id))
        told.append(ModelMapError("map_id_refused", path=path, line=line, column=column, name=name, reason=reason))
    return tuple(told)


def member(path: Path, content: bytes, steps: Sequence[Step], what: Sentence) -> ModelMapError:
    """The error for a key or an item."""
    return at(path, content, json_text.offset_of(content, steps), what)


def syntax(path: Path, content: bytes, error: Exception) -> ModelMapError:
    """The error for a file that is no JSON object."""
    if isinstance(error, RecursionError):
        return ModelMapError("invalid_model_map", path=path, reason=said("too_many_levels"))
    if isinstance(error, msgspec.ValidationError):
        return at(path, content, len(content) - len(content.lstrip()), said("map_no_object"))
    return at(path, content, *json_faults.fault(content, error))
