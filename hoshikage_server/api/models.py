"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server.errors import RequestError
from hoshikage_server.registry.model_map import ModelEntry, ModelMap

_encode = msgspec.json.Encoder().encode


class ModelObject(msgspec.Struct, frozen=True):
    """A model as OpenAI lists it."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "hoshikage"


class ModelPage(msgspec.Struct, frozen=True):
    """The list of models."""

    data: list[ModelObject]
    object: Literal["list"] = "list"


def _object(entry: ModelEntry) -> ModelObject:
    return ModelObject(entry.id, entry.created)


class ModelList:
    """All registered models."""

    def __init__(self, models: ModelMap) -> None:
        self._models = models

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lists them in the order of the file."""
        response.data = _encode(ModelPage([_object(entry) for entry in self._models.entries().values()]))
        response.content_type = falcon.MEDIA_JSON


class ModelItem:
    """One registered model."""

    def __init__(self, models: ModelMap) -> None:
        self._models = models

    def on_get(self, request: falcon.Request, response: falcon.Response, model_id: str) -> None:
        """Describes it; its id may hold slashes."""
        entry = self._models.entries().get(model_id)
        if entry is None:
            raise RequestError("model_not_found", param="model", model=model_id)
        response.data = _encode(_object(entry))
        response.content_type = falcon.MEDIA_JSON
