"""The Falcon application: a pure factory, all collaborators are arguments."""

from __future__ import annotations

import atexit
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import falcon

from hoshikage_server import heap, logs
from hoshikage_server.api import problems
from hoshikage_server.api.admin import add_admin
from hoshikage_server.api.answering import Answering
from hoshikage_server.api.build import open_peaks
from hoshikage_server.api.chat import ChatCompletions
from hoshikage_server.api.completions import Completions
from hoshikage_server.api.embeddings import EmbeddingsResource
from hoshikage_server.api.health import Health, Welcome
from hoshikage_server.api.input_tokens import InputTokens
from hoshikage_server.api.middleware import ApiKeys, RequestContext
from hoshikage_server.api.openapi import OpenApi
from hoshikage_server.api.operations import App, Methods
from hoshikage_server.api.origins import Origins
from hoshikage_server.api.personas import PersonaItem, PersonaList
from hoshikage_server.api.registrar import Registrar
from hoshikage_server.api.registration import Model, Models
from hoshikage_server.api.responses.routes import add_responses
from hoshikage_server.api.status import Status
from hoshikage_server.api.tokens import Detokenize, Tokenize
from hoshikage_server.api.version import Version
from hoshikage_server.engines import vocabulary
from hoshikage_server.engines.answers import Answers
from hoshikage_server.engines.embeddings import Embeddings
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.lane import Lane
from hoshikage_server.engines.memory_log import MemoryLog
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.personas import Personas, folder_of
from hoshikage_server.settings import LiveSettings

ENGINE_COMMAND = (sys.executable, "-m", "hoshikage_server.engines.worker")
_STORE_S = 1.0  # what a disk does not take by then is measured again


@dataclass(frozen=True)
class Deps:
    """What the application works with."""

    settings: LiveSettings
    models: ModelMap
    answers: Answers
    personas: Personas
    memory: MemoryLog

    def close(self) -> None:
        """Ends the engines."""
        timeout_s = self.settings.now.stop_timeout + 1
        self.answers.vocabulary.close(timeout_s)
        self.answers.supervisor.close(timeout_s)
        self.memory.flush(_STORE_S)


def build_deps(settings: LiveSettings, engine_command: Sequence[str] = ENGINE_COMMAND) -> Deps:
    """The real collaborators.

    Args:
        settings: The settings.
        engine_command: The engine program; tests give another.
    """
    models = ModelMap(settings.now.model_map)

    def idle_timeout_of(model: str) -> float:
        entry = models.entries().get(model)
        return (
            settings.now.idle_timeout if entry is None or entry.given.idle_timeout is None else entry.given.idle_timeout
        )

    memory = MemoryLog(open_peaks(settings.now.cache_dir))
    spawn = functools.partial(EngineProcess, engine_command, Gpu(), Dormitory(settings), memory)
    engines = Supervisor(spawn, settings, idle_timeout_of, memory.peak_of)
    counters = Supervisor(spawn, settings, lambda model: vocabulary.IDLE_S)
    lane = Lane(engines.is_awake)

    def apply_limit() -> None:
        lane.set_overtake_limit(settings.now.overtake_limit)

    apply_limit()
    settings.on_change(apply_limit)
    answers = Answers(lane, engines, vocabulary.Vocabulary(counters, settings), settings)
    return Deps(settings, models, answers, Personas(folder_of(settings.now)), memory)


def serving_app(settings: LiveSettings, engine_command: Sequence[str] = ENGINE_COMMAND) -> falcon.App[Any, Any]:
    """The application of a process that serves: its engine has ended, and given back its memory, before it ends."""
    heap.give_large_blocks_back()
    logs.configure(settings.now.log_level, settings.now.lang)
    settings.on_change(lambda: logs.configure(settings.now.log_level, settings.now.lang))
    deps = build_deps(settings, engine_command)
    atexit.register(deps.close)
    return create_app(deps)


def create_app(deps: Deps) -> falcon.App[Any, Any]:
    """Makes the WSGI application."""
    settings = deps.settings
    catalog = Catalog(deps.models, deps.personas)
    app = App()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_middleware(RequestContext(settings))
    app.add_middleware(Origins(settings))
    app.add_middleware(ApiKeys(settings))
    app.add_middleware(Methods())
    problems.register(app)
    app.add_route("/", Welcome())
    app.add_route("/health", Health(deps.answers.supervisor))
    app.add_route("/openapi.json", OpenApi(app.resources))
    app.add_route("/v1/api/version", Version())
    app.add_route("/v1/status", Status(settings, catalog, deps.answers))
    registrar = Registrar(settings, deps.models, deps.answers)
    app.add_route("/v1/models", Models(settings, catalog, deps.answers, registrar))
    app.add_route("/v1/models/{model_id:path}", Model(settings, catalog, deps.answers, registrar))
    app.add_route("/v1/personas", PersonaList(settings, catalog))
    app.add_route("/v1/personas/{persona_id}", PersonaItem(settings, catalog))
    add_admin(app, settings, deps.models, deps.answers, registrar)
    answering = Answering(settings, deps.answers)
    app.add_route("/v1/chat/completions", ChatCompletions(settings, catalog, answering))
    app.add_route("/v1/completions", Completions(settings, catalog, answering, deps.answers.vocabulary))
    app.add_route("/v1/tokenize", Tokenize(settings, catalog, deps.answers.vocabulary))
    app.add_route("/v1/detokenize", Detokenize(settings, catalog, deps.answers.vocabulary))
    input_tokens = InputTokens(settings, catalog, deps.answers.vocabulary)
    app.add_route("/v1/chat/completions/input_tokens", input_tokens)
    embeddings = Embeddings(deps.answers.lane, deps.answers.supervisor, settings)
    app.add_route("/v1/embeddings", EmbeddingsResource(settings, catalog, embeddings))
    add_responses(app, settings, catalog, deps.answers)
    return app
