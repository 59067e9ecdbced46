"""hoshikage_core in a long context, in a process of its own: prints prefill and decode speed at each depth as JSON.

``long_context.py`` starts it; the argument is ``{"model", "n_threads", "n_batch", "n_ctx", "depths", "n_prompt",
"n_tokens"}``. What lies before is computed first and not timed: the engine knows it when the timed part begins.
"""

from __future__ import annotations

import json
import sys

from hoshikage_core import Engine, Model, SamplingParams

FILLER = "The keeper climbs the stairs at dusk, cleans the lamp and writes down the weather. "
GREEDY = SamplingParams(temperature=0, ignore_eos=True)


def speeds(engine: Engine, tokens: list[int], depth: int, n_prompt: int, n_tokens: int) -> dict[str, float]:
    """Tokens per second of a further piece of prompt, and of an answer, after so many tokens."""
    before = tokens[: max(1, depth)]
    engine.generate(before, GREEDY, max_tokens=1)
    prompt = engine.generate(tokens[: depth + n_prompt], GREEDY, max_tokens=1)
    answer = engine.generate(before, GREEDY, max_tokens=n_tokens)
    for done in (prompt, answer):
        if done.n_cached < depth - 1:  # the last token is always computed again
            sys.exit(f"only {done.n_cached} of {depth} tokens were there already")
    return {
        "prefill": (prompt.n_prompt - prompt.n_cached) / prompt.timings.prefill_s,
        "decode": (answer.n_completion - 1) / answer.timings.decode_s,
    }


def main() -> None:
    """Warms up, then measures one depth after the other."""
    job = json.loads(sys.argv[1])
    with (
        Model(job["model"]) as model,
        model.engine(n_ctx=job["n_ctx"], n_batch=job["n_batch"], n_threads=job["n_threads"]) as engine,
    ):
        filler = model.tokenize(FILLER)
        tokens = filler * (job["n_ctx"] // len(filler) + 1)
        engine.generate("Hi", GREEDY, max_tokens=2)
        found = {depth: speeds(engine, tokens, depth, job["n_prompt"], job["n_tokens"]) for depth in job["depths"]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
