"""An answer in the making, in the engine process: what its frames tell."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from build_support.source import members_folder
from hoshikage_core import Event, Model, Timings, TokenLogprobs
from hoshikage_server.engines import wire
from hoshikage_server.engines.failures import failed
from hoshikage_server.engines.running import Running
from hoshikage_server.engines.sampling import Sampling

FOLDER = members_folder("models/templates/*") / "models" / "templates"


def test_probabilities_are_of_content_only(tiny_model_path: Path) -> None:
    """Reasoning, its markers and what stands between have none: the tokens together are the content."""
    words = ["<think>", "\n", "hm", "\n", "</think>", "\n\n", "Hi", " you"]
    with Model(tiny_model_path) as model:
        template = model.chat((FOLDER / "Qwen-Qwen3-0.6B.jinja").read_text(encoding="utf-8"))
        shape = template.render([{"role": "user", "content": "x"}])
    fake = SimpleNamespace(token_to_bytes=lambda token, *, special=False: words[token].encode())
    events: list[Event] = []
    generation: Any = SimpleNamespace(
        choice=0, n_completion=0, n_prompt=1, n_prompt_computed=1, n_reasoning=0, n_cached=0, n_drafted=0, n_accepted=0,
        text_so_far="",
        shape=shape,
        timings=Timings(0, 0), failure=None, take=lambda: [events.pop()] if events else [],
        sequence=SimpleNamespace(engine=SimpleNamespace(model=fake, kept_bytes=0)),
    )  # fmt: skip
    running = Running(generation, wire.Generate(1, [], Sampling(), n_top_logprobs=0))
    content, told = "", b""
    for token, word in enumerate(words):
        is_last = token == len(words) - 1
        events.append(Event(word, (token,), "stop" if is_last else None, 0, (TokenLogprobs(token, -1.0, ()),)))
        for frame in running.frames():
            assert isinstance(frame, (wire.Token, wire.Done))
            content += frame.text
            told += b"".join(entry.chosen.text for entry in frame.logprobs)
    assert content == told.decode() == "Hi you"


def test_what_nobody_foresaw_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """One request fails; the log has the way it took, and nothing that somebody may have written."""
    try:
        json.loads("secret")
    except ValueError as error:
        frame = failed(7, error)
    assert (frame.id, frame.code, frame.message) == (7, "internal_error", "JSONDecodeError")
    assert "JSONDecodeError" in caplog.text
    assert "char 0" not in caplog.text
