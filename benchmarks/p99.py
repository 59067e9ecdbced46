"""How even are short plain answers: half, 90 and 99 of 100 of them, ours and llama-server's in turn.

One client, a new connection each time, answers of a few tokens that are not streamed, some in a row of each. A slow
machine is slow for all of them; what one of a hundred waits longer than the others is the server's doing, or the
neighbours'.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import quantiles

from common import Options, Size, rounds, run
from report import Goal, Report
from servers import MODEL_ID, N_CTX, OURS, THEIRS, in_turn, llama_server, our_server
from streams import plain_chat

BLOCK = 30  # answers of one before the other has its turn
GOALS = (Goal("non-streamed 8-token answers: p99/p50", (OURS, "p99/p50"), at_most=1.5),)


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """What a half, nine in ten and all but one in a hundred stay below."""
    hundredths = quantiles(times_ms, n=100, method="inclusive")
    p50, p90, p99 = hundredths[49], hundredths[89], hundredths[98]
    return {"p50": p50, "p90": p90, "p99": p99, "p99/p50": p99 / p50}


def request(options: Options, content: str) -> dict[str, object]:
    """A short question, and how short its answer is to be."""
    messages = [{"role": "user", "content": content}]
    return {"model": MODEL_ID, "messages": messages, "max_tokens": options.tokens, "temperature": 0}


def measure(options: Options) -> list[Report]:
    """Both, one answer each in turn."""
    report = Report(
        title="Short plain answers",
        settings=options.settings(n_ctx=N_CTX),
        build=options.build,
        unit="ms",
        units={"p99/p50": ""},
        references=(THEIRS,),
        goals=GOALS,
    )
    with ExitStack() as running:
        servers = {OURS: running.enter_context(our_server(options.model, options.threads))}
        if options.tools:
            theirs = llama_server(options.tools.llama_server, options.model, options.threads, "-np", "1")
            servers[THEIRS] = running.enter_context(theirs)
        for repetition in rounds(options):
            times_ms: dict[str, list[float]] = {name: [] for name in servers}
            for first in range(0, options.answers, BLOCK):
                numbers = range(first, min(first + BLOCK, options.answers))
                for name in in_turn(list(servers), first // BLOCK):
                    plain_chat(servers[name].port, request(options, f"Warm up {repetition}.{first}."))
                    for number in numbers:
                        question = request(options, f"Question {repetition}.{number}: how tall is a lighthouse?")
                        times_ms[name].append(1000 * plain_chat(servers[name].port, question))
            for name, times in times_ms.items():
                report.add(name, percentiles(times))
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("answers", 150, quick=3, help="answers of each in a repetition", least=2),
        Size("tokens", 8, quick=4, help="tokens of an answer"),
        repetitions=3,
    )
