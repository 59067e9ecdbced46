"""The bodies of requests that register or change a model: an entry's keys, and where its file is.

Each key is checked as in the file. What is not known, or not used yet, is refused: nothing is taken and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import msgspec

from hoshikage_server.api.schema import decode
from hoshikage_server.engines.sampling import Sampling, Text
from hoshikage_server.errors import RequestError
from hoshikage_server.registry.entries import WORDS
from hoshikage_server.registry.entry import UNUSED, Embedding, Entry, Lora

_KEYS = [
    (field.name, Optional[field.type], None)  # noqa: UP045  # a type that is known at run time only
    for field in msgspec.structs.fields(Entry)
    if field.name not in ("path", "model")
]
_NESTED: dict[str, type[msgspec.Struct]] = {"sampling": Sampling, "embedding": Embedding, "lora": Lora}

NewModel = msgspec.defstruct(
    "NewModel",
    [("id", Text), ("path", Text), *_KEYS],
    frozen=True,
    module=__name__,
    namespace={"__doc__": "A model to be registered: its name, its file in a models folder, and its settings."},
)
ChangedModel = msgspec.defstruct(
    "ChangedModel",
    [("path", Text | msgspec.UnsetType, msgspec.UNSET), *_KEYS],
    frozen=True,
    module=__name__,
    namespace={"__doc__": "A JSON merge patch (RFC 7396) of a model's settings: null takes one away."},
)


class NamedModel(msgspec.Struct, frozen=True):
    """A model to be registered, as older versions take it."""

    name: Text
    path: Text
    stop: tuple[Text, ...] | None = None


class Registration(NamedTuple):
    """What a body says.

    Attributes:
        id: The model's name; empty where the URL has it.
        path: Its file.
        keys: What its entry shall say, as raw JSON.
        lora: The adapters among that.
        chat_template: The chat template among that.
        draft_model: The draft model among that.
    """

    id: str
    path: str | None
    keys: dict[str, Any]
    lora: tuple[Lora, ...] = ()
    chat_template: str | None = None
    draft_model: str | None = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_new = msgspec.json.Decoder(NewModel)
_changed = msgspec.json.Decoder(ChangedModel)
_named = msgspec.json.Decoder(NamedModel)


def decode_new(body: bytes) -> Registration:
    """Reads what POST /v1/models takes.

    Raises:
        RequestError: It is no JSON, or a key of it cannot be; `param` names the key.
    """
    return _registration(decode(_new, body, WORDS), body)


def decode_changed(body: bytes) -> Registration:
    """Reads what PATCH /v1/models/{id} takes.

    Raises:
        RequestError: As `decode_new`.
    """
    return _registration(decode(_changed, body, WORDS), body)


def decode_named(body: bytes) -> Registration:
    """Reads what POST /admin/models takes.

    Raises:
        RequestError: As `decode_new`.
    """
    asked = decode(_named, body, WORDS)
    _check_known(_members.decode(body), NamedModel)
    return Registration(asked.name, asked.path, {} if asked.stop is None else {"stop": asked.stop})


def _registration(asked: Any, body: bytes) -> Registration:
    keys: dict[str, Any] = _members.decode(body)
    _check_known(keys, type(asked))
    for name, kind in _NESTED.items():
        if getattr(asked, name) is None:
            continue
        if name == "lora":
            for index, item in enumerate(_items.decode(keys[name])):
                _check_known(item, kind, f"{name}[{index}].")
        else:
            _check_known(_members.decode(keys[name]), kind, f"{name}.")
    # Other machines get weights, and read along: who may name them is who can write the file.
    for name in (*UNUSED, "rpc_servers"):
        if getattr(asked, name) is not None:
            raise RequestError("unsupported_parameter", param=name)
    path = None if asked.path is msgspec.UNSET else asked.path
    keys = {key: value for key, value in keys.items() if key not in ("id", "path")}
    return Registration(getattr(asked, "id", ""), path, keys, asked.lora or (), asked.chat_template, asked.draft_model)


def _check_known(keys: Mapping[str, object], kind: type[msgspec.Struct], within: str = "") -> None:
    for key in keys:
        if key not in kind.__struct_fields__:
            raise RequestError("unsupported_parameter", param=f"{within}{key}"[:100])
