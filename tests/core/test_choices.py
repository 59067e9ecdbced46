"""Several choices from one prompt: each is what it would be alone. One token at a time, as in test_continuation.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import TinyModel

from hoshikage_core import DeadEndError, Engine, Event, Generation, InvalidArgumentError, Model, SamplingParams
from hoshikage_core.sampling import choice_seed

FREE = SamplingParams(temperature=1.2, top_k=0, top_p=1, min_p=0, seed=11)
SAMPLINGS = {
    "free": FREE,
    "greedy": SamplingParams(temperature=0, seed=11),
    "penalties": SamplingParams(temperature=0.9, repeat_penalty=1.4, presence_penalty=0.5, seed=11),
    "mirostat": SamplingParams(mirostat=2, seed=11),
    "grammar": SamplingParams(grammar='root ::= ([a-f] [a-f]? " "){3,12} "."', seed=11),
    "long": SamplingParams(temperature=1.2, min_tokens=9, logit_bias={2: 9.0}, seed=11),
}


@pytest.fixture(scope="module")
def tiny(tiny_model_path: Path) -> Iterator[Model]:
    with Model(tiny_model_path) as model:
        yield model


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(TinyModel().write_mamba(tmp_path_factory.mktemp("models") / "mamba.gguf")) as model:
        yield model


def alone(engine: Engine, sampling: SamplingParams, choice: int, max_tokens: int = 16) -> tuple[int, ...]:
    assert sampling.seed is not None
    seeded = dataclasses.replace(sampling, seed=choice_seed(sampling.seed, choice))
    return engine.generate("star", seeded, max_tokens=max_tokens).tokens


def check_choices(model: Model, sampling: SamplingParams, max_tokens: int) -> None:
    with model.engine(n_ctx=128) as engine:
        together = engine.stream("star", sampling, max_tokens=max_tokens, n_choices=3).results()
        assert [completion.choice for completion in together] == [0, 1, 2]
        for completion in together:
            assert completion.tokens == alone(engine, sampling, completion.choice, max_tokens)


@pytest.mark.parametrize("kind", ["tiny", "mamba"])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_each_choice_is_what_it_would_be_alone(
    request: pytest.FixtureRequest, kind: str, sampling: SamplingParams
) -> None:
    """Whatever the sampling and the model's memory, and though an engine of one sequence computes them."""
    check_choices(request.getfixturevalue(kind), sampling, 16)


def test_each_choice_of_a_real_model(smollm2_path: Path) -> None:
    """The same with quantised weights."""
    with Model(smollm2_path) as model:
        check_choices(model, FREE, 8)


def test_the_prompt_is_computed_once(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine computes the prompt's tokens once, and each choice's tokens but its last."""
    n_computed = 0
    with tiny.engine(n_ctx=256) as engine:
        compute = engine.compute

        def counting(parts: list[tuple[object, int, bool]]) -> list[int]:
            nonlocal n_computed
            n_computed += sum(part[1] for part in parts)
            return compute(parts)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "compute", counting)
        endless = dataclasses.replace(FREE, ignore_eos=True)
        engine.stream([5] * 100, endless, max_tokens=4, n_choices=5).results()
    assert n_computed == 100 + 5 * 3


def test_events_tell_their_choice(tiny: Model) -> None:
    """Choices come in order; each ends with one event that has its reason; figures are those of the latest event."""
    with tiny.engine(n_ctx=128) as engine:
        generation = engine.stream("star", FREE, max_tokens=5, n_choices=3)
        ends = []
        for event in generation:
            assert event.choice == generation.choice
            if event.finish_reason is not None:
                ends.append((event.choice, generation.n_completion, generation.finished))
                assert generation.finish_reason == (event.finish_reason if generation.finished else None)
        assert [end[0] for end in ends] == [0, 1, 2]
        assert [end[2] for end in ends] == [False, False, True]
        assert [end[1] for end in ends] == [len(alone(engine, FREE, choice, 5)) for choice in range(3)]


def test_stops_and_limits_are_each_choices_own(tiny: Model) -> None:
    """A stop string ends its choice only, and every choice may have all of max_tokens."""
    with tiny.engine(n_ctx=128) as engine:
        plain = engine.stream("star", FREE, max_tokens=12, n_choices=4).results()
        stop = plain[1].text[3:6]
        for whole, cut in zip(
            plain, engine.stream("star", FREE, max_tokens=12, n_choices=4, stop=[stop]).results(), strict=True
        ):
            assert cut.text == whole.text.split(stop)[0]
            assert (cut.finish_reason == "stop") == (stop in whole.text or whole.finish_reason == "stop")


@pytest.mark.parametrize("n_steps", [0, 1, 3, 6, 7])
def test_cancelling_ends_all_choices(tiny: Model, n_steps: int) -> None:
    """One event says so, wherever it happens: in the prompt, in a choice, between two; and the engine is free."""
    with tiny.engine(n_ctx=128) as engine:
        for _ in range(2):
            endless = dataclasses.replace(FREE, ignore_eos=True)
            generation = engine.stream("star", endless, max_tokens=6, n_choices=3)
            for _ in range(n_steps):
                engine.step()
            generation.cancel()
            completions = generation.results()
            assert completions[-1].finish_reason == generation.finish_reason == "cancelled"
            assert [completion.finish_reason for completion in completions[:-1]] == ["length"] * (len(completions) - 1)
        assert engine.generate("a", max_tokens=1).n_completion == 1


def test_several_generations_with_several_choices(tmp_path: Path) -> None:
    """Generations that run together do not touch each other's cache."""
    path = TinyModel(is_forgetful=True).write(tmp_path / "forgetful.gguf")
    with Model(path) as model, model.engine(n_ctx=256, parallel=3) as engine:
        started = [engine.stream("star", FREE, max_tokens=16, n_choices=n) for n in (3, 1, 2)]
        while engine.step():
            pass
        for generation in started:
            for completion in generation.results():
                assert completion.tokens == alone(engine, FREE, completion.choice)


def test_a_full_cache_ends_choices_one_by_one(tiny: Model) -> None:
    """Choices that find no room end with "length", and none hangs."""
    with tiny.engine(n_ctx=64, parallel=2) as engine:
        endless = dataclasses.replace(FREE, ignore_eos=True)
        old, young = engine.stream([5] * 20, endless), engine.stream([6] * 20, endless, n_choices=4)
        while engine.step():
            pass
        assert [completion.finish_reason for completion in young.results()] == ["length"] * 4
        assert old.result().finish_reason == "length"


def test_a_grammar_without_a_way_out_ends_all(tiny: Model) -> None:
    """An error in a choice that has not begun is the generation's, and the engine goes on."""
    with tiny.engine(n_ctx=64) as engine:
        banned = dict.fromkeys(range(512), float("-inf"))
        dead = SamplingParams(grammar='root ::= "a"', logit_bias=banned, top_k=1)
        with pytest.raises(DeadEndError):
            engine.stream("a", dead, n_choices=3).results()
        assert engine.generate("a", max_tokens=1).n_completion == 1


def test_seeds_of_choices() -> None:
    """The first has the seed itself; no two of a seed, or of neighbouring seeds, have the same; all fit 63 bits."""
    assert choice_seed(-5, 0) == -5
    seeds = {choice_seed(seed, choice) for seed in (-(2**63), -1, 0, 1, 2, 2**63 - 1) for choice in range(1, 1025)}
    assert len(seeds) == 6 * 1024
    assert all(0 <= seed < 2**63 for seed in seeds)
    # splitmix64.c of Vigna, seeded with 1234567: its first two outputs, halved.
    assert [choice_seed(1234567, i) for i in (1, 2)] == [6457827717110365317 >> 1, 3203168211198807973 >> 1]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n_choices": 0}, "n_choices"),
        ({"n_choices": 1025}, "n_choices"),
        ({"n_choices": True}, "n_choices"),
        ({"first_choice": 1}, "first_choice"),
        ({"n_choices": 2, "first_choice": -1}, "first_choice"),
    ],
)
def test_numbers_that_cannot_be(tiny: Model, arguments: dict[str, int], field: str) -> None:
    """They are refused by name, and the engine is free."""
    with tiny.engine(n_ctx=64) as engine:
        for _ in range(2):
            with pytest.raises(InvalidArgumentError) as caught:
                engine.stream("a", **arguments)  # type: ignore[arg-type]
            assert caught.value.field == field


