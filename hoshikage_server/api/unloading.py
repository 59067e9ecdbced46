"""Unloading a model because somebody says so."""

from __future__ import annotations

import time

import gevent

from hoshikage_server.api.engine_status import unload_status
from hoshikage_server.api.status_objects import UnloadObject
from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.fleet import Unloaded
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.supervisor import EngineSnapshot, Snapshot
from hoshikage_server.errors import EngineError, RequestError
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import LiveSettings

_BURIAL_S = 5.0  # from the end of a process until it is known what that gave back


class Unloading:
    """Ends the engines of models."""

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._answers = answers

    def unload(self, name: str, language: str = "en") -> UnloadObject:
        """Ends a model's engine, also that of one that is not registered any more.

        Args:
            name: What it is called.
            language: Of what is said about it.

        Raises:
            RequestError: There is no such model.
            EngineError: It is in use, or does not end in time.
        """
        supervisor = self._answers.supervisor
        entry = self._models.by_name().get(name)
        model = entry.id if entry else name
        # A model may be registered under several names.
        same = None if entry is None else engine_of(spec_of(entry, self._settings.now), supervisor.snapshot())
        is_loaded = any(engine.model == model for engine in supervisor.snapshot().engines)
        if entry is None and not is_loaded:
            raise RequestError("model_not_found", param="model", model=model)
        timeout_s = self._settings.now.stop_timeout + _BURIAL_S
        try:
            freed = supervisor.unload(same.model if same else model, timeout_s)
        except gevent.Timeout:
            raise EngineError("unload_timeout", model=model, seconds=f"{timeout_s:g}") from None
        if freed is None:
            return UnloadObject(model, False, None)
        return UnloadObject(model, True, unload_status(Unloaded(model, time.time(), freed), language))

    def make_removable(self, entry: ModelEntry) -> None:
        """Ends a model's engine, but not one that is another registered model's as well.

        Raises:
            EngineError: It is answering, or does not end in time.
        """
        if any(answer.model == entry.id for answer in self._answers.running):
            raise EngineError("model_in_use", model=entry.id)
        spec = spec_of(entry, self._settings.now)
        others = (other for other in self._models.entries().values() if other.id != entry.id)
        if not any(spec_of(other, self._settings.now) == spec for other in others):
            self.unload(entry.id)


def engine_of(spec: EngineSpec, snapshot: Snapshot) -> EngineSnapshot | None:
    """The engine that is made of a spec, and is not about to end."""
    alive = (engine for engine in snapshot.engines if engine.state != "unloading")
    return next((engine for engine in alive if engine.spec == spec), None)
