"""What do guesses bring where an answer copies its prompt? For a model without sense, such as a random one.

The prompt is the model's own answer, and the first token of it again: a model whose every token depends on the one
before (``random_model.py`` writes such) gives the same answer once more, and n-grams of the prompt are right about it.
Both engines have the same model in one process and take turns; only decode counts, and the first round does not.
"""

from __future__ import annotations

from common import Options, Size, fail, rounds, run
from report import Report
from speculative import COPY_GOAL, N_CTX, NGRAM, WITHOUT, both_engines

from hoshikage_core import Engine, SamplingParams

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
RIGHT_AT_LEAST = 0.9


def tokens_per_s(engine: Engine, prompt: list[int], answer: list[int]) -> tuple[float, int, int]:
    """Decode speed of the copy, and how many tokens were guessed, and rightly."""
    with engine.stream(prompt, GREEDY, max_tokens=len(answer), reuse=False) as generation:
        done = generation.result()
        n_right = sum(ours == theirs for ours, theirs in zip(done.tokens, answer, strict=True))
        if n_right < RIGHT_AT_LEAST * len(answer):
            fail(f"only {n_right} of {len(answer)} tokens are the prompt's: this model does not copy")
        return (done.n_completion - 1) / done.timings.decode_s, generation.n_drafted, generation.n_accepted


def measure(options: Options) -> list[Report]:
    """Runs both engines in turn."""
    report = Report(
        title="Copying the prompt with and without guesses",
        settings=options.settings(n_ctx=N_CTX),
        build=options.build,
        references=(WITHOUT,),
        goals=(COPY_GOAL,),
    )
    with both_engines(options) as (plain, guessing):
        first = plain.model.tokenize("x")
        answer = list(plain.generate(first, GREEDY, max_tokens=options.tokens).tokens)
        prompt = [*first, *answer, *first]
        engines = {WITHOUT: plain, NGRAM: guessing}
        n_drafted = n_accepted = 0
        for engine in engines.values():
            tokens_per_s(engine, prompt, answer)
        for _ in rounds(options):
            for name, engine in engines.items():
                speed, drafted, accepted = tokens_per_s(engine, prompt, answer)
                report.add(name, {"copy": speed})
                n_drafted, n_accepted = n_drafted + drafted, n_accepted + accepted
    report.settings = {**report.settings, "right guesses": f"{n_accepted} of {n_drafted}"}
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("tokens", 256, quick=32, help="tokens to copy", least=2),
        repetitions=5,
        has_peers=False,
    )
