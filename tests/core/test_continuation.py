"""An answer that was cut off goes on in another engine as if nothing had happened.

The engines here compute one token at a time (``n_batch=1``). Otherwise the second engine would compute together what
the first one decoded one by one: that rounds differently, and near ties would be decided differently now and then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import CHATML, IM_END, TinyModel

from hoshikage_core import (
    ContextLengthError,
    Engine,
    Event,
    Generation,
    InvalidArgumentError,
    Model,
    NativeError,
    SamplingParams,
)

NewEngine = Callable[[], AbstractContextManager[Engine]]

SAMPLINGS = {
    "greedy": SamplingParams(temperature=0),
    "temperature": SamplingParams(temperature=1.5, top_k=0, top_p=1, min_p=0),
    "penalties": SamplingParams(
        temperature=0.9, repeat_last_n=8, repeat_penalty=1.4, frequency_penalty=0.6, presence_penalty=0.4
    ),
    "dry": SamplingParams(temperature=0.7, dry_multiplier=2, dry_allowed_length=1, dry_penalty_last_n=-1),
    "xtc": SamplingParams(xtc_probability=0.5, xtc_threshold=0.05),
    "grammar": SamplingParams(grammar='root ::= ([a-f] [a-f]? " "){3,12} "."'),
    "schema": SamplingParams(
        json_schema={"type": "object", "properties": {"a": {"type": "string", "maxLength": 8}}, "required": ["a"]}
    ),
}
samplings = st.builds(dataclasses.replace, st.sampled_from(list(SAMPLINGS.values())), seed=st.integers(0, 2**64 - 1))


def engines(path: Path) -> Iterator[NewEngine]:
    """Opens a model, and gives what opens engines on it."""
    with Model(path) as model:

        @contextmanager
        def new_engine(n_ctx: int = 256) -> Iterator[Engine]:
            with model.engine(n_ctx, n_batch=1) as engine:
                yield engine

        yield new_engine


@pytest.fixture(scope="module")
def tiny(tiny_model_path: Path) -> Iterator[NewEngine]:
    yield from engines(tiny_model_path)


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewEngine]:
    yield from engines(TinyModel().write_mamba(tmp_path_factory.mktemp("models") / "mamba.gguf"))


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Iterator[NewEngine]:
    yield from engines(smollm2_path)


def tokens_of(events: list[Event]) -> list[int]:
    return [token for event in events for token in event.tokens]


def go_on(engine: Engine, cut: Generation, sampling: SamplingParams, shown: list[Event], max_tokens: int) -> Generation:
    """Goes on with ``cut`` after the events that were shown, as a second process would."""
    return engine.stream(
        cut.prompt_tokens,
        dataclasses.replace(sampling, seed=cut.seed),
        max_tokens=max_tokens,
        stop=cut.stops,
        so_far=tokens_of(shown),
    )


def check_any_cut(new_engine: NewEngine, data: st.DataObject, prompts: list[str]) -> None:
    """Cuts an answer somewhere and compares what follows with what would have followed."""
    sampling, prompt = data.draw(samplings), data.draw(st.sampled_from(prompts))
    max_tokens = data.draw(st.integers(2, 24))
    with new_engine() as engine:
        with engine.stream(prompt, sampling, max_tokens=max_tokens) as free:
            text = free.result().text
        at = data.draw(st.integers(0, len(text)))
        stop = [part] if (part := text[at : at + 6]) and data.draw(st.booleans()) else []
        whole = engine.stream(prompt, sampling, max_tokens=max_tokens, stop=stop)
        events = list(whole)
    cut_at = data.draw(st.integers(0, len(events) - 1))
    with new_engine() as engine:
        rest = go_on(engine, whole, sampling, events[:cut_at], max_tokens)
        assert list(rest) == events[cut_at:]
    assert (rest.n_prompt, rest.n_completion) == (whole.n_prompt, whole.n_completion)


@given(data=st.data())
def test_any_answer_goes_on(tiny: NewEngine, data: st.DataObject) -> None:
    """Whatever the sampling, the prompt, the stop string and the place of the cut, the events that follow are equal."""
    check_any_cut(tiny, data, ["star", "a", "some more words than the others", "影"])


@settings(max_examples=50)
@given(data=st.data())
def test_any_answer_of_a_recurrent_model_goes_on(mamba: NewEngine, data: st.DataObject) -> None:
    """The same for a model whose memory is a running state."""
    check_any_cut(mamba, data, ["star", "a", "影"])


@settings(max_examples=15)
@given(data=st.data())
def test_any_answer_of_a_real_model_goes_on(smollm2: NewEngine, data: st.DataObject) -> None:
    """The same for a real model with quantised weights."""
    check_any_cut(smollm2, data, ["The lighthouse", "星影 means", "Emoji: 🌟🌙✨"])


@pytest.mark.parametrize("stop", ["", "x", "é", "éx", "€", "a€", "🌟", "bé€"])
def test_every_cut_of_characters_and_stop_strings(tiny: NewEngine, stop: str) -> None:
    """Text is neither lost nor doubled where a character or a stop string lies across the cut, to the last event."""
    script = "é€🌟abé€x€🌟é".encode()
    with tiny() as engine:
        token_of = {engine.model.token_to_bytes(token): token for token in range(engine.model.info.n_vocab)}
        tokens = [token_of[bytes([byte])] for byte in script]
        stops = [stop] if stop else []

        def play(so_far: list[int]) -> list[Event]:
            with engine.stream([5], max_tokens=len(tokens), stop=stops, so_far=so_far) as generation:
                for token in tokens[len(so_far) :]:
                    if generation.finished:
                        break
                    generation.on_token(token)
                return generation.take()

        whole = play([])
        for cut_at in range(len(whole)):
            assert play(tokens[:cut_at]) == whole[cut_at:]
        assert play(tokens) == [Event("", (), whole[-1].finish_reason)]


@pytest.mark.parametrize(
    ("arguments", "n_completion", "reason"),
    [
        ({"so_far": [5, 6, 7], "max_tokens": 3}, 3, "length"),
        ({"so_far": [5, 6, 7, 8, 9], "max_tokens": 3}, 3, "length"),
        ({"so_far": [5, 6, IM_END]}, 3, "stop"),
        ({"so_far": [5, IM_END, 6, 7]}, 2, "stop"),
        ({"so_far": [5] * 254}, 254, "length"),
        ({"so_far": [5] * 1000}, 254, "length"),
    ],
)
def test_what_is_complete_computes_nothing(
    tiny: NewEngine, arguments: dict[str, object], n_completion: int, reason: str
) -> None:
    """Tokens that reach a limit, the context's end or an end token are the whole answer: one event without text."""
    with tiny() as engine:
        before = engine.progress
        generation = engine.stream([5, 6], **arguments)  # type: ignore[arg-type]
        assert generation.finished
        assert list(generation) == [Event("", (), reason)]  # type: ignore[arg-type]
        assert (generation.n_prompt, generation.n_completion) == (2, n_completion)
        assert generation.result().text == ""
        assert engine.progress == before
        assert engine.generate([5], max_tokens=1).n_completion == 1  # the sequence is free again


