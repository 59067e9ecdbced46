"""What does it hold of the GPU: before a model is loaded, with it, and after it was unloaded?

Figures are the driver's (NVML), for all GPUs together: nobody else may use them meanwhile. After unloading, not a byte
more may be in use than before the server was started, its CUDA context included. Beside them stands what the server's
own status says of its engine, and of the energy of its answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pynvml
from common import Options, Size, fail, rounds, run
from report import Goal, Report
from servers import MODEL_ID, OURS, Server, Task, our_server
from streams import stream_chat

RELEASE_LIMIT_S = 5.0  # the driver takes its time to see that a process is gone
STATUS_LIMIT_S = 2.0
GOALS = (
    Goal("VRAM of a server with no model, MiB", (OURS, "dark"), at_most=0),
    Goal("VRAM after unload, more than before, MiB", (OURS, "left"), at_most=0),
    Goal("processes of ours on the GPU after unload", (OURS, "processes left"), at_most=0),
)


@contextmanager
def nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        fail(f"no NVIDIA GPU here: {error}")
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _devices() -> list[object]:
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def used_mib() -> float:
    """In use on all GPUs."""
    return sum(pynvml.nvmlDeviceGetMemoryInfo(device).used for device in _devices()) / 2**20


def n_processes() -> int:
    """Processes that compute on any GPU."""
    return sum(len(pynvml.nvmlDeviceGetComputeRunningProcesses(device)) for device in _devices())


def told(server: Server) -> dict[str, float]:
    """What the status says; no figure where the driver does not tell."""
    deadline = time.monotonic() + STATUS_LIMIT_S
    while not (status := server.status)["energy"] and time.monotonic() < deadline:
        time.sleep(0.05)  # it asks the driver when the answer has ended
    vram_bytes = status["engines"][0]["memory"]["vram_bytes"]
    energy = status["energy"].get(MODEL_ID, {})
    found = {"by status": vram_bytes and vram_bytes / 2**20, "energy": energy.get("j_per_token")}
    return {name: figure for name, figure in found.items() if figure is not None}


def measure(options: Options) -> list[Report]:
    """A whole life of a server in each repetition."""
    units = {"processes left": "", "release": "ms", "energy": "J/token"}
    report = Report("GPU memory", options.settings(), options.build, unit="MiB", units=units, goals=GOALS)
    task = Task(options.model, options.threads, 4, options.tokens)
    with nvml():
        for repetition in rounds(options):
            before, n_before = used_mib(), n_processes()
            with our_server(task.model, task.n_threads) as server:
                dark = used_mib()
                stream_chat(server.port, task.request(repetition))
                loaded = used_mib()
                by_status = told(server)
                server.unload()
                begun = time.monotonic()
                while used_mib() > before and time.monotonic() < begun + RELEASE_LIMIT_S:
                    time.sleep(0.01)
                figures = {"dark": dark - before, "loaded": loaded - before, "left": used_mib() - before}
                figures["release"] = 1000 * (time.monotonic() - begun)
                figures["processes left"] = n_processes() - n_before
            report.add(OURS, {**figures, **by_status})
    return [report]


if __name__ == "__main__":
    run(
        __doc__,
        measure,
        Size("tokens", 128, quick=4, help="tokens to generate", least=2),
        repetitions=3,
        has_peers=False,
    )
