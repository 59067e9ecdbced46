"""Log-probabilities of a prompt's tokens: computed in pieces, they are those of feeding it token by token."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefix_models import text, write_model

from hoshikage_core import (
    Completion,
    ContextFullError,
    Engine,
    InvalidArgumentError,
    Model,
    SamplingParams,
    TokenLogprobs,
)

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
# What computing tokens together or one by one may differ by; those of another place or prompt differ by whole units.
NEAR = 0.1


@pytest.fixture(scope="module", params=["llama", "sliding", "mamba", "hybrid"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(request.param, tmp_path_factory.mktemp("models"))


def one_by_one(engine: Engine, prompt: list[int]) -> list[float]:
    """Each token's log-probability by the logits after those before it, without the code under test."""
    expected = []
    with engine.open(prompt[:1], reuse=False) as sequence:
        for token in prompt[1:]:
            sequence.prefill()
            logits = list(sequence.logits())
            largest = max(logits)
            expected.append(logits[token] - largest - math.log(sum(math.exp(x - largest) for x in logits)))
            sequence.append(token)
    return expected


def score(engine: Engine, prompt: list[int], n_top: int = 0) -> Completion:
    return engine.generate(prompt, max_tokens=0, n_prompt_logprobs=n_top)


def require_near(told: tuple[TokenLogprobs, ...], prompt: list[int], expected: list[float]) -> None:
    assert [entry.token for entry in told] == prompt[1:]
    assert [entry.logprob for entry in told] == pytest.approx(expected, abs=NEAR)


def test_they_are_those_of_feeding_token_by_token(model_path: Path) -> None:
    """Of models that see all, a window, or a state: over several pieces, with the likeliest tokens in their places."""
    prompt = text(150, seed=3)
    with Model(model_path) as model, model.engine(n_ctx=512) as engine:
        expected = one_by_one(engine, prompt)
        answer = score(engine, prompt, 3)
        require_near(answer.prompt_logprobs, prompt, expected)
        for entry in answer.prompt_logprobs:
            assert [one.logprob for one in entry.top] == sorted((one.logprob for one in entry.top), reverse=True)
            assert len({one.token for one in entry.top}) == 3
            assert entry.top[0].logprob >= entry.logprob
        assert (answer.text, answer.tokens, answer.n_completion, answer.finish_reason) == ("", (), 0, "length")


def test_however_it_is_cut(model_path: Path) -> None:
    """Pieces of any size, beside neighbours that answer or are scored as well."""
    with Model(model_path) as model:
        with model.engine(n_ctx=512) as alone:
            expected = [one_by_one(alone, text(70, seed=seed)) for seed in range(3)]

        @settings(max_examples=12)
        @given(n=st.integers(1, 70), n_batch=st.integers(3, 80), parallel=st.integers(1, 3), cut=st.integers(1, 40))
        def check(n: int, n_batch: int, parallel: int, cut: int) -> None:
            prompts = [text(n, seed=seed) for seed in range(parallel)]
            with model.engine(n_ctx=512, n_batch=n_batch, parallel=parallel) as engine:
                engine._planner.n_scored_max = min(engine._planner.n_scored_max, cut)
                scored = [
                    engine.stream(prompt, GREEDY, max_tokens=2 * index, n_prompt_logprobs=0)
                    for index, prompt in enumerate(prompts)
                ]
                while engine.step():
                    pass
                for generation, prompt, those in zip(scored, prompts, expected, strict=False):
                    require_near(generation.result().prompt_logprobs, prompt, those[: n - 1])

        check()


