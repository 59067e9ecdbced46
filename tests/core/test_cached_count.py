"""How many tokens of a prompt are said to have been there already, when answers go on that were cut off."""

from __future__ import annotations

from pathlib import Path

from prefix_models import text, write_model

from hoshikage_core import Model, SamplingParams

PROMPT = text(60)


def test_tokens_of_the_answer_are_none_of_the_prompt(tmp_path: Path) -> None:
    """Two equal answers go on: one takes over what the other computes, of the answer as well."""
    greedy = SamplingParams(temperature=0, ignore_eos=True)
    with Model(write_model("llama", tmp_path)) as model, model.engine(512, parallel=2, n_threads=1) as engine:
        so_far = engine.generate(PROMPT, greedy, max_tokens=60).tokens
        with model.engine(512, parallel=2, n_threads=1) as after_a_crash:
            both = [after_a_crash.stream(PROMPT, greedy, max_tokens=80, so_far=so_far) for _ in range(2)]
            first, second = (generation.result() for generation in both)
    assert first.tokens == second.tokens
    assert (first.n_cached, second.n_cached) == (0, len(PROMPT) - 1)
