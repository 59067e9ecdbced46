"""How fast are several clients at once: total tokens a second of N streams, ours and llama-server's side by side.

Both get as many sequences as there are clients, the same context for all of them together, and the same prompts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from common import Options, Size, rounds, run
from report import Goal, Report
from servers import N_BATCH, N_CTX, OURS, THEIRS, Task, in_turn, llama_server, our_server
from streams import stream_chat

GOALS = (
    Goal("4 clients: total tokens/s / llama-server -np 4", (OURS, "4 at once"), (THEIRS, "4 at once"), at_least=1.1),
    Goal("8 clients: total tokens/s / llama-server -np 8", (OURS, "8 at once"), (THEIRS, "8 at once"), at_least=1.0),
)


def together(port: int, task: Task, n_clients: int, repetition: int) -> float:
    """Tokens a second of all clients, from the first request to the last text."""
    with ThreadPoolExecutor(n_clients) as pool:
        requests = [task.request(repetition * n_clients + client) for client in range(n_clients)]
        timings = list(pool.map(lambda request: stream_chat(port, request), requests))
    return sum(timing.n_completion for timing in timings) / max(timing.last_text_s for timing in timings)


def measure(options: Options) -> list[Report]:
    """Both, for each number of clients, each once a repetition."""
    task = Task(options.model, options.threads, options.sentences, options.tokens)
    report = Report(
        title="Several clients at once",
        settings=options.settings(n_ctx=N_CTX, n_batch=N_BATCH),
        build=options.build,
        references=(THEIRS,),
        goals=GOALS,
        samples={name: {} for name in (OURS, THEIRS) if name == OURS or options.tools},
    )
    for n_clients in options.clients:
        with ExitStack() as running:
            ours = our_server(task.model, task.n_threads, parallel=n_clients, cache_ram=0)
            ports = {OURS: running.enter_context(ours).port}
            if options.tools:
                # One context for all of them, as ours is.
                arguments = ("-np", str(n_clients), "-kvu", "--cache-ram", "0")
                theirs = llama_server(options.tools.llama_server, task.model, task.n_threads, *arguments)
                ports[THEIRS] = running.enter_context(theirs).port
            for port in ports.values():
                together(port, task, n_clients, 0)
            for repetition in rounds(options, f"{n_clients} clients: repetition"):
                for name in in_turn(list(ports), repetition):
                    report.add(name, {f"{n_clients} at once": together(ports[name], task, n_clients, repetition)})
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("clients", (1, 2, 4, 8), quick=(1, 2), help="how many at once"),
        Size("tokens", 64, quick=8, help="tokens to generate for each", least=2),
        Size("sentences", 4, quick=1, help="length of the prompts"),
        repetitions=4,
    )