def test_of_a_real_model(smollm2_path: Path) -> None:
    """The same of SmolLM2, whose weights round more."""
    with Model(smollm2_path) as model, model.engine(n_ctx=512) as engine:
        prompt = model.tokenize("The capital of France is Paris, and the capital of Germany is Berlin. " * 4)
        told = score(engine, prompt, 1).prompt_logprobs
        expected = one_by_one(engine, prompt)
        assert [entry.logprob for entry in told] == pytest.approx(expected, abs=0.35)
        assert sum(entry.logprob for entry in told) == pytest.approx(sum(expected), rel=0.01)
        repeated = told[len(told) // 2 :]  # what it has read before it is sure of
        assert sum(entry.top[0].token == entry.token for entry in repeated) > 0.8 * len(repeated)


def test_the_answer_is_the_same(engine: Engine) -> None:
    """Asking for them changes nothing of what is generated, nor of its own probabilities."""
    prompt = text(70)
    plain = engine.stream(prompt, GREEDY, max_tokens=8, n_top_logprobs=2, reuse=False).result()
    scored = engine.stream(prompt, GREEDY, max_tokens=8, n_top_logprobs=2, n_prompt_logprobs=2).result()
    assert scored.tokens == plain.tokens
    assert [one.logprob for one in scored.logprobs] == pytest.approx([one.logprob for one in plain.logprobs], abs=NEAR)
    assert (len(scored.prompt_logprobs), plain.prompt_logprobs) == (69, ())


def test_what_was_computed_before_is_computed_again(engine: Engine) -> None:
    """It has left no logits; but it stays for others, and so does what is computed now."""
    prompt = text(80, seed=9)
    engine.generate(prompt, GREEDY, max_tokens=1)
    answer = score(engine, prompt)
    assert (answer.n_cached, len(answer.prompt_logprobs)) == (0, 79)
    assert engine.generate([*prompt, 5], GREEDY, max_tokens=1).n_cached == 80


def test_several_choices(engine: Engine) -> None:
    """The first one has them: there is one prompt."""
    first, second = engine.stream(text(40), GREEDY, max_tokens=2, n_prompt_logprobs=0, n_choices=2).results()
    assert (len(first.prompt_logprobs), second.prompt_logprobs) == (39, ())
    assert (len(first.tokens), len(second.tokens)) == (2, 2)


@pytest.mark.parametrize("n_choices", [1, 3])
def test_no_tokens_at_all(engine: Engine, n_choices: int) -> None:
    """`max_tokens=0` computes the prompt, for whoever comes after, and says nothing."""
    prompt = text(60, seed=n_choices + 20)
    answers = engine.stream(prompt, max_tokens=0, n_choices=n_choices).results()
    assert [(one.tokens, one.finish_reason, one.choice) for one in answers] == [
        ((), "length", choice) for choice in range(n_choices)
    ]
    assert engine.generate([*prompt, 5], GREEDY, max_tokens=1).n_cached == 60
    assert score(engine, [5]).prompt_logprobs == ()


def test_neighbours_keep_their_answers_and_their_pace(model: Model) -> None:
    """Who decodes gets a token with each piece of a long prompt, the same as alone; who is scored gets its own."""
    with model.engine(n_ctx=2048, parallel=2, n_batch=512) as engine:
        expected = engine.generate([7, 8], GREEDY, max_tokens=20).tokens
        neighbour = engine.stream([7, 8], GREEDY, max_tokens=20)
        scored = engine.stream(text(1000), max_tokens=0, n_prompt_logprobs=0)
        n_steps = 0
        while not neighbour.finished:
            engine.step()
            n_steps += 1
        assert (neighbour.result().tokens, n_steps) == (expected, 20)
        assert len(scored.result().prompt_logprobs) == 999


def test_nobody_waits_for_what_it_shares_with_them(model: Model) -> None:
    """A prompt that begins like scored ones is computed at once, in pieces as large as ever."""
    with model.engine(n_ctx=2048, parallel=3, n_batch=512) as engine:
        prompt = text(600)
        scored = [engine.stream(prompt, max_tokens=0, n_prompt_logprobs=0) for _ in range(2)]
        plain = engine.stream([*prompt, 5], GREEDY, max_tokens=1)
        n_steps = 0
        while not plain.finished:
            engine.step()
            n_steps += 1
        assert n_steps == 2
        assert [len(one.result().prompt_logprobs) for one in scored] == [599, 599]


def test_it_can_be_cancelled_in_between(engine: Engine) -> None:
    """What was scored until then is told; the next one is whole."""
    generation = engine.stream(text(300), max_tokens=0, n_prompt_logprobs=0)
    engine.step()
    generation.cancel()
    answer = generation.result()
    assert (answer.finish_reason, len(answer.prompt_logprobs)) == ("cancelled", 32)
    assert len(score(engine, text(300)).prompt_logprobs) == 299


def test_a_state_that_was_lost_is_not_told_twice(model_path: Path) -> None:
    """Where a neighbour's step fails and takes what was computed along, each token is told of once all the same."""
    prompt = text(120, seed=2)
    with Model(model_path) as model, model.engine(n_ctx=512, parallel=2) as engine:
        expected = one_by_one(engine, prompt)
        scored = engine.stream(prompt, max_tokens=0, n_prompt_logprobs=0)
        engine.step()
        engine.go_back(scored.sequence.id, 0)
        require_near(scored.result().prompt_logprobs, prompt, expected)


def test_half_of_them_is_no_answer(model: Model) -> None:
    """Where others take the room of a prompt, it fails."""
    with model.engine(n_ctx=256, parallel=2) as engine:
        engine.stream(text(200), GREEDY, max_tokens=50)
        holder = engine.open(text(200, seed=1), reuse=False)
        holder.prefill()
        scored = engine.stream(text(100, seed=2), max_tokens=0, n_prompt_logprobs=0)
        with pytest.raises(ContextFullError):
            scored.result()


@pytest.mark.parametrize("n_top", [-1, 513, True, 1.5, "1"])
def test_numbers_that_cannot_be(engine: Engine, n_top: object) -> None:
    """They are refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        engine.stream("a", n_prompt_logprobs=n_top)  # type: ignore[arg-type]
    assert caught.value.field == "n_prompt_logprobs"
