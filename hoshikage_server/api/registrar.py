"""Changes of the list of models, as requests may make them.

The file system may be slow, and the list locked by another process: whatever touches them runs in a native thread, one
call after another. A model is looked at in a process of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from hoshikage_server.api.registration_schema import Registration
from hoshikage_server.api.unloading import Unloading
from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.errors import ModelMapError, RequestError, ServerError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.registry.entry import Lora, ModelEntry
from hoshikage_server.registry.entry_files import is_template
from hoshikage_server.registry.folders import allowed_file, allowed_model
from hoshikage_server.registry.gguf_header import read_header
from hoshikage_server.registry.inspection import inspect
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.names import check_model_id
from hoshikage_server.registry.scanning import Scan, scan
from hoshikage_server.settings import LiveSettings

T = TypeVar("T")

log = logging.getLogger(__name__)

_FILES_S = 30.0
_SCAN_S = 600.0  # of folders with hundreds of models on a disk that sleeps


class Registrar:
    """Registers, changes and removes models.

    Args:
        settings: `models_dir` says where files may be.
        models: The list.
        answers: What a model must not be busy with to be removed.
    """

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._unloading = Unloading(settings, models, answers)
        self._files = NativeCalls(_FILES_S)
        self._scans = NativeCalls(_SCAN_S)

    def add(self, asked: Registration) -> ModelEntry:
        """Registers a model once its file has been looked at.

        Raises:
            RequestError: Its name, its path or a value cannot be; or its file is no model.
            ModelMapError: There is one of this name, or the list cannot be written.
        """
        try:
            check_model_id(asked.id)
            if asked.id in self._models.entries():
                raise ModelMapError("model_exists", model=asked.id)
            assert asked.path is not None
            file = self._look(asked.path)
            self._call(self._models.add, asked.id, file, self._placed(asked))
        except ModelMapError as error:
            if error.code in ("invalid_model_name", "model_exists"):
                error.param = "id"
            raise
        log.info(said("log_model_registered", model=asked.id, file=file))
        return self._models.find(asked.id)

    def change(self, model_id: str, asked: Registration) -> ModelEntry:
        """Changes what the list says of a model.

        Raises:
            RequestError: There is none of this id; otherwise as in `add`.
            ModelMapError: The list cannot be written.
        """
        self.require(model_id)
        file = None if asked.path is None else self._look(asked.path)
        self._call(self._models.change, model_id, self._placed(asked), file)
        log.info(said("log_model_changed", model=model_id))
        return self._models.find(model_id, "model")

    def remove(self, model_id: str) -> None:
        """Unloads a model and takes it off the list.

        A request that comes in between loads it again; that engine ends when it has been idle for long enough.

        Raises:
            RequestError: There is none of this id.
            EngineError: It is answering.
            ModelMapError: The list cannot be written.
        """
        self._unloading.make_removable(self.require(model_id))
        if not self._call(self._models.remove, model_id):
            raise _unknown(model_id)
        log.info(said("log_model_removed", model=model_id))

    def require(self, model_id: str) -> ModelEntry:
        """A model by its id; aliases are not for changes.

        Raises:
            RequestError: There is none of this id.
        """
        entry = self._models.entries().get(model_id)
        if entry is None:
            raise _unknown(model_id)
        return entry

    def scan(self) -> Scan:
        """Looks for models that are not registered."""
        return self._call(scan, self._settings.now.models_dir, self._models.reread(), calls=self._scans)

    def _look(self, path: str) -> Any:
        folders = self._settings.now.models_dir
        file = self._call(allowed_model, path, folders)
        try:
            self._call(read_header, file)  # most of what is no model shows here, without a process
            inspect(file)
        except ModelMapError:
            raise
        except ServerError as error:
            raise RequestError("invalid_model_file", param="path", path=path, reason=error) from error
        except OSError as error:
            raise RequestError("file_unreadable", param="path", path=path, reason=told_by_system(error)) from error
        if self._call(allowed_model, str(file), folders) != file:  # a link was put in its way meanwhile
            raise RequestError("path_not_allowed", param="path", path=path, folders="-")
        return file

    def _placed(self, asked: Registration) -> dict[str, Any]:
        """The keys of the entry; files among them are looked for in the models folders as well."""
        keys = dict(asked.keys)
        if asked.lora:
            keys["lora"] = [self._adapter(index, lora) for index, lora in enumerate(asked.lora)]
        if asked.chat_template is not None and not is_template(asked.chat_template):
            keys["chat_template"] = self._file(asked.chat_template, "chat_template")
        if asked.draft_model is not None:
            keys["draft_model"] = self._file(asked.draft_model, "draft_model")
        return keys

    def _adapter(self, index: int, lora: Lora) -> dict[str, Any]:
        return {"path": self._file(lora.path, f"lora[{index}].path"), "scale": lora.scale}

    def _file(self, path: str, param: str) -> str:
        return str(self._call(allowed_file, path, self._settings.now.models_dir, param))

    def _call(self, function: Callable[..., T], *arguments: object, calls: NativeCalls | None = None) -> T:
        try:
            return (calls or self._files).call(function, *arguments)
        except TimeoutError:
            seconds = f"{_SCAN_S if calls else _FILES_S:g}"
            reason = said("files_silent", seconds=seconds)
            raise ModelMapError("model_map_not_written", path=self._models.path, reason=reason) from None


def _unknown(model_id: str) -> RequestError:
    return RequestError("model_not_found", param="model", model=model_id)
