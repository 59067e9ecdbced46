"""hoshikage_core as a candidate, in a process of its own: times one greedy answer and prints it as JSON.

``decode.py`` starts it; the argument is ``{"model", "messages", "n_tokens", "n_threads", "n_ctx", "n_batch"}``.
"""

from __future__ import annotations

import json
import sys
import time

from hoshikage_core import Engine, Model, SamplingParams


def answer(engine: Engine, messages: list[dict[str, str]], n_tokens: int) -> dict[str, object]:
    """One answer: when its first token was there, and its last, counted from before the prompt was rendered."""
    start = time.perf_counter()
    generation = engine.stream_chat(messages, SamplingParams(temperature=0), max_tokens=n_tokens)
    while not (generation.n_completion or generation.finished):
        engine.step()
    first_s = time.perf_counter() - start
    while not generation.finished:
        engine.step()
    last_s = time.perf_counter() - start
    text = "".join(event.text for event in generation)  # raises what may have ended it
    return {
        "n_prompt": generation.n_prompt,
        "n_completion": generation.n_completion,
        "first_text_s": first_s,
        "last_text_s": last_s,
        "text": text,
    }


def main() -> None:
    """Warms up with one short answer, then measures."""
    job = json.loads(sys.argv[1])
    with (
        Model(job["model"]) as model,
        model.engine(n_ctx=job["n_ctx"], n_batch=job["n_batch"], n_threads=job["n_threads"]) as engine,
    ):
        answer(engine, [{"role": "user", "content": "Hi"}], 2)
        print(json.dumps(answer(engine, job["messages"], job["n_tokens"])))


if __name__ == "__main__":
    main()
