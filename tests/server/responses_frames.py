"""Answers as an engine's frames, and the events made of them as OpenAI's SDK reads them."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from openai._models import construct_type_unchecked
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from hoshikage_server.api.responses.events import ResponseEvents, complete
from hoshikage_server.api.responses.objects import ReasoningObject, Response, TextObject
from hoshikage_server.api.responses.output import Output
from hoshikage_server.api.responses.schema import PlainFormat
from hoshikage_server.api.responses.tools import SEARCH, Called
from hoshikage_server.engines.wire import Done, Logprob, Token, TokenProb, ToolDelta

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALLED = {
    "patch": Called("patch", kind="custom"),
    "mcp__files__read": Called("read", "mcp__files"),
    "tool_search": SEARCH,
}


def begun(**fields: Any) -> Response:
    return Response(
        **{"id": "resp_1", "created_at": 1, "model": "m", "metadata": {}, **fields},
        reasoning=ReasoningObject(),
        text=TextObject(PlainFormat()),
    )


def output(*, seals_reasoning: bool = False) -> Output:
    return Output(lambda name: CALLED.get(name, Called(name)), seals_reasoning=seals_reasoning)


def token(text: str = "", **fields: Any) -> Token:
    return Token(1, text, **fields)


def done(finish_reason: str = "stop", text: str = "", **fields: Any) -> Done:
    return Done(1, finish_reason, 7, 5, text, n_reasoning=2, n_cached=3, **fields)


def call(index: int, name: str | None = None, arguments: str = "") -> ToolDelta:
    return ToolDelta(index, None if name is None else f"call_{index}", name, arguments)


def logprob(text: bytes) -> Logprob:
    return Logprob(TokenProb(1, text, -0.5), (TokenProb(1, text, -0.5), TokenProb(2, b"\xe3", -float("inf"))))


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream; each has its type as its name too."""
    text = data.decode()
    assert text.endswith("\n\n")
    events = []
    for block in text[:-2].split("\n\n"):
        name, body = block.split("\n")
        event = json.loads(body.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def streamed(frames: Sequence[Token | Done], **options: Any) -> list[dict[str, Any]]:
    made = ResponseEvents(begun(), output(**options), lambda response: None)
    return events_of(made.opening() + b"".join(map(made.piece, frames)))


class Whole:
    """An answer that is there already."""

    fingerprint = ""

    def __init__(self, frames: Sequence[Token | Done]) -> None:
        self._frames = iter(frames)

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        return True

    def next_frame(self, timeout_s: float | None) -> Token | Done | None:
        return next(self._frames)

    def next_frame_nowait(self) -> Token | Done | None:
        return next(self._frames, None)


def plain(frames: Sequence[Token | Done], **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(complete(Whole(frames), begun(), output(**options), lambda response: None))
    return body


def accumulated(events: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """What the SDK's streaming helper makes of events: what it added up itself, and the final response."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    types: Any = typing.get_args(ResponseStreamEvent)[0]
    for event in events:
        state.handle_event(construct_type_unchecked(value=event, type_=types))
    return state._ResponseStreamState__current_snapshot, state._completed_response


texts = st.text(min_size=1, max_size=6)


@st.composite
def answers(draw: st.DrawFn) -> list[Token | Done]:
    """Any answer: reasoning, text and calls in any order, cut anywhere."""
    frames: list[Token | Done] = []
    n_calls = 0
    for kind in draw(
        st.lists(st.sampled_from(("reasoning", "text", "function", "patch", "namespaced", "search")), max_size=5)
    ):
        if kind == "reasoning":
            frames += [token(reasoning=piece) for piece in draw(st.lists(texts, min_size=1, max_size=3))]
        elif kind == "text":
            frames += [token(piece) for piece in draw(st.lists(texts, min_size=1, max_size=3))]
        else:
            name = {"function": "f", "patch": "patch", "namespaced": "mcp__files__read", "search": "tool_search"}[kind]
            arguments = json.dumps({"input": draw(texts)}, ensure_ascii=draw(st.booleans()))
            cut = draw(st.integers(0, len(arguments)))
            frames.append(token(tool_calls=(call(n_calls, name, arguments[:cut]),)))
            frames.append(token(tool_calls=(call(n_calls, arguments=arguments[cut:]),)))
            n_calls += 1
    frames.append(done(draw(st.sampled_from(("stop", "length"))), draw(st.text(max_size=3))))
    return frames
