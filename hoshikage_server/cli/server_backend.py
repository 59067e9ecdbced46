"""Answers of a running server, over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from urllib.parse import quote

import msgspec

from hoshikage_server.api.status_objects import StatusObject
from hoshikage_server.cli.asking import Message, OnProgress, Piece, Usage, Wishes
from hoshikage_server.cli.client import Client
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import Settings, cli_language

_LIST_S = 10.0
_SILENCE_S = 60.0  # over the server's own comments


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Persona(msgspec.Struct):
    greeting: str | dict[str, str] | None = None
    language: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int = 0


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails = msgspec.field(default_factory=_PromptDetails)
    completion_tokens_details: _CompletionDetails = msgspec.field(default_factory=_CompletionDetails)


class _Timings(msgspec.Struct):
    prompt_ms: float
    predicted_ms: float


class _Chunk(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None
    timings: _Timings | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class ServerBackend:
    """A server that is running.

    Args:
        client: How to reach it.
        settings: Ours; how long the server may be silent is taken from them.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._silence_s = _SILENCE_S + settings.ping_interval

    def models(self) -> list[str]:
        """What the server lists."""
        return [model.id for model in self._client.get("/v1/models", _Models, _LIST_S).data]

    def require_persona(self, persona: str) -> None:
        """The server has to know it."""
        self._persona(persona)

    def greeting(self, model: str) -> str | None:
        """A persona's, if it is one."""
        try:
            found = self._persona(model.rpartition("@")[2])
        except ServerError as error:
            if error.code != "server_refused":
                raise
            return None  # it is a model, or nothing at all: that is told when it is asked
        if not isinstance(found.greeting, dict):
            return found.greeting
        return found.greeting.get(found.language or "", found.greeting.get(cli_language()))

    def prepare(self, model: str, on_progress: OnProgress) -> None:
        """The server loads what it is asked for."""

    def no_gpu(self, model: str) -> str | None:
        """As the server's status says; it does not tell which model an alias or a persona stands for."""
        try:
            engines = self._client.get("/v1/status", StatusObject, _LIST_S).engines
        except ServerError:  # it is beside the matter
            return None
        owner = model.rpartition("@")[0] or model
        return next((engine.no_gpu for engine in engines if engine.model == owner), None)

    def stream(self, messages: list[Message], wishes: Wishes) -> Generator[Piece]:
        """The answer as the server streams it."""
        finish_reason, timings, usage = None, None, None
        with closing(self._client.stream("/v1/chat/completions", wishes.body(messages), self._silence_s)) as events:
            for event in events:
                chunk = self._read(event)
                timings, usage = chunk.timings or timings, chunk.usage or usage
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    delta = choice.delta
                    if delta.content or delta.reasoning_content:
                        yield Piece(delta.content or "", delta.reasoning_content or "")
        if finish_reason is None:
            raise ServerError("answer_broke_off", url=self._client.url)
        yield Piece(finish_reason=finish_reason, usage=None if usage is None else _usage(usage, timings))

    def close(self) -> None:
        """Nothing is held between two answers."""

    def _persona(self, persona: str) -> _Persona:
        path = f"/v1/personas/{quote(persona, safe='', errors='surrogateescape')}"
        return self._client.get(path, _Persona, _LIST_S)

    def _read(self, event: bytes) -> _Chunk:
        try:
            return _chunk.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ServerError("server_unknown", url=self._client.url, status=200) from None


def _usage(usage: _Usage, timings: _Timings | None) -> Usage:
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens_details.reasoning_tokens,
        None if timings is None else timings.prompt_ms,
        None if timings is None else timings.predicted_ms,
    )
