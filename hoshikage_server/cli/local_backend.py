"""Answers of this process, without a server: the engine process's own code, called here."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import Any

from hoshikage_core import Engine, HoshikageError
from hoshikage_server import dumps
from hoshikage_server.api.question import question
from hoshikage_server.api.schema import decode_chat
from hoshikage_server.cli.asking import Message, OnProgress, Piece, Usage, Wishes
from hoshikage_server.engines import wire
from hoshikage_server.engines.defaults import apply
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import CannotGenerateError, failed, failed_load
from hoshikage_server.engines.loading import Loaded, load
from hoshikage_server.engines.prompts import Prompts
from hoshikage_server.engines.running import Running
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import EngineError
from hoshikage_server.messages import CATALOGUE
from hoshikage_server.registry.catalog import Catalog, Served
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.gguf_files import find_served
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.persona import in_language
from hoshikage_server.registry.personas import Personas, folder_of
from hoshikage_server.settings import Settings, cli_language


class LocalBackend:
    """Loads the model that is asked, and keeps it until another one is.

    Args:
        settings: How models are loaded, and where they are listed.
    """

    def __init__(self, settings: Settings) -> None:
        dumps.leave_none()
        self._settings = settings
        self._catalog = Catalog(ModelMap(settings.model_map), Personas(folder_of(settings)))
        self._spec: EngineSpec | None = None
        self._loaded: Loaded | None = None
        self._prompts: Prompts | None = None

    def models(self) -> list[str]:
        """The registered ones, and the personas."""
        return [served.id for served in self._catalog.all()]

    def require_persona(self, persona: str) -> None:
        """There has to be a file of it."""
        self._catalog.personas.find(persona)

    def greeting(self, model: str) -> str | None:
        """A persona's, if it is one."""
        persona = find_served(self._catalog, model).persona
        if persona is None:
            return None
        return in_language(persona.greeting, persona.spoken(None, cli_language())) or None

    def prepare(self, model: str, on_progress: OnProgress) -> None:
        """Loads the model, unless it is the one that is loaded."""
        self._ready(find_served(self._catalog, model).entry, on_progress)

    def no_gpu(self, model: str) -> str | None:
        """As the loading found out."""
        reason = None if self._loaded is None else self._loaded.no_gpu
        return None if reason is None else reason.text(cli_language())

    def stream(self, messages: list[Message], wishes: Wishes) -> Generator[Piece]:
        """The answer. The engine steps in a thread, so that Ctrl-C ends a step of any length."""
        served = find_served(self._catalog, wishes.model)
        entry, frame = served.entry, _frame(messages, wishes, served)
        try:
            loaded, prompts = self._ready(entry, lambda progress: None)
            if loaded.engine is None:
                raise CannotGenerateError
            sampling = apply(frame.sampling, loaded.defaults)
            running = Running(prompts.start(loaded.engine, frame, sampling), frame)
        except HoshikageError as error:
            raise told(error, entry.id) from error
        with closing(_pieces(loaded.engine, running, entry.id)) as pieces:
            yield from pieces

    def close(self) -> None:
        """Frees the model."""
        loaded, self._loaded, self._prompts, self._spec = self._loaded, None, None, None
        if loaded is not None:
            loaded.model.close()

    def _ready(self, entry: ModelEntry, on_progress: OnProgress) -> tuple[Loaded, Prompts]:
        spec = spec_of(entry, self._settings)
        if self._loaded is None or self._prompts is None or spec != self._spec:
            self.close()
            self._loaded = load_model(spec, entry.id, on_progress)
            self._spec = spec
            self._prompts = Prompts(self._loaded.model, self._loaded.template)
        return self._loaded, self._prompts


def load_model(spec: EngineSpec, name: str, on_progress: OnProgress = lambda progress: None) -> Loaded:
    """Loads a model.

    Raises:
        ServerError: It could not be loaded.
    """
    try:
        return load(spec, on_progress)
    except HoshikageError as error:
        raise _reported(failed_load(error), name) from error


def told(error: HoshikageError, model: str) -> EngineError:
    """An error of the library in the words in which the server tells it."""
    return _reported(failed(0, error), model)


def _reported(frame: wire.Failed, model: str) -> EngineError:
    code = frame.code if frame.code in CATALOGUE else "answer_failed"
    return EngineError.reported(code, frame.message, {"model": model, **frame.fields})


def _frame(messages: list[Message], wishes: Wishes, served: Served) -> wire.Generate:
    """The frame that the server would send to an engine: the request is checked as one that came over HTTP."""
    fields: dict[str, Any] = question(decode_chat(wishes.body(messages)), served, cli_language())
    return wire.Generate(1, **fields)


def _pieces(engine: Engine, running: Running, model: str) -> Generator[Piece]:
    made: SimpleQueue[wire.Frame | Exception] = SimpleQueue()
    stepping = threading.Thread(target=_step, args=(engine, running, made), name="hoshikage-step")
    stepping.start()
    try:
        while True:
            frame = made.get()
            if isinstance(frame, HoshikageError):
                raise told(frame, model) from frame
            if isinstance(frame, Exception):
                raise frame
            if isinstance(frame, wire.Token):
                yield Piece(frame.text, frame.reasoning)
            elif isinstance(frame, wire.Done):
                yield Piece(frame.text, frame.reasoning, frame.finish_reason, _usage(frame))
                return
    finally:
        running.generation.cancel()
        stepping.join()
        running.generation.close()


def _step(engine: Engine, running: Running, made: SimpleQueue[wire.Frame | Exception]) -> None:
    """Puts out what comes until the answer has ended."""
    generation = running.generation
    try:
        while not generation.finished:
            engine.step()
            for frame in running.frames():
                made.put(frame)
        if generation.failure is not None:
            made.put(generation.failure)
    except Exception as error:
        made.put(error)


def _usage(done: wire.Done) -> Usage:
    timings = done.timings
    return Usage(
        done.n_prompt,
        done.n_completion,
        done.n_cached,
        done.n_reasoning,
        None if timings is None else timings.prompt_ms,
        None if timings is None else timings.predicted_ms,
    )
