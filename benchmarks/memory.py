"""What does it hold: memory before a model is loaded, with it, and after it was unloaded; what does it do meanwhile?

PSS of all processes: pages that several share (a model's file among them) are divided among those that share them.
llama-server has its model from the beginning, and unloads it by --sleep-idle-seconds. Each repetition starts anew.
"""

from __future__ import annotations

import time

from common import Options, Size, fail, rounds, run
from processes import idle_cost, pss_mib
from report import Goal, Report
from servers import OURS, THEIRS, Server, Task, in_turn, llama_server, our_server
from streams import stream_chat

ENGINE = "hoshikage: the engine alone"
SLEEP_S = 1
SLEEP_LIMIT_S = 30.0
GOALS = (
    Goal("server with no model, MiB", (OURS, "dark"), at_most=80),
    Goal("server after a model, MiB", (OURS, "after"), at_most=80),
)


def our_life(task: Task, watch_s: float, memory: Report, idle: Report) -> None:
    """Dark, loaded, dark again."""
    with our_server(task.model, task.n_threads) as server:
        memory.add(OURS, {"dark": pss_mib(server.pids)})
        idle.add("hoshikage, dark", idle_cost(server.pids, watch_s))
        stream_chat(server.port, task.request(0))
        (engine,) = server.status["engines"]
        memory.add(OURS, {"loaded": pss_mib(server.pids)})
        memory.add(ENGINE, {"loaded": pss_mib([engine["pid"]])})
        idle.add("hoshikage, loaded", idle_cost(server.pids, watch_s))
        server.unload()
        memory.add(OURS, {"after": pss_mib(server.pids)})


def their_life(options: Options, task: Task, memory: Report) -> None:
    """Loaded, asleep."""
    arguments = ("-np", "1", "--sleep-idle-seconds", str(SLEEP_S))
    with llama_server(options.tools.llama_server, task.model, task.n_threads, *arguments) as server:
        stream_chat(server.port, task.request(0))
        loaded = pss_mib(server.pids)
        memory.add(THEIRS, {"loaded": loaded, "after": _asleep_mib(server, loaded)})


def _asleep_mib(server: Server, loaded_mib: float) -> float:
    """What it holds once it sleeps, which only its memory tells: asking would wake it."""
    deadline = time.monotonic() + SLEEP_LIMIT_S
    before = loaded_mib
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = pss_mib(server.pids)
        if now < 0.9 * loaded_mib and now == before:
            return now
        before = now
    return fail(f"llama-server did not give its memory back within {SLEEP_LIMIT_S:.0f} s")


def measure(options: Options) -> list[Report]:
    """Both, each once a repetition."""
    task = Task(options.model, options.threads, 10, options.tokens)
    memory = Report(
        "Memory",
        options.settings(),
        options.build,
        unit="MiB",
        references=(THEIRS,),
        goals=GOALS,
        samples={OURS: {}, ENGINE: {}},
    )
    idle = Report("In a second without requests", options.settings(), options.build, unit="", units={"processor": "ms"})
    idle.goals = (Goal("wake-ups a second, dark: one of each process", ("hoshikage, dark", "wake-ups"), at_most=2),)
    for repetition in rounds(options):
        for name in in_turn([OURS, *([THEIRS] if options.tools else [])], repetition):
            if name == OURS:
                our_life(task, options.watch, memory, idle)
            else:
                their_life(options, task, memory)
    return [memory, idle]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("tokens", 32, quick=4, help="tokens to generate", least=2),
        Size("watch", 5.0, quick=1.0, help="seconds to watch an idle server", least=0.1),
        repetitions=3,
    )
