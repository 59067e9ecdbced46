"""What does choosing a token cost, and would it pay to let the GPU choose? Decode of greedy and of sampled answers.

llama-server samples on the GPU with ``--backend-sampling``; where that is no faster than without it, neither would it
be with us. The chain is temperature 0.8, top-k 40, top-p 0.95, min-p 0.05 for all; a large vocabulary makes it dear.
"""

from __future__ import annotations

from contextlib import ExitStack

from common import Options, Size, fail, rounds, run
from report import Report
from servers import N_BATCH, N_CTX, OURS, THEIRS, Task, in_turn, llama_server, our_server
from streams import stream_chat

ON_GPU = "llama-server --backend-sampling"
CHAIN = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": 1}
ANSWERS: dict[str, dict[str, object]] = {"greedy": {}, "sampled": dict(CHAIN)}


def decode_speeds(port: int, task: Task, repetition: int) -> dict[str, float]:
    """Tokens a second of each kind of answer."""
    speeds = {}
    for name, sampling in ANSWERS.items():
        timing = stream_chat(port, task.request(repetition) | sampling)
        if timing.n_completion != task.n_tokens:
            fail(f"an answer ended after {timing.n_completion} of {task.n_tokens} tokens: ask for fewer with --tokens")
        speeds[name] = timing.speeds()["decode"]
    return speeds


def measure(options: Options) -> list[Report]:
    """Runs all, each once a repetition."""
    task = Task(options.model, options.threads, 4, options.tokens)
    report = Report(
        title="Decode with and without sampling",
        settings=options.settings(n_ctx=N_CTX, n_batch=N_BATCH, **CHAIN),
        build=options.build,
        references=(THEIRS,),
    )
    with ExitStack() as running:
        ports = {OURS: running.enter_context(our_server(task.model, task.n_threads, cache_ram=0)).port}
        if options.tools:
            for name, arguments in {THEIRS: (), ON_GPU: ("--backend-sampling",)}.items():
                theirs = llama_server(
                    options.tools.llama_server, task.model, task.n_threads, "-np", "1", "--cache-ram", "0", *arguments
                )
                ports[name] = running.enter_context(theirs).port
        report.samples = {name: {} for name in ports}
        for port in ports.values():
            decode_speeds(port, task, 0)
        for repetition in rounds(options):
            for name in in_turn(list(ports), repetition):
                report.add(name, decode_speeds(ports[name], task, repetition))
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("tokens", 128, quick=8, help="tokens to generate", least=2),
        repetitions=4,
    )
