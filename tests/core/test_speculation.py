"""Guesses never change an answer: tokens are those of an engine that does not guess, and come several in a step."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefix_models import is_near, text, write_model
from tiny_gguf import IM_END, TinyModel

from hoshikage_core import (
    Completion,
    Engine,
    InvalidArgumentError,
    Model,
    SamplingParams,
    Speculation,
    UnsupportedError,
    memory_needed,
)
from hoshikage_core._guessing import Guesser

GREEDY = SamplingParams(temperature=0)
N_CTX = 1024
SCHEMA = {
    "type": "object",
    "properties": {"list": {"type": "array", "items": {"enum": ["alpha", "beta"]}, "minItems": 12, "maxItems": 12}},
    "required": ["list"],
}


@pytest.fixture
def always_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight guesses whenever there are any, whatever they cost on a machine that computes tests."""
    monkeypatch.setattr(Guesser, "_n_worth", lambda *_: 8)


# A forgetful model computes a token alone or among others to the same bits. This one soon repeats itself.
@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("models") / "forgetful.gguf"
    with Model(TinyModel(is_forgetful=True, seed=2).write(path)) as made:
        yield made


@pytest.fixture(scope="module")
def plain(model: Model) -> Iterator[Engine]:
    with model.engine(N_CTX, n_threads=1) as engine:
        yield engine


@pytest.fixture(params=["ngram", "draft"])
def guessing(request: pytest.FixtureRequest, model: Model, always_eight: None) -> Iterator[Engine]:
    """An engine that guesses, by looking back or by asking the same model."""
    speculation = Speculation(n_ngram=2, p_min=0, draft_model=model if request.param == "draft" else None)
    with model.engine(N_CTX, n_threads=1, speculation=speculation) as engine:
        yield engine


def answer(engine: Engine, sampling: SamplingParams = GREEDY, *, max_tokens: int = 120, **how: object) -> Completion:
    with engine.stream(text(40), sampling, max_tokens=max_tokens, reuse=False, **how) as generation:  # type: ignore[arg-type]
        return generation.result()


def same(left: Completion, right: Completion) -> bool:
    """Whether all that an answer says is the same."""
    return (left.text, left.tokens, left.finish_reason, left.n_completion) == (
        right.text,
        right.tokens,
        right.finish_reason,
        right.n_completion,
    )


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        SamplingParams(temperature=0.3, seed=7),
        SamplingParams(temperature=1.5, seed=7, top_k=0, top_p=1.0),
        SamplingParams(temperature=0.5, seed=7, repeat_penalty=1.3, frequency_penalty=0.2),
        SamplingParams(temperature=0.5, seed=7, mirostat=2),
        SamplingParams(temperature=0, min_tokens=90),
    ],
    ids=["greedy", "cold", "hot", "penalties", "mirostat", "min_tokens"],
)
def test_the_same_tokens(plain: Engine, guessing: Engine, sampling: SamplingParams) -> None:
    """The same tokens are chosen from the same logits by the same draws, whatever was guessed."""
    expected = answer(plain, sampling)
    guessed = answer(guessing, sampling)
    assert same(guessed, expected)
    assert expected.n_drafted == expected.n_accepted == 0
    assert 0 <= guessed.n_accepted <= guessed.n_drafted


def test_several_tokens_in_a_step(guessing: Engine) -> None:
    """Text that repeats itself takes far fewer steps than it has tokens, and the counts say so."""
    with guessing.stream(text(40), GREEDY, max_tokens=120) as generation:
        n_steps = 0
        while not generation.finished:
            guessing.step()
            n_steps += 1
        result = generation.result()
    assert n_steps + result.n_accepted == 120
    assert result.n_accepted > 60


@pytest.mark.parametrize("max_tokens", range(30, 40))
def test_a_limit_among_guesses(plain: Engine, guessing: Engine, max_tokens: int) -> None:
    """An answer has no more tokens than it may, and nothing is computed that could not belong to it."""
    assert same(answer(guessing, max_tokens=max_tokens), answer(plain, max_tokens=max_tokens))


def test_a_stop_text_among_guesses(plain: Engine, guessing: Engine) -> None:
    """Wherever the text of a repeated answer is cut, it ends there, and the KV cache keeps what is true: the next turn
    finds it."""
    whole = answer(plain)
    for at in range(60, 75):
        stop = plain.model.detokenize(list(whole.tokens[at : at + 2]))
        expected = answer(plain, min_tokens_stop(at), stop=[stop])
        stopped = answer(guessing, min_tokens_stop(at), stop=[stop])
        assert same(stopped, expected)
        assert stopped.finish_reason == "stop"
        prompt = [*text(40), *stopped.tokens, 5]
        with guessing.open(prompt, GREEDY) as sequence:
            assert sequence.n_cached >= len(prompt) - 2


