"""GET /v1/models, GET /v1/models/{id}, and POST /v1/models/{id}/load and /unload."""

from __future__ import annotations

import falcon

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.engine_status import engine_status
from hoshikage_server.api.model_objects import ModelObject, ModelPage, describe_served
from hoshikage_server.api.operations import operation
from hoshikage_server.api.status_objects import LoadObject, UnloadObject
from hoshikage_server.api.unloading import Unloading, engine_of
from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import RequestError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

_LOAD_RETRIES = 1
_VERBS = ("load", "unload")
_OF_MODELS = ("GET", "HEAD", "PATCH", "DELETE")


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
        described = describe_served(found, self._settings.now, self._supervisor, request.context.language)
        body.write(response, ModelPage(described))


class ModelItem:
    """One registered model, and what can be done with it.

    Ids may hold slashes, and Falcon's routes cannot go on behind one of those; so the verbs are told apart here.
    """

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answers = answers
        self._unloading = Unloading(settings, catalog.models, answers)

    def methods(self, model_id: str) -> tuple[str, ...]:
        """What can be done there; of what is not there all, so that it is told to be missing."""
        owner, _, verb = model_id.rpartition("/")
        is_verb = verb in _VERBS and self._catalog.knows(owner)
        if is_verb == self._catalog.knows(model_id):
            return (*_OF_MODELS, "POST")
        return ("POST",) if is_verb else _OF_MODELS

    @operation("Retrieve model", answer=ModelObject)
    def on_get(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Describes a model, or a persona. Its id may hold slashes, escaped or not."""
        served = self._catalog.find(model_id, "model")
        supervisor, language = self._answers.supervisor, request.context.language
        [described] = describe_served([served], self._settings.now, supervisor, language)
        body.write(response, described)

    @operation("Load model", answer=LoadObject, under="/load")
    @operation("Unload model", answer=UnloadObject, under="/unload", codes=("model_in_use",))
    def on_post(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Loads or unloads it; of a persona, its model. A body is read, and says nothing."""
        owner, _, verb = model_id.rpartition("/")
        if verb not in _VERBS:
            raise RequestError("model_not_found", param="model", model=model_id)
        body.read(request, self._settings.now)
        model = self._catalog.find(owner).entry.id if self._catalog.knows(owner) else owner
        request.context.model = model
        language = request.context.language
        with ClientWatch(request.env):
            done = self._load(owner, language) if verb == "load" else self._unloading.unload(model, language)
        body.write(response, done)

    def _load(self, name: str, language: str) -> LoadObject:
        supervisor, limits = self._answers.supervisor, self._settings.now
        entry = self._catalog.find(name, "model").entry
        model, spec = entry.id, spec_of(entry, limits)
        lease = Lease(model, spec, _LOAD_RETRIES, insists=True)
        before = engine_of(spec, supervisor.snapshot())
        if before is not None:  # nobody has to make place for it
            supervisor.lease(lease)
        else:
            with self._answers.lane.enter(spec, timeout_s=limits.queue_timeout, max_waiting=limits.max_queue):
                supervisor.lease(lease)
        supervisor.close_lease(lease)
        engine = engine_of(spec, supervisor.settled())  # None if another model has made it go already
        status = engine_status(engine, supervisor.usages().get(engine.pid), language) if engine else None
        return LoadObject(model, before is not None and before.state in ("ready", "generating"), status)
