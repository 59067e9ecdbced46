"""Nothing is computed twice: what earlier sequences have computed of the same first tokens is used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefix_models import ROOM, is_near, logits, text, write_model

from hoshikage_core import Model, SamplingParams
from hoshikage_core._prefixes import count_common

GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module", params=["llama", "sliding", "mamba", "hybrid"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model(request.param, tmp_path_factory.mktemp("models"))) as made:
        yield made


def test_the_next_turn(model: Model) -> None:
    """Of a conversation that goes on only the new tokens are computed, with the logits of computing all of them."""
    with model.engine(512, n_threads=1) as engine:
        assert logits(engine, text(200))[0] == 0
        n_cached, reused = logits(engine, text(230))
        assert n_cached == 200
        assert is_near(reused, logits(engine, text(230), reuse=False)[1])


@pytest.mark.parametrize("n_same", [1, 40, 199])
def test_another_branch(model: Model, n_same: int) -> None:
    """A prompt that differs from some token on has the logits of computing all of it, whatever was reused."""
    with model.engine(512, n_threads=1) as engine:
        logits(engine, text(200))
        other = text(n_same) + text(50, seed=1)
        n_cached, reused = logits(engine, other)
        assert n_cached in (0, n_same)
        if model.info.arch == "llama":
            assert n_cached == n_same
        assert is_near(reused, logits(engine, other, reuse=False)[1])


def test_the_same_again(model: Model) -> None:
    """At least the last token is computed again: its logits are wanted."""
    with model.engine(512, n_threads=1) as engine:
        first = logits(engine, text(100))[1]
        n_cached, again = logits(engine, text(100))
        assert n_cached == (0 if model.info.is_recurrent or model.info.is_hybrid else 99)
        assert is_near(first, again)


def test_conversations_that_take_turns(model: Model) -> None:
    """Each finds what it has left, from the KV cache or from host memory, and the logits are right."""
    with model.engine(512, n_threads=1, cache_bytes=ROOM) as engine:
        talks = [text(150, seed) for seed in (1, 2, 3)]
        for talk in talks:
            logits(engine, talk)
        for turn in range(2):
            for talk in talks:
                n_before = len(talk)
                talk += text(20, seed=turn)
                n_cached, reused = logits(engine, talk)
                assert n_cached == n_before
                assert is_near(reused, logits(engine, talk, reuse=False)[1])


def test_host_memory_is_bounded(model: Model) -> None:
    """What was used least recently goes first; without room nothing is copied."""
    with model.engine(512, n_threads=1, cache_bytes=0) as engine:
        logits(engine, text(100, 1))
        logits(engine, text(100, 2))
        assert logits(engine, text(120, 1))[0] in (0, count_common(text(120, 1), text(100, 2)))
        assert engine.kept_bytes == 0
    size = engine_bytes(model)
    with model.engine(512, n_threads=1, cache_bytes=int(size * 2.5)) as engine:
        for seed in (1, 2, 3, 4):  # 1, 2 and 3 are copied, and there is room for two
            logits(engine, text(100, seed))
        assert 2 * size <= engine.kept_bytes < 3 * size
        assert logits(engine, text(120, 3))[0] == 100
        assert logits(engine, text(120, 1))[0] < 100


def engine_bytes(model: Model) -> int:
    """Bytes of a sequence of 100 tokens."""
    with model.engine(512, n_threads=1, cache_bytes=ROOM) as engine:
        logits(engine, text(100, 1))
        logits(engine, text(100, 2))
        return sum(saved.n_bytes for saved in engine._prefixes._saved)


def test_what_is_kept_makes_room(model: Model) -> None:
    """Ended sequences never take the context from a living one."""
    with model.engine(256, parallel=4, n_threads=1) as engine:
        for seed in range(4):
            logits(engine, text(60, seed))
        assert logits(engine, text(250, 9))[0] == 0


def test_answers_with_and_without(model: Model) -> None:
    """A generation tells how many tokens were cached, and says the same."""
    with model.engine(512, n_threads=1) as engine:
        fresh = engine.generate(text(100), GREEDY, max_tokens=8)
        again = engine.generate(text(100) + list(fresh.tokens[:4]), GREEDY, max_tokens=4)
        assert (fresh.n_cached, again.n_cached > 0) == (
            0,
            not (model.info.is_recurrent or model.info.is_hybrid),
        )
        assert again.tokens == fresh.tokens[4:]


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order(model: Model, data: st.DataObject) -> None:
    """Whatever was asked before, in parallel or not, with much host memory or little: the logits are right."""
    parallel, room = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0, 300_000, ROOM]))
    with (
        model.engine(300, parallel=parallel, n_threads=1, cache_bytes=room) as engine,
        model.engine(300, n_threads=1) as plain,
    ):
        for _ in range(data.draw(st.integers(2, 6))):
            n_same = data.draw(st.integers(0, 120))
            tokens = text(n_same, data.draw(st.integers(0, 1))) + text(data.draw(st.integers(1, 120)), 7)
            n_cached, got = logits(engine, tokens)
            assert n_cached < len(tokens)
            assert is_near(got, logits(plain, tokens, reuse=False)[1])


@given(left=st.lists(st.integers(0, 2), max_size=40), right=st.lists(st.integers(0, 2), max_size=40))
def test_counting(left: list[int], right: list[int]) -> None:
    """As many as are equal from the beginning."""
    expected = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        expected += 1
    assert count_common(left, right) == expected