def test_tokens_so_far_count(tiny: NewEngine) -> None:
    """They are part of the answer, not of the prompt, and fill the context."""
    sampling = SamplingParams(temperature=0, ignore_eos=True)
    with tiny() as engine:
        rest = engine.stream([5] * 10, sampling, so_far=[6] * 20).result()
        assert (rest.n_prompt, rest.n_completion, len(rest.tokens)) == (10, 246, 226)
        assert rest.finish_reason == "length"
        with pytest.raises(ContextLengthError):
            engine.stream([5] * 256, sampling, so_far=[6])


def test_a_conversation_goes_on(tmp_path: Path) -> None:
    """What a generation tells about itself is enough: the rendered prompt, the template's stop strings, the seed."""
    template = CHATML + "{# laguna_glm_thinking #}"  # to llama.cpp, a template with a stop string
    path = TinyModel(chat_template=template).write(tmp_path / "laguna.gguf")
    messages = [{"role": "user", "content": "star"}]
    with Model(path) as model, model.engine(256, n_batch=1) as engine:
        endless = SamplingParams(ignore_eos=True)  # of a seed that nobody knows; it must not end before the cut
        whole = engine.stream_chat(messages, endless, max_tokens=30, stop=["?!?"])
        events = list(whole)
        assert len(events) > 7
        rendered = model.chat().render(messages)
        assert whole.prompt_tokens == model.tokenize(rendered.prompt, parse_special=True)
        assert rendered.stops
        assert whole.stops == ("?!?", *rendered.stops)
        rest = go_on(engine, whole, endless, events[:7], 30)
        assert list(rest) == events[7:]


@pytest.mark.parametrize("so_far", [None, 5, "ab", [1.5], [True], [-1], [TinyModel().n_vocab], [5, 2**40]])
def test_tokens_that_cannot_be(tiny: NewEngine, so_far: object) -> None:
    """Tokens that are none are refused, and the engine is free again."""
    with tiny() as engine:
        for _ in range(2):
            with pytest.raises(InvalidArgumentError):
                engine.stream("a", so_far=so_far)  # type: ignore[arg-type]
        assert engine.generate("a", max_tokens=1).n_completion == 1


def test_tokens_the_grammar_forbids(tiny: NewEngine) -> None:
    """An answer that the grammar does not allow cannot be gone on with, and the engine is free again."""
    with tiny() as engine:
        sampling = SamplingParams(grammar='root ::= "a"+')
        for _ in range(2):
            with pytest.raises(NativeError):
                engine.stream("a", sampling, so_far=engine.model.tokenize("xyz"))
        assert not engine.generate("a", sampling, max_tokens=3).text.strip("a")
