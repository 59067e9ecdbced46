"""A conversation as it grows: what was said, taking it back, and files of it. Pure but for the files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from hoshikage_server.cli.asking import Message
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import Sentence, said, told_by_system

_FILE_BYTES = 64 * 1024 * 1024


class _Said(msgspec.Struct, frozen=True, tag_field="role"):
    content: str


class _System(_Said, frozen=True, tag="system"):
    pass


class _User(_Said, frozen=True, tag="user"):
    pass


class _Assistant(_Said, frozen=True, tag="assistant"):
    pass


class _Saved(msgspec.Struct, frozen=True):
    """A file with a conversation: a request's `messages`, so other programs can go on with it."""

    object: Literal["hoshikage.chat"]
    messages: list[_System | _User | _Assistant]


_saved = msgspec.json.Decoder(_Saved)


class Conversation:
    """What was said so far.

    Attributes:
        system: What stands at its beginning; "" for nothing.
        said: Questions and answers in turn.
    """

    def __init__(self, system: str = "") -> None:
        self.system = system
        self.said: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        """All of it, as a request has it."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.said]

    def ask(self, text: str) -> None:
        """Adds a question."""
        self.said.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Adds what was answered. Reasoning is no part of it: models are not shown their own."""
        self.said.append({"role": "assistant", "content": text})

    def take_back(self) -> str | None:
        """Takes the last question and its answer out, and returns the question; None if there is none."""
        while self.said:
            message = self.said.pop()
            if message["role"] == "user":
                return str(message["content"])
        return None

    def clear(self) -> None:
        """Forgets all but the system's words."""
        self.said.clear()

    def save(self, file: Path) -> None:
        """Writes it to a file that only its owner reads. Another conversation's file is overwritten, nothing else is.

        Raises:
            ServerError: It cannot be written, or is something else.
        """
        try:
            if file.exists() and file.stat().st_size:
                _read(file)
            data = msgspec.json.encode({"object": "hoshikage.chat", "messages": self.messages})
            temporary = file.with_name(f".{file.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as opened:
                    opened.write(msgspec.json.format(data, indent=2) + b"\n")
                os.replace(temporary, file)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except (OSError, ValueError) as error:
            raise ServerError("chat_not_saved", path=file, reason=_reason(error)) from None

    def load(self, file: Path) -> None:
        """Goes on with a conversation out of a file.

        Raises:
            ServerError: There is none in it.
        """
        try:
            messages = _read(file)
        except (OSError, ValueError) as error:
            raise ServerError("file_unreadable", path=file, reason=_reason(error)) from None
        self.system = "\n\n".join(message.content for message in messages if isinstance(message, _System))
        self.said = [msgspec.to_builtins(message) for message in messages if not isinstance(message, _System)]


def _read(file: Path) -> list[_System | _User | _Assistant]:
    with file.open("rb") as opened:
        content = opened.read(_FILE_BYTES)
    try:
        return _saved.decode(content).messages
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ServerError("not_a_chat", path=file) from None


def _reason(error: OSError | ValueError) -> Sentence:
    return told_by_system(error) if isinstance(error, OSError) else said("path_unusable")
