"""Models whose memory cannot be cut at any point go back to checkpoints, with the logits of computing everything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prefix_models import ROOM, is_near, logits, text, write_model

from hoshikage_core import Engine, Model, SamplingParams

GREEDY = SamplingParams(temperature=0)
RULES = "Answer like a lighthouse keeper who has seen many ships. " * 3


@pytest.fixture(scope="module", params=["sliding", "mamba", "hybrid"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model(request.param, tmp_path_factory.mktemp("models"))) as made:
        yield made


def new_engine(model: Model, cache_bytes: int = ROOM, parallel: int = 1) -> Engine:
    # Small pieces: the window's cache is small then, and has moved on soon.
    return model.engine(1024, parallel=parallel, n_batch=64, n_threads=1, cache_bytes=cache_bytes)


def fresh(model: Model, tokens: list[int]) -> list[float]:
    """The logits of computing all tokens."""
    with new_engine(model) as engine:
        return logits(engine, tokens, reuse=False)[1]


def chat(*turns: str) -> list[dict[str, str]]:
    """The keeper's rules, then the user's and the assistant's turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return [{"role": "system", "content": RULES}, *messages]


def n_tokens(model: Model, messages: list[dict[str, str]], *, answer: bool = False) -> int:
    """How many tokens a conversation has, without or with what begins its answer."""
    with closing(model.chat()) as template:
        prompt = template.render(messages, add_generation_prompt=answer).prompt
    return len(model.tokenize(prompt, parse_special=True))


def ask(engine: Engine, messages: list[dict[str, str]], n: int = 4) -> int:
    """Asks, and tells how many tokens were cached."""
    return engine.chat(messages, GREEDY, max_tokens=n).n_cached


def test_the_same_again(model: Model) -> None:
    """Only the last token is computed."""
    with new_engine(model) as engine:
        first = logits(engine, text(600))[1]
        n_cached, again = logits(engine, text(600))
        assert n_cached == 599
        assert is_near(first, again)


def test_where_two_have_parted_a_third_goes_on(model: Model) -> None:
    """The first prompt to part from another finds nothing to go back to, but leaves it."""
    with new_engine(model) as engine:
        logits(engine, text(600))
        assert logits(engine, text(300) + text(300, 1))[0] == 0
        third = text(300) + text(200, 2)
        n_cached, got = logits(engine, third)
        assert n_cached == 300
        assert is_near(got, fresh(model, third))


def test_an_answer_that_is_not_what_was_generated(model: Model) -> None:
    """As when a template leaves out the reasoning of earlier turns: what comes before the answer stays computed."""
    question = "What did you see in the storm? " * 8
    with new_engine(model) as engine:
        assert ask(engine, chat(question), n=32) == 0
        n_before = n_tokens(model, chat(question))
        n_cached = ask(engine, chat(question, "A ship.", "And then?"))
        assert n_before <= n_cached <= n_before + 8  # a window has not moved on that far yet
        assert ask(engine, chat(question, "A ship.", "And after that?")) >= n_before


def test_another_last_question(model: Model) -> None:
    """Who edits the last question, or asks another one under the same rules, has the rest computed once."""
    n_rules = n_tokens(model, chat())
    with new_engine(model) as engine:
        ask(engine, chat("What did you see in the storm? " * 8))
        for question in ("Who are you?", "What is your name?"):
            assert n_rules <= ask(engine, chat(question * 8)) <= n_rules + 8


@pytest.mark.parametrize("is_running", [True, False])
def test_rules_are_shared(model: Model, is_running: bool) -> None:
    """From a conversation that runs, or has ended: the rules are taken over, and both go on as they would alone."""
    storm, name = chat("What did you see in the storm? " * 8), chat("What is your name? " * 8)
    with new_engine(model) as alone:
        expected = [alone.chat(messages, GREEDY, max_tokens=12).tokens for messages in (storm, name)]
    with new_engine(model, parallel=2) as engine:
        first = engine.stream_chat(storm, GREEDY, max_tokens=12)
        while first.n_completion < (3 if is_running else 12):
            engine.step()
        second = engine.stream_chat(name, GREEDY, max_tokens=12)
        assert second.n_cached >= n_tokens(model, chat())
        assert [first.result().tokens, second.result().tokens] == expected
        assert ask(engine, [*storm, {"role": "assistant", "content": "A ship."}]) >= n_tokens(model, storm)


def test_checkpoints_go_with_what_they_belong_to(model: Model, tmp_path: Path) -> None:
    """Into host memory, and through a sleep into the next engine."""
    prompts = [text(300, seed) for seed in (1, 2, 3)]
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        with new_engine(model) as engine:
            for prompt in prompts:
                logits(engine, prompt)
            for prompt in prompts:
                assert logits(engine, prompt)[0] == 299
            engine._planner.s_per_token = 1.0  # as if computing took its time
            places = engine.lie_down(file.fileno(), room_bytes=ROOM, limit_s=60)
        with new_engine(model) as engine:
            engine.wake(file.fileno(), places)
            for prompt in prompts:
                n_cached, got = logits(engine, prompt)
                assert n_cached == 299
                assert is_near(got, fresh(model, prompt))


def test_room_for_checkpoints(model: Model) -> None:
    """They count: without room there are none, and with little the latest stay."""
    with new_engine(model, cache_bytes=0) as engine:
        for seed in range(3):
            assert logits(engine, text(300) + text(300, seed))[0] == 0
    with new_engine(model) as engine:
        logits(engine, text(600))
        n_bytes = engine._prefixes._checkpoints.n_bytes
    with new_engine(model, cache_bytes=int(n_bytes * 2.5), parallel=2) as engine:
        for seed in range(5):
            logits(engine, text(600, seed))
            assert engine._prefixes._checkpoints.n_bytes <= n_bytes * 2.5
        assert logits(engine, text(600, 4))[0] == 599


def test_choices_begin_at_a_checkpoint(model: Model) -> None:
    """A choice whose prompt has to be computed again begins near its end, and is what it would be alone."""
    sampling = SamplingParams(seed=3, temperature=1.0)
    with new_engine(model) as engine:
        several = engine.stream(text(600), sampling, max_tokens=8, n_choices=2).results()
    with new_engine(model, cache_bytes=0) as engine:
        plain = engine.stream(text(600), sampling, max_tokens=8, n_choices=2).results()
    assert [one.tokens for one in several] == [one.tokens for one in plain]
