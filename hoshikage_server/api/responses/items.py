"""The input of a request: text or items, read into the objects that responses consist of."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, NamedTuple

import msgspec

from hoshikage_server import invalid
from hoshikage_server.api.responses import tagged
from hoshikage_server.api.responses.objects import (
    CustomCall,
    CustomOutput,
    FunctionCall,
    FunctionOutput,
    InputText,
    Item,
    ItemStatus,
    Message,
    MoreTools,
    OutputText,
    Reasoning,
    Refusal,
    Role,
    SearchCall,
    SearchOutput,
    new_id,
)
from hoshikage_server.errors import RequestError

# Of what OpenAI's own tools did, and of what only its servers can do.
_ELSEWHERE = frozenset(
    """
    apply_patch_call apply_patch_call_output code_interpreter_call compaction compaction_trigger
    computer_call computer_call_output configuration_update file_search_call image_generation_call local_shell_call
    local_shell_call_output mcp_approval_request mcp_approval_response mcp_call mcp_list_tools program program_output
    shell_call shell_call_output web_search_call
    """.split()  # noqa: SIM905
)
KEPT = ""  # the path of items that the request does not hold itself
_MARK = b"hoshikage:"


class Placed(NamedTuple):
    """An item, and where in the request it stands."""

    item: Item
    path: str


class _Part(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of the parts a message's content may have."""


class _InputText(_Part, frozen=True, tag="input_text"):
    text: str


class _OutputText(_Part, frozen=True, tag="output_text"):
    text: str


class _Refusal(_Part, frozen=True, tag="refusal"):
    refusal: str


class _Image(_Part, frozen=True, tag="input_image"):
    """Known to OpenAI, refused here."""


class _File(_Part, frozen=True, tag="input_file"):
    """Known to OpenAI, refused here."""


class _Audio(_Part, frozen=True, tag="input_audio"):
    """Known to OpenAI, refused here."""


_Media = _Image | _File | _Audio
_Parts = tuple[_InputText | _OutputText | _Refusal | _Media, ...]


class _Message(msgspec.Struct, frozen=True):
    role: Role
    content: str | _Parts
    id: str | None = None
    status: ItemStatus | None = None


class _Output(msgspec.Struct, frozen=True):
    call_id: str
    output: str | tuple[_InputText | _OutputText | _Media, ...]
    id: str | None = None
    status: ItemStatus | None = None


class _Reference(msgspec.Struct, frozen=True):
    id: str


_message = msgspec.json.Decoder(_Message)
_output = msgspec.json.Decoder(_Output)
_reference = msgspec.json.Decoder(_Reference)
_function_call = msgspec.json.Decoder(FunctionCall)
_custom_call = msgspec.json.Decoder(CustomCall)
_search_call = msgspec.json.Decoder(SearchCall)
_reasoning = msgspec.json.Decoder(Reasoning)

Lookup = Callable[[str], Item | None]


def read_input(given: str | Sequence[msgspec.Raw], find_item: Lookup) -> list[Placed]:
    """The items of a request; each has an id and a status.

    Args:
        given: The request's input.
        find_item: Finds a kept item by its id.

    Raises:
        RequestError: One of them cannot be; `param` names it (`input[3].content`).
    """
    if isinstance(given, str):
        content = (InputText(given),)
        return [Placed(Message(id=new_id("msg"), status="completed", role="user", content=content), "input")]
    return [Placed(_read(raw, f"input[{i}]", find_item), f"input[{i}]") for i, raw in enumerate(given)]


def seal(reasoning: str) -> str:
    """Reasoning as `encrypted_content`, which a client sends back as it is. It is in plain sight beside it anyway."""
    return base64.b64encode(_MARK + reasoning.encode("utf-8", "replace")).decode()


def unseal(sealed: str) -> str | None:
    """The reasoning; None where another server has sealed it."""
    try:
        data = base64.b64decode(sealed, validate=True)
        return data[len(_MARK) :].decode() if data.startswith(_MARK) else None
    except (binascii.Error, ValueError):
        return None