def check_any_cut(model: Model, data: st.DataObject) -> None:
    """Cuts a generation of several choices somewhere and compares what follows with what would have followed."""
    sampling = dataclasses.replace(
        data.draw(st.sampled_from([FREE, SAMPLINGS["grammar"]])), seed=data.draw(st.integers(0, 2**63))
    )
    n_choices, n_top = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([None, 0, 2]))

    def start(engine: Engine, stop: list[str], **so_far: object) -> Generation:
        return engine.stream(
            "影 star",
            sampling,
            max_tokens=8,
            stop=stop,
            n_choices=n_choices,
            n_top_logprobs=n_top,
            **so_far,  # type: ignore[arg-type]
        )

    with model.engine(n_ctx=64, n_batch=1) as engine:
        text = start(engine, []).results()[-1].text
        at = data.draw(st.integers(0, len(text)))
        stop = [part] if (part := text[at : at + 5]) and data.draw(st.booleans()) else []
        events = list(start(engine, stop))
        cut_at = data.draw(st.integers(0, len(events) - 1))
        shown = events[:cut_at]
        choice = shown[-1].choice + (shown[-1].finish_reason is not None) if shown else 0
        so_far = [token for event in shown if event.choice == choice for token in event.tokens]
        assert list(start(engine, stop, so_far=so_far, first_choice=choice)) == events[cut_at:]


@settings(max_examples=60)
@given(data=st.data())
def test_any_choice_goes_on(tiny: Model, data: st.DataObject) -> None:
    """Taken up in any choice at any token, the events that follow are equal, log-probabilities included."""
    check_any_cut(tiny, data)


@settings(max_examples=25)
@given(data=st.data())
def test_any_choice_of_a_recurrent_model_goes_on(mamba: Model, data: st.DataObject) -> None:
    """The same where the prompt has to be computed again for each choice."""
    check_any_cut(mamba, data)


def test_a_complete_choice_goes_on_with_the_next(tiny: Model) -> None:
    """Tokens that are a whole choice bring its end, and then the other choices as they would have been."""
    with tiny.engine(n_ctx=64, n_batch=1) as engine:
        events = list(engine.stream("star", FREE, max_tokens=6, n_choices=3))
        so_far = [token for event in events if event.choice == 1 for token in event.tokens]
        rest = list(engine.stream("star", FREE, max_tokens=6, n_choices=3, so_far=so_far, first_choice=1))
        assert rest[0] == Event("", (), next(e.finish_reason for e in events if e.choice == 1 and e.finish_reason), 1)
        assert rest[1:] == [event for event in events if event.choice == 2]
