"""The older names under /admin: POST /admin/models, DELETE /admin/models/{name}, POST /admin/reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import falcon
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.model_objects import ModelObject, describe
from hoshikage_server.api.operations import operation
from hoshikage_server.api.registrar import Registrar
from hoshikage_server.api.registration import FILE_CODES, WRITE_CODES, DeletedModel
from hoshikage_server.api.registration_schema import NamedModel, decode_named
from hoshikage_server.engines.answers import Answers
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import LiveSettings


class FoundModel(msgspec.Struct, frozen=True):
    """A model in one of the models folders that is not registered, and a name for it."""

    id: str
    path: str
    n_files: int
    size_bytes: int


class SkippedFile(msgspec.Struct, frozen=True):
    """A file or folder that holds no model, and why."""

    path: str
    code: str
    message: str


class ReloadObject(msgspec.Struct, frozen=True):
    """What is registered, and what the models folders hold besides. Nothing of that is registered by asking.

    Attributes:
        models: The ids of the registered models.
        found: What could be registered.
        skipped: What could not.
    """

    models: list[str]
    found: list[FoundModel]
    skipped: list[SkippedFile]
    object: Literal["hoshikage.reload"] = "hoshikage.reload"


class AdminModels:
    """Registering, as older versions had it."""

    def __init__(self, settings: LiveSettings, answers: Answers, registrar: Registrar) -> None:
        self._settings = settings
        self._answers = answers
        self._registrar = registrar

    @operation(
        "Register named model",
        body=NamedModel,
        answer=ModelObject,
        status=201,
        admin=True,
        codes=("model_exists", "invalid_model_name", *FILE_CODES, *WRITE_CODES),
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """The older form of POST /v1/models."""
        asked = decode_named(body.read(request, self._settings.now))
        with ClientWatch(request.env):
            entry = self._registrar.add(asked)
        request.context.model = entry.id
        [described] = describe([entry], self._settings.now, self._answers.supervisor)
        response.status = falcon.HTTP_201
        body.write(response, described)


class AdminModel:
    """Removing, as older versions had it."""

    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar

    @operation(
        "Delete named model", answer=DeletedModel, admin=True, codes=("model_in_use", "unload_timeout", *WRITE_CODES)
    )
    def on_delete(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """The older form of DELETE /v1/models/{id}."""
        request.context.model = self._registrar.require(model_id).id
        self._registrar.remove(model_id)
        body.write(response, DeletedModel(model_id))


class Reload:
    """Reading the list of models again, and looking for others."""

    def __init__(self, settings: LiveSettings, models: ModelMap, registrar: Registrar) -> None:
        self._settings = settings
        self._models = models
        self._registrar = registrar

    @operation("Reload models", answer=ReloadObject, admin=True, codes=WRITE_CODES)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Reads the list of models again, and tells what the models folders hold besides. A body says nothing."""
        body.read(request, self._settings.now)
        with ClientWatch(request.env):
            scan = self._registrar.scan()
        language = request.context.language
        told = ReloadObject(
            models=list(self._models.entries()),
            found=[FoundModel(one.id, str(one.file), one.n_files, one.size_bytes) for one in scan.found],
            skipped=[SkippedFile(_as_text(one.path), one.code, one.reason.text(language)) for one in scan.skipped],
        )
        body.write(response, told)


def _as_text(path: Path) -> str:
    """A path as JSON can hold it: names of files may be any bytes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def add_admin(
    app: falcon.App[Any, Any], settings: LiveSettings, models: ModelMap, answers: Answers, registrar: Registrar
) -> None:
    """Adds everything below /admin."""
    app.add_route("/admin/models", AdminModels(settings, answers, registrar))
    app.add_route("/admin/models/{model_id:path}", AdminModel(registrar))
    app.add_route("/admin/reload", Reload(settings, models, registrar))
