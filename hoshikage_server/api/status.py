"""GET /v1/status: what the server is doing. It neither wakes a model nor keeps one awake."""

from __future__ import annotations

import time
from dataclasses import asdict

import falcon

from hoshikage_server import __version__
from hoshikage_server.api import body
from hoshikage_server.api.build import read_build
from hoshikage_server.api.engine_status import energy_status, engine_status, gpu_status, rounded, unload_status
from hoshikage_server.api.operations import operation
from hoshikage_server.api.status_objects import (
    CrashStatus,
    LoadStatus,
    PromptStatus,
    QueueStatus,
    RequestStatus,
    SpeculationStatus,
    StatusObject,
)
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.supervisor import Snapshot
from hoshikage_server.messages import Sentence
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings


class Status:
    """The state of the server."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answers = answers
        self._build = read_build()
        self._began = time.monotonic()

    @operation("Get status", answer=StatusObject)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tells it as it is now."""
        answers = self._answers
        usages = answers.supervisor.usages()  # may take a moment where there is a GPU; all else is of one moment
        gpus = answers.supervisor.devices()
        snapshot = answers.supervisor.snapshot()
        loaded, unloaded = snapshot.last_load, snapshot.last_unload
        language = request.context.language
        map_error = self._catalog.models.error
        status = StatusObject(
            state=snapshot.state,
            since=snapshot.since,
            model=snapshot.model,
            engines=tuple(engine_status(engine, usages.get(engine.pid), language) for engine in snapshot.engines),
            queue=self._queue(snapshot),
            requests=tuple(_request(answer) for answer in sorted(answers.running, key=lambda answer: answer.began)),
            last_load=LoadStatus(loaded.model, loaded.at, round(loaded.load_s, 3)) if loaded else None,
            last_unload=unload_status(unloaded, language) if unloaded else None,
            last_tokens_per_s=rounded(answers.last_tokens_per_s),
            n_engine_starts=snapshot.n_starts,
            n_engine_crashes=snapshot.n_crashes,
            crashes=tuple(
                CrashStatus(crash.at, crash.model, _in(language, crash.reason)) for crash in snapshot.crashes
            ),
            retry_after_s={model: round(pause_s, 3) for model, pause_s in answers.supervisor.cooling().items()},
            last_error=snapshot.last_error.text(language) if snapshot.last_error else None,
            model_map_error=map_error.text(language) if map_error else None,
            model_map_refused=tuple(one.text(language) for one in self._catalog.models.refused),
            persona_errors=tuple(error.text(language) for error in self._catalog.personas.errors),
            speculation={model: SpeculationStatus(*counts) for model, counts in answers.guesses.items()},
            prompts=tuple(PromptStatus(**asdict(finding)) for finding in answers.prompts.findings),
            gpus=tuple(gpu_status(device, energy_j) for device, energy_j in gpus),
            energy={model: energy_status(spent) for model, spent in snapshot.energy.items()},
            version=__version__,
            build=self._build,
            uptime_s=round(time.monotonic() - self._began, 3),
        )
        body.write(response, status)

    def _queue(self, snapshot: Snapshot) -> QueueStatus:
        lane, settings = self._answers.lane, self._settings.now
        waits_s = tuple(round(wait_s, 3) for wait_s in lane.waits_s())
        parallel = max((engine.spec.parallel for engine in snapshot.engines), default=settings.parallel)
        return QueueStatus(lane.n_running, parallel, lane.n_waiting, settings.max_queue, waits_s)


def _in(language: str, sentence: str | Sentence) -> str:
    return sentence if isinstance(sentence, str) else sentence.text(language)


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
