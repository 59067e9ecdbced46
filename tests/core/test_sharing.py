"""What a running or an ended sequence has computed is shared with a new one, where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefix_models import ROOM, is_near, logits, text, write_model

from hoshikage_core import Engine, Model, SamplingParams, Sequence

GREEDY = SamplingParams(temperature=0)
SYSTEM = text(400)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model("llama", tmp_path_factory.mktemp("models"))) as made:
        yield made


@pytest.fixture(scope="module", params=["llama", "sliding", "mamba", "hybrid"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model(request.param, tmp_path_factory.mktemp("models"))) as made:
        yield made


@pytest.fixture
def engine(model: Model) -> Iterator[Engine]:
    with model.engine(512, parallel=4, n_threads=1) as made:
        yield made


def fresh(model: Model, tokens: list[int]) -> list[float]:
    """The logits of computing all tokens."""
    with model.engine(512, n_threads=1) as engine:
        return logits(engine, tokens, reuse=False)[1]


def test_one_beginning_four_times(model: Model, engine: Engine) -> None:
    """Running sequences that begin alike take the cells of their beginning once: more fits than the context has."""
    with ExitStack() as opened:
        for seed in range(4):
            tokens = SYSTEM + text(20, seed + 1)
            sequence = opened.enter_context(engine.open(tokens))
            assert sequence.n_cached == (400 if seed else 0)
            sequence.prefill()
            assert is_near(list(sequence.logits()), fresh(model, tokens))
        assert engine._prefixes.n_free == 512 - 480


def test_whoever_ends_first(model: Model, engine: Engine) -> None:
    """What one leaves does not touch what the other goes on with, and room is counted as it is."""
    first = engine.open(SYSTEM + text(20, 1))
    first.prefill()
    second = engine.open(SYSTEM + text(20, 2))
    second.prefill()
    first.close()
    engine._prefixes.make_room(512)  # drops what the first has left
    assert engine._prefixes.n_free == 512 - 420
    second.extend(text(60, 3))
    second.prefill()
    assert is_near(list(second.logits()), fresh(model, second.tokens))


def test_an_ended_conversation_stays(engine: Engine) -> None:
    """Of a long conversation only the beginning is wanted: it is shared, and the conversation can still go on."""
    talk = SYSTEM + text(60, 1)
    logits(engine, talk)
    assert logits(engine, SYSTEM + text(20, 2))[0] == 400
    assert logits(engine, [*talk, 5])[0] == 460
    assert not engine._prefixes._saved  # neither had to be copied away


def test_what_is_shared_stays_longest(engine: Engine) -> None:
    """A conversation whose beginning others go on with is in use: not the one that makes room."""
    for tokens in (SYSTEM[:100] + text(40, 1), text(60, 2), text(60, 3)):
        logits(engine, tokens)
    assert logits(engine, SYSTEM[:100] + text(20, 4))[0] == 100
    with ExitStack() as opened:
        for seed in (5, 6):
            opened.enter_context(engine.open(text(60, seed)))
        assert opened.enter_context(engine.open(SYSTEM[:100] + text(40, 1) + [5])).n_cached == 140


def test_no_more_than_the_prompt_is_cached(engine: Engine) -> None:
    """Of what an answer that goes on takes over, its prompt counts only."""
    so_far = engine.generate(text(50), GREEDY, max_tokens=40).tokens
    generations = [engine.stream(text(50), GREEDY, max_tokens=60, so_far=so_far) for _ in range(2)]
    assert [generation.result().n_cached for generation in generations] == [49, 49]


def test_without_reuse(engine: Engine) -> None:
    """Who asks for nothing to be reused gets nothing, of running sequences neither."""
    with engine.open(text(100)) as first:
        first.prefill()
        with engine.open(text(120), reuse=False) as second:
            assert second.n_cached == 0


def test_prompts_that_come_together(model: Model, engine: Engine) -> None:
    """Of prompts that begin alike one computes the beginning; the others wait and take it over."""
    prompts = [SYSTEM + text(20, seed) for seed in range(1, 4)]
    generations = [engine.stream(prompt, GREEDY, max_tokens=6) for prompt in prompts]
    results = [generation.result() for generation in generations]
    assert [result.n_cached for result in results] == [0, 400, 400]
    assert all(result.finish_reason == "length" and result.n_completion == 6 for result in results)
    with model.engine(512, n_threads=1) as alone:
        for prompt, result in zip(prompts, results, strict=True):
            assert alone.generate(prompt, GREEDY, max_tokens=6).tokens == result.tokens


def test_the_first_one_is_cancelled(engine: Engine) -> None:
    """Who waited for it does not wait for ever."""
    first = engine.stream(SYSTEM + text(20, 1), GREEDY, max_tokens=4)
    second = engine.stream(SYSTEM + text(20, 2), GREEDY, max_tokens=4)
    first.cancel()
    assert second.result().n_completion == 4


def test_the_first_one_has_ended(engine: Engine) -> None:
    """In the very step that has computed what the second waits for."""
    generations = [engine.stream(SYSTEM + text(20, seed), GREEDY, max_tokens=1) for seed in (1, 2)]
    assert [generation.result().n_cached for generation in generations] == [0, 400]


def test_no_wait_for_what_is_generated(engine: Engine) -> None:
    """A prompt that holds an answer which another one is just generating is computed at once."""
    answer = engine.generate(text(60), GREEDY, max_tokens=64).tokens
    first = engine.stream(text(60), GREEDY, max_tokens=64)
    while first.n_completion < 2:
        engine.step()
    second = engine.stream(text(60) + list(answer[:60]), GREEDY, max_tokens=1)
    engine.step()
    engine.step()
    assert second.finished
    first.close()


def test_a_sequence_that_goes_back(model: Model, engine: Engine) -> None:
    """A choice that begins anew leaves alone what was copied from the one before."""
    sampling = SamplingParams(seed=1)
    several = engine.stream(text(60), sampling, max_tokens=30, n_choices=2)
    while several.n_completion < 20:
        engine.step()
    beginning = several.sequence.tokens[:70]
    with engine.open([*beginning, 9, 8]) as other:
        assert other.n_cached == 70
        several.result()
        other.prefill()
        assert is_near(list(other.logits()), fresh(model, other.tokens))


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order(any_model: Model, data: st.DataObject) -> None:
    """Sequences that come and go, ended or half-way, with little room: all logits are right."""
    room = data.draw(st.sampled_from([0, 300_000, ROOM]))
    with (
        any_model.engine(400, parallel=3, n_batch=64, n_threads=1, cache_bytes=room) as engine,
        any_model.engine(400, n_threads=1) as plain,
    ):
        living: list[Sequence] = []
        for _ in range(data.draw(st.integers(3, 10))):
            if len(living) == 3 or (living and data.draw(st.booleans())):
                sequence = living.pop(data.draw(st.integers(0, len(living) - 1)))
                sequence.extend(text(data.draw(st.integers(1, 10)), 5))
                sequence.prefill()
                assert is_near(list(sequence.logits()), logits(plain, sequence.tokens, reuse=False)[1])
                sequence.close()
                continue
            n_same = data.draw(st.integers(0, 80))
            tokens = text(n_same, data.draw(st.integers(0, 1))) + text(data.draw(st.integers(1, 40)), 7)
            living.append(engine.open(tokens))
            if data.draw(st.booleans()):
                living[-1].prefill()
