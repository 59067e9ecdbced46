"""Answers of a random model to a ChatPrompt: any text that the prompt's grammar allows."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from typing import Any

from hoshikage_core import ChatPrompt, Engine, MessageDelta, MessageParser, Model, SamplingParams
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core.text import Utf8Decoder

_PLAIN = re.compile(rb"[ -~\n]+")
_SEEDS = 10
_REASONING = 4  # tokens after which reasoning is closed, which a random model never does


@dataclasses.dataclass
class Answer:
    """What a model wrote, and what became of it.

    Attributes:
        text: The text.
        message: The message at the end.
        deltas: What was told on the way.
        is_finished: Whether it ended by itself.
    """

    text: str
    message: dict[str, Any]
    deltas: list[MessageDelta]
    is_finished: bool


def answer(engine: Engine, prompt: ChatPrompt, *, seed: int = 0, temperature: float = 3.0, n_max: int = 300) -> Answer:
    """Lets the model answer under the prompt's grammar, and takes the answer apart token by token."""
    model = engine.model
    ticks = iter(range(10**9))
    parser = MessageParser(prompt, clock=lambda: float(next(ticks)))
    decoder = Utf8Decoder()
    deltas: list[MessageDelta] = []
    text, n_reasoning, is_finished = "", 0, False
    # The prompt's end is enough: what it says is nothing to a random model.
    tokens = model.tokenize(prompt.prompt, parse_special=True)[-64:] or [1]
    with engine.open(tokens, SamplingParams()) as sequence:
        sequence.sampler = _sampler(engine, prompt, seed, temperature)
        for _ in range(n_max):
            token = sequence.step()
            is_finished = model.is_end(token)
            if is_finished:
                break
            piece = decoder.decode(model.token_to_bytes(token, special=True))
            delta = parser.feed(piece)
            deltas.append(delta)
            n_reasoning += bool(delta.reasoning)
            if n_reasoning > _REASONING and delta.reasoning:
                closing = prompt.thinking_end_tags[0]
                sequence.extend(model.tokenize(closing))
                deltas.append(parser.feed(closing))
                piece += closing
                n_reasoning = 0
            text += piece
    deltas += [parser.feed(decoder.flush()), parser.finish()]
    return Answer(text, parser.message, deltas, is_finished)


def finished_answer(engine: Engine, prompt: ChatPrompt, **options: Any) -> Answer:
    """An answer that ended by itself: where a model may reason again and again, another seed is tried."""
    found = answer(engine, prompt, **options)
    for seed in range(100, 100 + _SEEDS):
        if found.is_finished or not prompt.supports_thinking:
            break
        found = answer(engine, prompt, seed=seed)
    assert found.is_finished, found.text
    return found


def assembled(deltas: list[MessageDelta]) -> dict[str, Any]:
    """The message that a client puts together from what it is told."""
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for piece in delta.tool_calls:
            if piece.index == len(calls):
                assert piece.id is not None
                assert piece.name is not None
                function = {"name": piece.name, "arguments": ""}
                calls.append({"id": piece.id, "type": "function", "function": function})
            else:
                assert (piece.id, piece.name) == (None, None)
            calls[piece.index]["function"]["arguments"] += piece.arguments
    content = "".join(delta.content for delta in deltas)
    reasoning = "".join(delta.reasoning for delta in deltas)
    message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
    return message | ({"reasoning_content": reasoning} if reasoning else {}) | ({"tool_calls": calls} if calls else {})


@functools.cache
def _strange(model: Model) -> list[int]:
    """Special tokens, and bytes that a decoder and a grammar may see differently: the last to be chosen."""
    pieces = {token: model.token_to_bytes(token, special=True) for token in range(model.info.n_vocab)}
    return [token for token, piece in pieces.items() if not model.is_end(token) and not _PLAIN.fullmatch(piece)]


def _sampler(engine: Engine, prompt: ChatPrompt, seed: int, temperature: float) -> Handle:
    keys = ("grammar", "grammar_type", "grammar_lazy", "grammar_triggers", "preserved_tokens", "generation_prompt")
    values = {key: getattr(prompt, key) for key in keys}
    strange = _strange(engine.model)
    data = json.dumps(
        {
            **values,
            "seed": seed,
            "temperature": temperature,
            "top_k": 0,
            "logit_bias": [(token, -50.0) for token in strange],
        }
    ).encode()
    out = ffi.new("hsk_sampler **")
    with engine.model.native as model:
        call(lib.hsk_sampler_new, model, data, len(data), out)
    return Handle(out[0], lib.hsk_sampler_free, "sampler")