def min_tokens_stop(n: int) -> SamplingParams:
    """No stop text counts before the n-th token."""
    return SamplingParams(temperature=0, min_tokens=n)


def test_an_end_token_among_guesses(model: Model, plain: Engine, guessing: Engine) -> None:
    """A guessed end token ends the answer where it is sampled."""
    tokens = answer(plain).tokens
    loop = list(tokens[60:70])
    prompt = [*text(20), *loop, IM_END, *loop, IM_END, *loop[:-2]]
    # The answer would go on with the loop; the bias makes the end token come after it, as it did twice in the prompt.
    for bias in (0.0, 4.0, 8.0, 100.0):
        sampling = SamplingParams(temperature=0, logit_bias={IM_END: bias})
        expected = plain.generate(prompt, sampling, max_tokens=50)
        assert same(guessing.generate(prompt, sampling, max_tokens=50), expected)
    assert expected.finish_reason == "stop"


def test_json_stays_json(guessing: Engine) -> None:
    """A grammar judges guesses as it judges any token."""
    sampling = SamplingParams(temperature=0.8, seed=5, json_schema=SCHEMA)
    result = answer(guessing, sampling, max_tokens=400)
    assert result.finish_reason == "stop"
    assert len(json.loads(result.text)["list"]) == 12


def test_json_is_the_same(plain: Engine, guessing: Engine) -> None:
    """And the same JSON comes out, token for token."""
    sampling = SamplingParams(temperature=0.8, seed=6, json_schema=SCHEMA)
    assert same(answer(guessing, sampling, max_tokens=400), answer(plain, sampling, max_tokens=400))


def test_choices(plain: Engine, guessing: Engine) -> None:
    """Each of several choices is what it is without guesses, also where stop texts end them among guesses."""
    stop = plain.model.detokenize(list(answer(plain).tokens[70:72]))
    expected, guessed = (
        engine.stream(
            text(40),
            SamplingParams(temperature=0.2, seed=3, min_tokens=50),
            max_tokens=110,
            n_choices=3,
            stop=[stop],
        ).results()
        for engine in (plain, guessing)
    )
    assert len(guessed) == 3
    assert all(itertools.starmap(same, zip(guessed, expected, strict=True)))


def test_going_on_after_tokens(plain: Engine, guessing: Engine) -> None:
    """An answer that was cut off among guesses goes on as if it had not been."""
    whole = answer(plain)
    for cut in (1, 50, 77):
        with guessing.stream(text(40), GREEDY, max_tokens=120, so_far=whole.tokens[:cut]) as generation:
            assert generation.result().tokens == whole.tokens[cut:]


def test_no_guesses_where_logprobs_are_told(plain: Engine, guessing: Engine) -> None:
    """A step keeps the logits after one token of a sequence only."""
    expected = answer(plain, n_top_logprobs=2)
    told = answer(guessing, n_top_logprobs=2)
    assert same(told, expected)
    assert told.logprobs == expected.logprobs
    assert told.n_drafted == 0


def test_a_full_context(model: Model, always_eight: None) -> None:
    """Where the context ends, guesses do not end the answer sooner."""
    with (
        model.engine(128, n_threads=1) as plain,
        model.engine(128, n_threads=1, speculation=Speculation(n_ngram=2)) as guessing,
    ):
        expected = plain.generate(text(40), GREEDY)
        assert same(guessing.generate(text(40), GREEDY), expected)
        assert expected.n_completion == 128 - 40
        assert same(guessing.generate(text(100), GREEDY), plain.generate(text(100), GREEDY))


@pytest.mark.parametrize("drafts", [False, True])
def test_several_at_once(model: Model, plain: Engine, always_eight: None, drafts: bool) -> None:
    """Answers that are computed together are those of each alone, while prompts come in between."""
    speculation = Speculation(n_ngram=2, p_min=0, draft_model=model if drafts else None)
    with model.engine(N_CTX, n_threads=1, parallel=3, n_batch=24, speculation=speculation) as engine:
        prompts = [text(40 + 10 * seed, seed) for seed in range(4)]
        running = [engine.stream(prompt, GREEDY, max_tokens=140 + i) for i, prompt in enumerate(prompts[:2])]
        for _ in range(30):
            engine.step()
        running.append(engine.stream(prompts[2], GREEDY, max_tokens=142))
        results = [generation.result() for generation in running]
        for i, (prompt, result) in enumerate(zip(prompts, results, strict=False)):
            assert result.tokens == plain.generate(prompt, GREEDY, max_tokens=140 + i).tokens
        assert sum(result.n_accepted for result in results) > 60


