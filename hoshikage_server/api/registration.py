"""POST /v1/models, PATCH and DELETE /v1/models/{id}: the list of models over HTTP, for those with an admin key."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.model_objects import ModelObject, describe
from hoshikage_server.api.models import ModelItem, ModelList
from hoshikage_server.api.operations import operation
from hoshikage_server.api.registrar import Registrar
from hoshikage_server.api.registration_schema import ChangedModel, NewModel, decode_changed, decode_new
from hoshikage_server.engines.answers import Answers
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

FILE_CODES = ("path_not_allowed", "invalid_model_file", "file_not_found", "unsupported_parameter", "alias_taken")
WRITE_CODES = ("invalid_model_map", "model_map_not_written")


class DeletedModel(msgspec.Struct, frozen=True):
    """A model that is not registered any more; its file stays."""

    id: str
    object: Literal["model"] = "model"
    deleted: bool = True


class Models(ModelList):
    """All registered models, and room for one more."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers, registrar: Registrar) -> None:
        super().__init__(settings, catalog, answers)
        self._registrar = registrar

    @operation(
        "Register model",
        body=NewModel,
        answer=ModelObject,
        status=201,
        admin=True,
        codes=("model_exists", "invalid_model_name", *FILE_CODES, *WRITE_CODES),
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Registers a GGUF file that is in one of the models folders, once it has been looked at."""
        asked = decode_new(body.read(request, self._settings.now))
        with ClientWatch(request.env):
            entry = self._registrar.add(asked)
        request.context.model = entry.id
        [described] = describe([entry], self._settings.now, self._supervisor)
        response.status = falcon.HTTP_201
        response.location = f"/v1/models/{falcon.uri.encode_value(entry.id)}"
        body.write(response, described)


class Model(ModelItem):
    """One registered model, which can be changed and removed."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answers: Answers, registrar: Registrar) -> None:
        super().__init__(settings, catalog, answers)
        self._registrar = registrar

    @operation(
        "Change model",
        body=ChangedModel,
        answer=ModelObject,
        admin=True,
        codes=("model_not_found", *FILE_CODES, *WRITE_CODES),
    )
    def on_patch(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Changes a model's settings, as a JSON merge patch; its next request gets an engine made of them."""
        asked = decode_changed(body.read(request, self._settings.now))
        request.context.model = self._registrar.require(model_id).id
        with ClientWatch(request.env):
            entry = self._registrar.change(model_id, asked)
        [described] = describe([entry], self._settings.now, self._answers.supervisor)
        body.write(response, described)

    @operation("Delete model", answer=DeletedModel, admin=True, codes=("model_in_use", "unload_timeout", *WRITE_CODES))
    def on_delete(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Unloads a model and takes it off the list; its file stays. One that is answering is left as it is."""
        request.context.model = self._registrar.require(model_id).id
        self._registrar.remove(model_id)
        body.write(response, DeletedModel(model_id))
