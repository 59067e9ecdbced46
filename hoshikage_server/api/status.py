"""GET /v1/status: what the server is doing. It neither wakes a model nor keeps one awake."""

from __future__ import annotations

import time
from typing import Literal

import falcon
import msgspec

from hoshikage_server import __version__
from hoshikage_server.engines.answers import Answers
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import LiveSettings

_encode = msgspec.json.Encoder().encode


class EngineStatus(msgspec.Struct, frozen=True):
    """The engine process, while there is one."""

    pid: int
    n_ctx: int | None
    load_progress: float | None
    load_s: float | None


class QueueStatus(msgspec.Struct, frozen=True):
    """The lane."""

    running: int
    parallel: int
    waiting: int
    max_waiting: int
    longest_wait_s: float


class StatusObject(msgspec.Struct, frozen=True):
    """The body of the response."""

    state: str
    since: float
    model: str | None
    engine: EngineStatus | None
    queue: QueueStatus
    n_engine_starts: int
    n_engine_crashes: int
    last_error: str | None
    model_map_error: str | None
    version: str
    uptime_s: float
    object: Literal["hoshikage.status"] = "hoshikage.status"


class Status:
    """The state of the server."""

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._answers = answers
        self._began = time.monotonic()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells it as it is now."""
        lane = self._answers.lane
        engine = self._answers.supervisor.snapshot
        status = StatusObject(
            state=engine.state,
            since=engine.since,
            model=engine.model,
            engine=None
            if engine.pid is None
            else EngineStatus(engine.pid, engine.ready.n_ctx if engine.ready else None, engine.progress, engine.load_s),
            queue=QueueStatus(
                lane.n_running,
                self._settings.now.parallel,
                lane.n_waiting,
                self._settings.now.max_queue,
                round(lane.longest_wait_s, 3),
            ),
            n_engine_starts=engine.n_starts,
            n_engine_crashes=engine.n_crashes,
            last_error=engine.last_error,
            model_map_error=str(self._models.error) if self._models.error else None,
            version=__version__,
            uptime_s=round(time.monotonic() - self._began, 3),
        )
        response.data = _encode(status)
        response.content_type = falcon.MEDIA_JSON
