"""GET /v1/status: what the server is doing. It neither wakes a model nor keeps one awake.

The fields are documented in docs/status.md. They are only ever added to; `schema` counts changes that break this.
"""

from __future__ import annotations

import time
from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.footprint import Freed, Usage
from hoshikage_server.engines.supervisor import EngineSnapshot, Snapshot, State
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import LiveSettings

SCHEMA = 1

_encode = msgspec.json.Encoder().encode


class Memory(msgspec.Struct, frozen=True):
    """What processes hold, in bytes."""

    rss_bytes: int
    private_bytes: int
    vram_bytes: int | None


class EngineStatus(msgspec.Struct, frozen=True):
    """One engine process."""

    model: str
    state: str
    since: float
    pid: int
    n_ctx: int | None
    degraded: tuple[str, ...]
    build: str | None
    load_progress: float | None
    load_s: float | None
    seconds_to_unload: float | None
    memory: Memory | None


class QueueStatus(msgspec.Struct, frozen=True):
    """The lane."""

    running: int
    parallel: int
    waiting: int
    max_waiting: int
    waits_s: tuple[float, ...]


class RequestStatus(msgspec.Struct, frozen=True):
    """One answer under way."""

    id: str
    model: str
    phase: str
    age_s: float
    n_prompt: int | None
    n_completion: int
    n_resumed: int


class UnloadStatus(msgspec.Struct, frozen=True):
    """What the last unloading gave back."""

    model: str
    at: float
    freed: Memory | None
    is_all: bool
    left: Memory


class CrashStatus(msgspec.Struct, frozen=True):
    """One death of an engine."""

    at: float
    model: str
    reason: str


class StatusObject(msgspec.Struct, frozen=True):
    """The body of the response."""

    state: State
    since: float
    model: str | None
    engines: tuple[EngineStatus, ...]
    queue: QueueStatus
    requests: tuple[RequestStatus, ...]
    retry_in_s: dict[str, float]
    last_unload: UnloadStatus | None
    last_tokens_per_s: float | None
    n_engine_starts: int
    n_engine_crashes: int
    crashes: tuple[CrashStatus, ...]
    last_error: str | None
    model_map_error: str | None
    version: str
    uptime_s: float
    object: Literal["hoshikage.status"] = "hoshikage.status"
    schema: int = SCHEMA


class Status:
    """The state of the server."""

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._answers = answers
        self._began = time.monotonic()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells it as it is now."""
        answers = self._answers
        usages = answers.supervisor.usages()  # may take a moment where there is a GPU; all else is of one moment
        snapshot = answers.supervisor.snapshot()
        status = StatusObject(
            state=snapshot.state,
            since=snapshot.since,
            model=snapshot.model,
            engines=tuple(_engine(engine, usages.get(engine.pid)) for engine in snapshot.engines),
            queue=self._queue(),
            requests=tuple(_request(answer) for answer in sorted(answers.running, key=lambda answer: answer.began)),
            retry_in_s={model: round(pause_s, 3) for model, pause_s in answers.supervisor.cooling().items()},
            last_unload=_last_unload(snapshot),
            last_tokens_per_s=_rounded(answers.last_tokens_per_s),
            n_engine_starts=snapshot.n_starts,
            n_engine_crashes=snapshot.n_crashes,
            crashes=tuple(CrashStatus(crash.at, crash.model, crash.reason) for crash in snapshot.crashes),
            last_error=snapshot.last_error,
            model_map_error=str(self._models.error) if self._models.error else None,
            version=__version__,
            uptime_s=round(time.monotonic() - self._began, 3),
        )
        response.data = _encode(status)
        response.content_type = falcon.MEDIA_JSON

    def _queue(self) -> QueueStatus:
        lane, settings = self._answers.lane, self._settings.now
        waits_s = tuple(round(wait_s, 3) for wait_s in lane.waits_s())
        return QueueStatus(lane.n_running, settings.parallel, lane.n_waiting, settings.max_queue, waits_s)


def _engine(engine: EngineSnapshot, usage: Usage | None) -> EngineStatus:
    idle_s = None if engine.idle_until is None else round(max(engine.idle_until - time.monotonic(), 0.0), 3)
    ready = engine.ready
    return EngineStatus(
        model=engine.model,
        state=engine.state,
        since=engine.since,
        pid=engine.pid,
        n_ctx=ready.n_ctx if ready else None,
        degraded=ready.degraded if ready else (),
        build=ready.build if ready else None,
        load_progress=_rounded(engine.progress),
        load_s=_rounded(engine.load_s),
        seconds_to_unload=idle_s,
        memory=_memory(usage) if usage else None,
    )


def _request(answer: Answer) -> RequestStatus:
    return RequestStatus(
        id=answer.request_id,
        model=answer.model,
        phase=answer.phase,
        age_s=round(time.monotonic() - answer.began, 3),
        n_prompt=answer.n_prompt,
        n_completion=answer.n_completion,
        n_resumed=answer.n_resumed,
    )


def _last_unload(snapshot: Snapshot) -> UnloadStatus | None:
    last = snapshot.last_unload
    if last is None:
        return None
    freed: Freed = last.freed
    usage = _memory(freed.usage) if freed.usage else None
    return UnloadStatus(last.model, last.at, usage, freed.is_all, _memory(freed.left))


def _memory(usage: Usage) -> Memory:
    return Memory(usage.rss_bytes, usage.private_bytes, usage.vram_bytes)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
