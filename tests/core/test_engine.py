"""Generating: events, limits, several at once. Greedy choices of the tiny model have no near ties."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import TinyModel

from hoshikage_core import (
    ContextFullError,
    ContextLengthError,
    Engine,
    EngineBusyError,
    GrammarError,
    InsufficientMemoryError,
    InvalidArgumentError,
    Model,
    SamplingParams,
)

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


def test_stream_is_generate_in_pieces(engine: Engine) -> None:
    """The events of a stream add up to the whole answer; only the last one has a finish reason."""
    whole = engine.generate("star", GREEDY, max_tokens=20)
    events = list(engine.stream("star", GREEDY, max_tokens=20))
    assert "".join(event.text for event in events) == whole.text
    assert tuple(token for event in events for token in event.tokens) == whole.tokens
    assert [event.finish_reason for event in events] == [None] * 19 + ["length"]
    assert (whole.n_prompt, whole.n_completion) == (len(engine.model.tokenize("star")), 20)


def test_low_level_is_high_level_by_hand(engine: Engine) -> None:
    """Prefill, sample and step give the tokens that the loop gives."""
    whole = engine.generate("star", GREEDY, max_tokens=8)
    with engine.open(engine.model.tokenize("star"), GREEDY) as sequence:
        sequence.prefill()
        tokens = [sequence.sample(), *(sequence.step() for _ in range(7))]
    assert tuple(tokens) == whole.tokens


def test_logits_and_logprobs_agree(engine: Engine) -> None:
    """The likeliest tokens are those with the largest logits, and probabilities add up to one."""
    with engine.open([5, 6, 7]) as sequence:
        sequence.prefill()
        logits = sequence.logits()
        top = sequence.top_logprobs(len(logits))
    assert len(logits) == engine.model.info.n_vocab
    assert [entry.token for entry in top] == sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    assert sum(2.718281828459045**entry.logprob for entry in top) == pytest.approx(1, abs=1e-4)


def test_logits_are_gone_after_the_next_step(engine: Engine) -> None:
    """Asking for logits that the last step did not keep is an error, never old figures."""
    with engine.open([5, 6, 7]) as sequence:
        with pytest.raises(InvalidArgumentError, match="no logits"):
            sequence.logits()
        with pytest.raises(InvalidArgumentError, match="no logits"):
            sequence.sample()


def test_stop_string_ends_the_answer(engine: Engine) -> None:
    """A stop string, also one that begins inside a token, ends the answer and is no part of it."""
    whole = engine.generate("star", GREEDY, max_tokens=30).text
    stop = whole[10:14]
    cut = engine.generate("star", GREEDY, max_tokens=30, stop=[stop])
    assert cut.finish_reason == "stop"
    assert cut.text == whole[: whole.index(stop)]


def test_end_token_ends_the_answer(engine: Engine) -> None:
    """An end token finishes with "stop" and adds no text."""
    biased = SamplingParams(logit_bias={engine.model.info.eos: 1000.0})
    answer = engine.generate("star", biased)
    assert (answer.text, answer.finish_reason, answer.tokens) == ("", "stop", (engine.model.info.eos,))


@given(n_ctx=st.integers(2, 40), n_batch=st.integers(1, 40), max_tokens=st.none() | st.integers(1, 50))
def test_an_answer_ends_where_the_context_does(model: Model, n_ctx: int, n_batch: int, max_tokens: int | None) -> None:
    """However small the context and the batch, the answer fills what is left and ends with "length"."""
    with model.engine(n_ctx=n_ctx, n_batch=n_batch) as engine:
        answer = engine.generate([5], GREEDY, max_tokens=max_tokens)
    assert answer.n_completion == min(n_ctx - 1, max_tokens or n_ctx)
    assert answer.finish_reason == "length"


def test_prompt_that_does_not_fit(engine: Engine) -> None:
    """A prompt that leaves no room for a token is refused with both figures."""
    with pytest.raises(ContextLengthError) as caught:
        engine.stream([5] * 512)
    assert (caught.value.n_prompt, caught.value.n_ctx) == (512, 512)
    assert engine.generate([5] * 511, GREEDY).n_completion == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"prompt": []}, "tokens"),
    ],
)
def test_bad_arguments_are_named(engine: Engine, arguments: dict[str, object], field: str) -> None:
    """A bad argument is named, and the sequence it had taken is free again."""
    for _ in range(2):
        with pytest.raises(InvalidArgumentError) as caught:
            engine.stream(**{"prompt": "a", **arguments})  # type: ignore[arg-type]
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n_ctx": 0}, "n_ctx"),
        ({"n_ctx": -5}, "n_ctx"),
        ({"n_ctx": 2**40}, "n_ctx"),
        ({"n_ctx": "many"}, "n_ctx"),
        ({"parallel": 0}, "parallel"),
        ({"n_batch": 0}, "n_batch"),
        ({"n_threads": 0}, "n_threads"),
        ({"n_threads": 100000}, "n_threads"),
        ({"parallel": 2**31 - 1}, "parallel"),
        ({"parallel": 5, "n_ctx": 4}, "parallel"),
        ({"flash_attention": 2**40}, "flash_attention"),
        ({"kv_type": None}, "kv_type"),
        ({"kv_type": "f16\0"}, "kv_type"),
        ({"kv_type": "DEPRECATED"}, ""),
        ({"kv_type": "i8"}, ""),
    ],
)
def test_bad_contexts_are_refused(model: Model, arguments: dict[str, object], field: str) -> None:
    """Contexts that cannot be are refused with the name of the argument."""
    with pytest.raises(InvalidArgumentError) as caught:
        model.engine(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert next(iter(arguments)) in str(caught.value)


@pytest.mark.parametrize(("n_ctx", "parallel", "n_batch"), [(4096, 8, 4), (64, 64, 64), (4, 4, 1), (256, 256, 512)])
def test_many_sequences_fit_one_step(model: Model, n_ctx: int, parallel: int, n_batch: int) -> None:
    """However small the batch is asked for, every sequence gets its token in each step."""
    with model.engine(n_ctx=n_ctx, parallel=parallel, n_batch=n_batch) as engine:
        with pytest.raises(EngineBusyError):
            list(map(engine.stream, [[5]] * (parallel + 1)))
        started = [engine.stream([5], GREEDY, max_tokens=n_ctx // parallel) for _ in range(parallel)]
        while engine.step():
            pass
        assert len({generation.result().tokens for generation in started}) == 1


def test_a_context_too_large_for_memory(tmp_path: Path) -> None:
    """It is refused before anything is allocated, with what it would have needed."""
    path = TinyModel(n_embd=1024, n_head=16, n_head_kv=16, n_layer=4).write(tmp_path / "wide.gguf")
    with Model(path) as model, pytest.raises(InsufficientMemoryError) as caught:
        model.engine(n_ctx=2**28)
    # K and V: 2 bytes (f16) each, 1024 wide, 4 layers, 2**28 tokens.
    assert caught.value.needed_bytes >= 2 * 2 * 1024 * 4 * 2**28
    assert caught.value.free_bytes < caught.value.needed_bytes
    assert "GiB" in str(caught.value)


def test_several_at_once_are_as_alone(model: Model) -> None:
    """Answers computed together are those computed one by one."""
    prompts = ["star", "light", "a much longer prompt than the other ones have", "x"]
    with model.engine(n_ctx=512, parallel=4, n_batch=16) as engine:
        alone = [engine.generate(prompt, GREEDY, max_tokens=24).tokens for prompt in prompts]
        started = [engine.stream(prompt, GREEDY, max_tokens=24) for prompt in prompts]
        while engine.step():
            pass
        together = [generation.result().tokens for generation in started]
    assert together == alone


def test_all_sequences_in_use(model: Model) -> None:
    """One more than there are is refused; closing or dropping one makes room."""
    with model.engine(n_ctx=128, parallel=2) as engine:
        first, _second = engine.stream("a"), engine.stream("b")
        with pytest.raises(EngineBusyError) as caught:
            engine.stream("c")
        assert caught.value.parallel == 2
        first.close()
        third = engine.stream("c")
        del third
        gc.collect()
        assert engine.generate("d", GREEDY, max_tokens=2).n_completion == 2


def test_a_loop_left_early_frees_its_sequence(engine: Engine) -> None:
    """Breaking out of the events, as people do, does not keep the engine busy."""
    for _ in range(3):
        for event in engine.stream("star", GREEDY):
            if event.tokens:
                break
    assert engine.generate("star", GREEDY, max_tokens=2).n_completion == 2


def test_a_full_cache_ends_the_youngest(model: Model) -> None:
    """When the shared cache is full, the youngest answer ends with "length" and the oldest goes on."""
    with model.engine(n_ctx=64, parallel=2) as engine:
        old, young = engine.stream([5] * 10, GREEDY), engine.stream([6] * 10, GREEDY)
        while engine.step():
            pass
        assert young.result().finish_reason == "length"
        assert old.result().n_completion == 54
        assert young.result().n_completion < 54


def test_grammar_error_is_the_callers(engine: Engine) -> None:
    """A grammar that does not parse is refused before anything runs."""
    with pytest.raises(GrammarError):
        engine.stream("a", SamplingParams(grammar="root ::= ("))
    assert engine.generate("a", GREEDY, max_tokens=1).n_completion == 1


def test_low_level_and_high_level_share_the_context(model: Model) -> None:
    """The context is as large as it was asked for, also for sequences computed by hand."""
    with model.engine(n_ctx=64, parallel=3) as engine:
        first, second = engine.open([5] * 60), engine.open([6] * 60)
        first.prefill()
        with pytest.raises(ContextFullError):
            second.prefill()
        second.close()
        assert engine.generate([7], GREEDY).n_completion == 4


def test_a_giant_prompt_is_refused_uncut(model: Model) -> None:
    """Cutting megabytes into tokens takes seconds; that they cannot fit is known from their length."""
    longest = model.info.n_token_bytes_max
    assert longest == max(len(model.token_to_bytes(token, special=True)) for token in range(model.info.n_vocab))
    with model.engine(n_ctx=64) as engine:
        for text in ("x" * 64 * longest, "word " * 2_000_000):
            with pytest.raises(ContextLengthError) as caught:
                engine.stream(text)
            assert caught.value.is_at_least
            assert caught.value.n_prompt == len(text) // longest
            with pytest.raises(ContextLengthError, match="at least"):
                engine.stream_chat([{"role": "user", "content": text}])
        just_possible = "x" * 64 * (longest - 1)
        with pytest.raises(ContextLengthError) as caught:
            engine.stream(just_possible)
        assert (caught.value.is_at_least, caught.value.n_prompt) == (False, len(model.tokenize(just_possible)))


@pytest.mark.parametrize(("s_per_token", "n_most"), [(0.01, 33), (0.002, 101), (0.0001, 256)])
def test_a_prompt_does_not_hold_up_those_that_decode(model: Model, s_per_token: float, n_most: int) -> None:
    """While somebody decodes, prompts are computed in pieces that take a fifth of a second; alone, in whole batches."""
    with model.engine(n_ctx=2048, parallel=2, n_batch=256, n_threads=1) as engine:
        sizes: list[int] = []
        compute = engine.compute

        def watched(parts: list[Any]) -> list[int]:
            sizes.append(sum(part[1] for part in parts))
            tokens = compute(parts)
            engine._planner.s_per_token = s_per_token
            return tokens

        engine.compute = watched  # type: ignore[method-assign, assignment]
        alone = engine.stream([5] * 700, GREEDY, max_tokens=100)
        while not alone.take():
            engine.step()
        assert sizes == [256, 256, 188]
        sizes.clear()
        other = engine.stream([6] * 700, GREEDY, max_tokens=1)
        while not other.take():
            engine.step()
        assert max(sizes) == n_most
        assert sum(sizes) == 700 + len(sizes) - 1 or sum(sizes) == 700 + len(sizes)
        alone.close()