def test_cancelling(guessing: Engine, plain: Engine) -> None:
    """A cancelled answer ends, and leaves an engine that answers as before."""
    generation = guessing.stream(text(40), GREEDY, max_tokens=500)
    while generation.n_completion < 50:
        guessing.step()
    generation.cancel()
    assert generation.result().finish_reason == "cancelled"
    assert same(answer(guessing), answer(plain))


@pytest.mark.parametrize("kind", ["llama", "sliding"])
def test_wrong_guesses_leave_nothing_behind(tmp_path: Path, always_eight: None, kind: str) -> None:
    """The KV cache is that of the true tokens, also where most layers see the last of them only."""
    with (
        Model(write_model(kind, tmp_path)) as model,
        model.engine(N_CTX, n_threads=1, n_batch=32, speculation=Speculation(n_ngram=1)) as engine,
    ):
        prompt = text(30) * 3  # what is guessed from it is wrong as a rule
        with engine.stream(prompt, SamplingParams(temperature=1, seed=1), max_tokens=500) as generation:
            tokens = [*prompt, *generation.result().tokens]
            assert generation.n_drafted > 50
        with engine.open([*tokens, 7]) as sequence:
            assert sequence.n_cached >= len(tokens) - 2
            sequence.prefill()
            reused = list(sequence.logits())
        with engine.open([*tokens, 7], reuse=False) as sequence:
            sequence.prefill()
            assert is_near(reused, list(sequence.logits()))


def test_no_recurrent_models(tmp_path: Path, model: Model) -> None:
    """Their memory cannot go back to before a wrong guess: neither the model's nor a draft model's."""
    with Model(TinyModel().write_mamba(tmp_path / "mamba.gguf")) as mamba:
        with pytest.raises(UnsupportedError, match="recurrent"):
            mamba.engine(128, speculation=Speculation())
        with pytest.raises(UnsupportedError, match="recurrent"):
            model.engine(128, speculation=Speculation(draft_model=mamba))


def test_another_vocabulary(tmp_path: Path, model: Model) -> None:
    """A draft model that reads other tokens is refused, and the engine with it."""
    with (
        Model(TinyModel(n_vocab=700).write(tmp_path / "other.gguf")) as other,
        pytest.raises(UnsupportedError, match="vocabulary"),
    ):
        model.engine(128, speculation=Speculation(draft_model=other))
    assert model.engine(128).generate(text(5), GREEDY, max_tokens=2).n_completion == 2


def test_a_draft_model_that_is_closed(tmp_path: Path, plain: Engine, model: Model, always_eight: None) -> None:
    """The engine keeps what it needs of it."""
    path = TinyModel(is_forgetful=True, seed=2).write(tmp_path / "draft.gguf")
    with Model(path) as draft:
        engine = model.engine(N_CTX, n_threads=1, speculation=Speculation(draft_model=draft, p_min=0))
    with engine:
        result = answer(engine)
    assert same(result, answer(plain))
    assert result.n_accepted > 60


@pytest.mark.parametrize("values", [{"n_max": 0}, {"n_max": 4, "n_ngram": 5}, {"draft_model": "x.gguf"}, {"p_min": 2}])
def test_wrong_values(values: dict[str, object]) -> None:
    """They are named."""
    with pytest.raises(InvalidArgumentError):
        Speculation(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("cost", [0.5, 0.0])
def test_guessing_stops_where_it_does_not_pay(model: Model, monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
    """Where each guess is wrong they are given up soon, and where steps take no longer with them they are not."""
    learn = Guesser.learn

    def learn_cost(self: Guesser, parts: Any, sampled: Any, elapsed_s: float) -> None:
        """A guess costs so much of a step, whatever else this machine does."""
        learn(self, parts, sampled, 0.001 * (1 + cost * len(parts[0][3])))

    monkeypatch.setattr(Guesser, "learn", learn_cost)
    with model.engine(N_CTX, n_threads=1, speculation=Speculation(n_ngram=1)) as engine:
        noise = SamplingParams(temperature=20, top_k=0, top_p=1.0, min_p=0.0, seed=2, ignore_eos=True)
        with engine.stream(text(300), noise, max_tokens=300) as generation:
            n_drafted = generation.result().n_drafted
        assert n_drafted < 40 if cost else n_drafted > 200


def test_smollm2_copies(smollm2_path: Path) -> None:
    """A real model that repeats its prompt is guessed right, and says what it says without guesses."""
    words = "The keeper climbs the stairs at dusk, cleans the lamp and writes down the weather. "
    messages = [{"role": "user", "content": f"Repeat this text word for word:\n\n{words * 3}"}]
    with Model(smollm2_path) as model:
        texts = []
        for speculation in (None, Speculation()):
            with model.engine(1024, speculation=speculation) as engine:
                result = engine.chat(messages, GREEDY, max_tokens=48)
                texts.append(result.text)
        assert texts[0] == texts[1]
        assert memory_needed(smollm2_path)
