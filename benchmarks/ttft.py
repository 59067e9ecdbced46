"""How soon comes the first text: of a new conversation, its next turn, on return from another one, and after a sleep.

Ours and llama-server's HTTP streams, built from the same source, with the same model, threads and prompts, one after
the other in changing order. llama-server keeps its own prompt cache in RAM, and sleeps by --sleep-idle-seconds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from common import Options, Size, rounds, run
from report import Goal, Report
from servers import MODEL_ID, N_BATCH, N_CTX, OURS, SENTENCE, THEIRS, Server, in_turn, llama_server, our_server
from streams import StreamTiming, stream_chat

SLEEP_S = 1
N_TOKENS = 8
Message = dict[str, str]
GOALS = (
    Goal("second turn: TTFT / llama-server's", (OURS, "next turn"), (THEIRS, "next turn"), at_most=1.0),
    Goal("switchback A-B-A: TTFT on return / first TTFT", (OURS, "return"), (OURS, "new"), at_most=0.05),
    Goal("after idle unload: TTFT / llama-server's", (OURS, "after sleep"), (THEIRS, "after sleep"), at_most=0.2),
)


class Talk:
    """A conversation with a server."""

    def __init__(self, port: int, topic: str, n_sentences: int) -> None:
        self._port = port
        self._messages: list[Message] = [
            {"role": "system", "content": f"{topic}. You are a storyteller."},
            {"role": "user", "content": f"{SENTENCE * n_sentences}Tell me a long story about this keeper."},
        ]
        self.n_prompt = 0

    def first_text_ms(self) -> float:
        """Asks, and says when the first text came; the next question will be about the answer."""
        request = {"model": MODEL_ID, "messages": self._messages, "max_tokens": N_TOKENS, "temperature": 0}
        timing: StreamTiming = stream_chat(self._port, request)
        self._messages += [{"role": "assistant", "content": timing.text}, {"role": "user", "content": "And then?"}]
        self.n_prompt = timing.n_prompt
        return timing.first_text_s * 1000


def sleep(name: str, server: Server) -> None:
    """Sends a server to sleep: ours by asking it to; asking llama-server would wake it."""
    if name == OURS:
        server.unload()
    else:
        time.sleep(2 * SLEEP_S + 1)


def one_life(name: str, server: Server, repetition: int, n_sentences: int) -> tuple[dict[str, float], int]:
    """All situations, once; and how long the longest prompt was."""
    first = Talk(server.port, f"Run {repetition:03d}, the first", n_sentences)
    other = Talk(server.port, f"Run {repetition:03d}, the other", n_sentences)
    figures = {"new": first.first_text_ms(), "next turn": first.first_text_ms()}
    other.first_text_ms()
    figures["return"] = first.first_text_ms()
    sleep(name, server)
    figures["after sleep"] = first.first_text_ms()
    return figures, first.n_prompt


def measure(options: Options) -> list[Report]:
    """Runs both, each once a repetition."""
    with ExitStack() as running:
        servers = {OURS: running.enter_context(our_server(options.model, options.threads))}
        if options.tools:
            arguments = ("-np", "1", "--sleep-idle-seconds", str(SLEEP_S))
            servers[THEIRS] = running.enter_context(
                llama_server(options.tools.llama_server, options.model, options.threads, *arguments)
            )
        for server in servers.values():
            Talk(server.port, "Warm up", 1).first_text_ms()
        report = Report(
            title="Time to the first text",
            settings=options.settings(n_ctx=N_CTX, n_batch=N_BATCH),
            build=options.build,
            unit="ms",
            references=(THEIRS,),
            goals=GOALS,
            samples={name: {} for name in servers},
        )
        for repetition in rounds(options):
            for name in in_turn(list(servers), repetition):
                figures, n_prompt = one_life(name, servers[name], repetition, options.sentences)
                report.add(name, figures)
                report.settings = {**report.settings, "n_prompt": n_prompt}
    return [report]


if __name__ == "__main__":
    run(__doc__, measure, Size("sentences", 94, quick=3, help="length of a conversation's beginning"), repetitions=5)