def _read(raw: msgspec.Raw, path: str, find_item: Lookup) -> Item:
    kind = tagged.kind_of(raw, path)
    name = kind.type
    if name is None:  # as in OpenAI's shortest forms
        name = "message" if kind.role is not None else "item_reference" if kind.id is not None else None
    reader = _READERS.get(name) if isinstance(name, str) else None
    if name == "item_reference":
        return _find(tagged.decode(_reference, raw, path).id, path, find_item)
    if reader is None:
        raise tagged.unknown(name, path, [*_READERS, "item_reference"], _ELSEWHERE)
    prefix, read = reader
    item = read(raw, path)
    if isinstance(item, (FunctionCall, CustomCall)) and item.namespace is None:  # as the SDK's model_dump() writes it
        item = msgspec.structs.replace(item, namespace=msgspec.UNSET)
    return msgspec.structs.replace(item, id=item.id or new_id(prefix), status=item.status or "completed")


def _find(item_id: str, path: str, find_item: Lookup) -> Item:
    item = find_item(item_id)
    if item is None:
        raise RequestError("item_not_found", param=f"{path}.id", item=item_id)
    return item


def _read_message(raw: msgspec.Raw, path: str) -> Message:
    given = tagged.decode(_message, raw, path)
    parts = (_InputText(given.content),) if isinstance(given.content, str) else given.content
    make, refused = (OutputText, _Media) if given.role == "assistant" else (InputText, _Media | _Refusal)
    _refuse_parts(parts, refused, f"{path}.content")
    content = tuple(
        Refusal(part.refusal) if isinstance(part, _Refusal) else make(part.text)
        for part in parts
        if isinstance(part, (_InputText, _OutputText, _Refusal))
    )
    return Message(id=given.id, status=given.status, role=given.role, content=content)


def _read_output(kind: type[FunctionOutput] | type[CustomOutput]) -> Callable[[msgspec.Raw, str], Item]:
    def read(raw: msgspec.Raw, path: str) -> Item:
        given = tagged.decode(_output, raw, path)
        output: Any = given.output
        if not isinstance(given.output, str):
            _refuse_parts(given.output, _Media, f"{path}.output")
            output = tuple(InputText(part.text) for part in given.output if isinstance(part, (_InputText, _OutputText)))
        return kind(id=given.id, status=given.status, call_id=given.call_id, output=output)

    return read


def _read_reasoning(raw: msgspec.Raw, path: str) -> Reasoning:
    item = tagged.decode(_reasoning, raw, path)
    sealed = item.encrypted_content
    if isinstance(sealed, str) and not item.content and unseal(sealed) is None:
        raise RequestError("invalid_encrypted_content", param=f"{path}.encrypted_content")
    return item


def _refuse_parts(parts: Sequence[_Part], refused: UnionType, path: str) -> None:
    for index, part in enumerate(parts):
        if isinstance(part, refused):
            tag = part.__struct_config__.tag
            elsewhere = (str(tag),) if isinstance(part, _Media) else ()
            raise tagged.unknown(tag, f"{path}[{index}]", ("input_text", "output_text"), elsewhere)


def _read_tools(reader: msgspec.json.Decoder[Any]) -> Callable[[msgspec.Raw, str], Item]:
    def read(raw: msgspec.Raw, path: str) -> Item:
        item = tagged.decode(reader, raw, path)
        if isinstance(item, MoreTools) and item.role != "developer":  # as with OpenAI
            raise RequestError(
                "invalid_value", param=f"{path}.role", got=invalid.show(item.role), supported="'developer'"
            )
        # An item may be kept; what was read is a part of the whole body.
        kept: Item = msgspec.structs.replace(item, tools=tuple(tool.copy() for tool in item.tools))
        return kept

    return read


_READERS: dict[str, tuple[str, Callable[[msgspec.Raw, str], Item]]] = {
    "message": ("msg", _read_message),
    "function_call": ("fc", lambda raw, path: tagged.decode(_function_call, raw, path)),
    "function_call_output": ("fco", _read_output(FunctionOutput)),
    "custom_tool_call": ("ctc", lambda raw, path: tagged.decode(_custom_call, raw, path)),
    "custom_tool_call_output": ("ctco", _read_output(CustomOutput)),
    "reasoning": ("rs", _read_reasoning),
    "tool_search_call": ("tsc", lambda raw, path: tagged.decode(_search_call, raw, path)),
    "tool_search_output": ("tso", _read_tools(msgspec.json.Decoder(SearchOutput))),
    "additional_tools": ("at", _read_tools(msgspec.json.Decoder(MoreTools))),
}
