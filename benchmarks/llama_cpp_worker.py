"""llama-cpp-python as a candidate, in a process of its own: times one greedy answer and prints it as JSON.

``decode.py`` starts it where the package is installed, with the same argument as ``core_worker.py``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from llama_cpp import Llama


def answer(llama: Any, messages: list[dict[str, str]], n_tokens: int) -> dict[str, object]:
    """One answer: when its first text was there, and its last, counted from before the prompt was rendered."""
    texts: list[tuple[float, str]] = []
    n_completion = 0
    start = time.perf_counter()
    for chunk in llama.create_chat_completion(messages, max_tokens=n_tokens, temperature=0, stream=True):
        (choice,) = chunk["choices"]
        if text := choice["delta"].get("content"):
            texts.append((time.perf_counter() - start, text))
        if choice["finish_reason"] == "length":
            n_completion = n_tokens
    return {
        # The last token is chosen and not computed, so the context holds one less than prompt and answer have.
        "n_prompt": llama.n_tokens - n_completion + 1,
        "n_completion": n_completion or len(texts),
        "first_text_s": texts[0][0],
        "last_text_s": texts[-1][0],
        "text": "".join(text for _, text in texts),
    }


def main() -> None:
    """Warms up with one short answer, then measures."""
    job = json.loads(sys.argv[1])
    llama = Llama(
        job["model"],
        n_ctx=job["n_ctx"],
        n_batch=job["n_batch"],
        n_threads=job["n_threads"],
        n_threads_batch=job["n_threads"],
        verbose=False,
    )
    answer(llama, [{"role": "user", "content": "Hi"}], 2)
    llama.reset()
    print(json.dumps(answer(llama, job["messages"], job["n_tokens"])))


if __name__ == "__main__":
    main()
