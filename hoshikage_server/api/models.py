"""GET /v1/models, GET /v1/models/{id}, and POST /v1/models/{id}/load and /unload."""

from __future__ import annotations

import time

import falcon
import gevent
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.engine_status import engine_status, unload_status
from hoshikage_server.api.model_objects import ModelObject, ModelPage, describe
from hoshikage_server.api.operations import operation
from hoshikage_server.api.status_objects import LoadObject, UnloadObject
from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.fleet import Unloaded
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.supervisor import EngineSnapshot, Snapshot
from hoshikage_server.engines.wire import EngineSpec
from hoshikage_server.errors import EngineError, RequestError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

_encode = msgspec.json.Encoder().encode

_LOAD_RETRIES = 1
_BURIAL_S = 5.0  # from the end of a process until it is known what that gave back


class ModelList:
    """All registered models, and the personas."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers) -> None:
        self._settings = settings
        self._catalog = catalog
        self._supervisor = answers.supervisor

    @operation("List models", answer=ModelPage)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lists the registered models, loaded or not, and the personas that can be used."""
        found = self._catalog.all()
        described = describe(found, self._settings.now, self._supervisor, request.context.language)
        response.data = _encode(ModelPage(described))
        response.content_type = falcon.MEDIA_JSON


class ModelItem:
    """One registered model, and what can be done with it.

    Ids may hold slashes, and Falcon's routes cannot go on behind one of those; so the verbs are told apart here.
    """

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answers = answers

    @operation("Retrieve model", answer=ModelObject)
    def on_get(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Describes a model, or a persona. Its id may hold slashes, escaped or not."""
        owner, _, verb = model_id.rpartition("/")
        if verb in ("load", "unload") and self._catalog.knows(owner) and not self._catalog.knows(model_id):
            raise falcon.HTTPMethodNotAllowed(["POST"])
        served = self._catalog.find(model_id, "model")
        [described] = describe([served], self._settings.now, self._answers.supervisor, request.context.language)
        response.data = _encode(described)
        response.content_type = falcon.MEDIA_JSON

    @operation("Load model", answer=LoadObject, under="/load")
    @operation("Unload model", answer=UnloadObject, under="/unload", codes=("model_in_use",))
    def on_post(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Loads or unloads it; of a persona, its model. A body is read, and says nothing."""
        owner, _, verb = model_id.rpartition("/")
        if verb not in ("load", "unload"):
            self._catalog.find(model_id, "model")
            raise falcon.HTTPMethodNotAllowed(["GET", "HEAD"])
        body.read(request, self._settings.now)
        request.context.model = owner
        with ClientWatch(request.env):
            done = self._load(owner) if verb == "load" else self._unload(owner)
        response.data = _encode(done)
        response.content_type = falcon.MEDIA_JSON

    def _load(self, name: str) -> LoadObject:
        supervisor, limits = self._answers.supervisor, self._settings.now
        entry = self._catalog.find(name, "model").entry
        model, spec = entry.id, spec_of(entry, limits)
        lease = Lease(model, spec, _LOAD_RETRIES, insists=True)
        before = _engine_of(spec, supervisor.snapshot())
        if before is not None:  # nobody has to make place for it
            supervisor.lease(lease)
        else:
            with self._answers.lane.enter(spec, timeout_s=limits.queue_timeout, max_waiting=limits.max_queue):
                supervisor.lease(lease)
        supervisor.close_lease(lease)
        engine = _engine_of(spec, supervisor.settled())  # None if another model has made it go already
        status = engine_status(engine, supervisor.usages().get(engine.pid)) if engine else None
        return LoadObject(model, before is not None and before.state in ("ready", "generating"), status)

    def _unload(self, model: str) -> UnloadObject:
        supervisor = self._answers.supervisor
        entry = self._catalog.find(model, "model").entry if self._catalog.knows(model) else None
        model = model if entry is None else entry.id
        # A model may be registered under several names.
        same = None if entry is None else _engine_of(spec_of(entry, self._settings.now), supervisor.snapshot())
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
        return UnloadObject(model, True, unload_status(Unloaded(model, time.time(), freed)))


def _engine_of(spec: EngineSpec, snapshot: Snapshot) -> EngineSnapshot | None:
    alive = (engine for engine in snapshot.engines if engine.state != "unloading")
    return next((engine for engine in alive if engine.spec == spec), None)
