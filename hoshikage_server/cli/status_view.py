"""A server's state as a table for people."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hoshikage_server import messages
from hoshikage_server.api.status_objects import (
    NO_GPU,
    EnergyStatus,
    EngineStatus,
    GpuStatus,
    Memory,
    QueueStatus,
    RequestStatus,
    StatusObject,
    UnloadStatus,
)
from hoshikage_server.cli.columns import GAP, columns
from hoshikage_server.messages import Size


class StatusView:
    """Words for what the server tells.

    Args:
        language: Whose.
        now: Unix time.
    """

    def __init__(self, language: str, now: float | None = None) -> None:
        self._language = language
        self._now = time.time() if now is None else now

    def table(self, status: StatusObject, url: str) -> str:
        """All of it. What there is nothing to say about has no row."""
        say = self._say
        rows: list[tuple[str, list[str]]] = [
            ("server", [f"{url}{GAP}Hoshikage {status.version}{GAP}{self._for(status.uptime_s)}"]),
            ("state", [f"{say(f'state_{status.state}')}{GAP}{self._for(self._now - status.since)}"]),
            ("engines", columns(self._engine_cells(engine) for engine in status.engines)),
            ("no_gpu", list(dict.fromkeys(engine.no_gpu for engine in status.engines if engine.no_gpu))),
            ("gpus", columns(self._gpu_cells(gpu) for gpu in status.gpus)),
            ("energy", columns(self._energy_cells(*item) for item in status.energy.items())),
            ("queue", [self._queue(status.queue)]),
            ("requests", columns(self._request_cells(request) for request in status.requests)),
            *self._history(status),
            ("retry", columns(self._pause_cells(status))),
            ("error", [status.last_error] if status.last_error else []),
            ("model_map", [*filter(None, [status.model_map_error]), *status.model_map_refused]),
            ("personas", list(status.persona_errors)),
        ]
        cells = ([say(f"row_{name}") if i == 0 else "", line] for name, lines in rows for i, line in enumerate(lines))
        return "\n".join(columns(cells))

    def loaded(self, engine: EngineStatus) -> list[str]:
        """What a load has cost."""
        took = "" if engine.load_s is None else self.duration(engine.load_s)
        cells = [took, self._memory(engine.memory), self._layers(engine), self._degraded(engine)]
        return [cell for cell in cells if cell]

    def unloaded(self, unload: UnloadStatus) -> list[str]:
        """What an unload has given back, and what stayed."""
        told = []
        if unload.freed is not None:
            told.append(self._say("status_given_back", sizes=_sizes(unload.freed)))
        if unload.left_pids:
            pids = ", ".join(map(str, unload.left_pids))
            left = self._join(self._say("status_processes", pids=pids), _sizes(unload.left))
            told.append(self._say("status_stayed", what=left))
        return [*told, unload.problem] if unload.problem else told

    def duration(self, seconds: float) -> str:
        """A time as people say it."""
        whole = round(max(seconds, 0.0))
        if whole < 10:
            return self._say("time_s", s=f"{max(seconds, 0.0):.{1 if whole else 2}f}")
        if whole < 60:
            return self._say("time_s", s=whole)
        if whole < 3600:
            return self._say("time_min", m=whole // 60, s=whole % 60)
        if whole < 86400:
            return self._say("time_h", h=whole // 3600, m=whole % 3600 // 60)
        return self._say("time_d", d=whole // 86400, h=whole % 86400 // 3600)

    def _history(self, status: StatusObject) -> Iterator[tuple[str, list[str]]]:
        say = self._say
        if status.last_tokens_per_s is not None:
            yield "speed", [say("status_tokens_per_s", n=f"{status.last_tokens_per_s:.1f}")]
        if (load := status.last_load) is not None:
            took = say("status_took", time=self.duration(load.load_s))
            yield "load", [self._join(load.model, self._ago(load.at), took)]
        if (unload := status.last_unload) is not None:
            yield "unload", [self._join(unload.model, self._ago(unload.at), *self.unloaded(unload))]
        if status.crashes:
            crash = status.crashes[-1]
            count = say("status_crash_count", n_crashes=status.n_engine_crashes, n_starts=status.n_engine_starts)
            last = self._join(crash.model, self._ago(crash.at), crash.reason)
            yield "crashes", [self._join(count, say("status_last", what=last))]

    def _pause_cells(self, status: StatusObject) -> Iterator[list[str]]:
        for model, pause_s in status.retry_after_s.items():
            yield [model, self._say("time_left", time=self.duration(pause_s))]

    def _engine_cells(self, engine: EngineStatus) -> list[str]:
        state = self._say(f"state_{engine.state}")
        if engine.load_progress is not None:
            state += f" {engine.load_progress:.0%}"
        going = engine.seconds_to_unload
        return [
            engine.model,
            state,
            self._for(self._now - engine.since),
            self._memory(engine.memory),
            self._layers(engine),
            self._loaded_in(engine),
            "" if going is None else self._say("status_unloads_in", time=self.duration(going)),
            self._degraded(engine),
        ]

    def _gpu_cells(self, gpu: GpuStatus) -> list[str]:
        used, total = (None if n is None else Size(n) for n in (gpu.used_bytes, gpu.total_bytes))
        return [
            gpu.name,
            "" if used is None else f"VRAM {used}" if total is None else f"VRAM {used} / {total}",
            "" if gpu.utilisation is None else f"{gpu.utilisation:.0%}",
            "" if gpu.power_w is None else f"{gpu.power_w:.0f} W",
            "" if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
            "" if gpu.energy_j is None else self._say("status_since_load", energy=_joules(gpu.energy_j)),
        ]

    def _energy_cells(self, model: str, energy: EnergyStatus) -> list[str]:
        per_token = energy.j_per_token
        return [
            model,
            "" if per_token is None else self._say("status_per_token", energy=_joules(per_token)),
            self._say("status_last_answer", energy=_joules(energy.last_answer_j)),
            self._say("status_in_all", energy=_joules(energy.total_j)),
        ]

    def _request_cells(self, request: RequestStatus) -> list[str]:
        n_tokens = request.n_completion
        return [
            request.id,
            request.model,
            self._say(f"phase_{request.phase}"),
            self._for(request.age_s),
            self._say("status_tokens", n=n_tokens) if n_tokens else "",
            self._say("status_resumed", n=request.n_resumed) if request.n_resumed else "",
        ]

    def _queue(self, queue: QueueStatus) -> str:
        cells = [
            self._say("status_running", n=queue.running, limit=queue.parallel),
            self._say("status_waiting", n=queue.waiting, limit=queue.max_waiting),
        ]
        if queue.waits_s:
            cells.append(self._say("status_longest", time=self.duration(queue.waits_s[0])))
        return self._join(*cells)

    def _loaded_in(self, engine: EngineStatus) -> str:
        return "" if engine.load_s is None else self._say("status_loaded_in", time=self.duration(engine.load_s))

    def _degraded(self, engine: EngineStatus) -> str:
        steps = [step for step in engine.degraded if step != NO_GPU]
        return self._say("status_degraded", steps=", ".join(steps)) if steps else ""

    def _layers(self, engine: EngineStatus) -> str:
        if engine.no_gpu is not None:
            return self._say("status_no_gpu")
        if engine.rpc_servers and engine.gpu_layers:
            servers = ", ".join(engine.rpc_servers)
            return self._say("status_rpc_layers", servers=servers, n=engine.gpu_layers, of=engine.n_layers)
        return self._say("status_gpu_layers", n=engine.gpu_layers, of=engine.n_layers) if engine.gpu_layers else ""

    def _memory(self, memory: Memory | None) -> str:
        return "" if memory is None else _sizes(memory)

    def _for(self, seconds: float) -> str:
        return self._say("time_for", time=self.duration(seconds))

    def _ago(self, at: float) -> str:
        return self._say("time_ago", time=self.duration(self._now - at))

    def _join(self, *cells: str) -> str:
        return self._say("comma").join(cells)

    def _say(self, key: str, **values: object) -> str:
        return messages.text(key, self._language, **values)


def _sizes(memory: Memory) -> str:
    ram = f"RAM {Size(memory.rss_bytes)}"
    return ram if memory.vram_bytes is None else f"{ram}, VRAM {Size(memory.vram_bytes)}"


def _joules(energy_j: float) -> str:
    if energy_j >= 1000:
        return f"{energy_j / 1000:.1f} kJ"
    return f"{energy_j:.{1 if energy_j >= 10 else 2}f} J"
