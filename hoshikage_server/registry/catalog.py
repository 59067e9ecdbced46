"""What a request's `model` means: a registered model, a persona, or a model with a persona ("model@persona")."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hoshikage_server import messages
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import RequestError
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.persona import Persona, in_language
from hoshikage_server.registry.personas import Personas

_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True)
class Served:
    """What answers a request.

    Attributes:
        id: Its name: of the model, of the persona, or "model@persona".
        entry: The model.
        persona: How it answers.
    """

    id: str
    entry: ModelEntry
    persona: Persona | None = None

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen where a request does not say: the persona's values over the model's."""
        own = self.entry.given.sampling
        return own if self.persona is None else self.persona.sampling.over(own)

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end an answer, besides those of a request."""
        return self.entry.stop if self.persona is None else (*self.persona.stop, *self.entry.stop)

    def form(self, form: Form) -> Form:
        """What an answer looks like, with whether the model reasons where the request does not say."""
        thinking = None if self.persona is None else self.persona.thinking
        thinking = self.entry.given.thinking if thinking is None else thinking
        if thinking is None or form.enable_thinking is not None or "enable_thinking" in form.template_kwargs:
            return form
        return msgspec.structs.replace(form, enable_thinking=thinking)

    def opening(self, conversation: Sequence[dict[str, Any]], asked: str | None, language: str) -> list[dict[str, Any]]:
        """A conversation as the model gets it.

        It begins with one system message, as many templates take no more: the model's own text, the persona's, and the
        client's, which never takes the place of theirs. What differs between requests stands behind what does not, so
        that the beginning is computed once.

        Args:
            conversation: The client's messages.
            asked: The language that the answer shall be in, if the request says.
            language: The person's, in which a persona speaks that does not say.
        """
        n_leading = sum(1 for _ in itertools.takewhile(_instructs, conversation))
        leading, others = conversation[:n_leading], conversation[n_leading:]
        before = [self.entry.given.system or "", *self._persona_texts(asked, language)]
        behind = _sentence(asked) if asked is not None else ""
        if any((*before, behind)):
            texts = (*before, *(message["content"] for message in leading), behind)
            leading = [{"role": "system", "content": "\n\n".join(filter(None, texts))}]
        return [*leading, *self._examples(), *others]

    def _persona_texts(self, asked: str | None, language: str) -> Iterator[str]:
        if self.persona is not None:
            yield in_language(self.persona.system, self.persona.spoken(asked, language))
            if asked is None and self.persona.language is not None:
                yield _sentence(self.persona.language)

    def _examples(self) -> Iterator[dict[str, Any]]:
        for example in self.persona.examples if self.persona is not None else ():
            yield {"role": "user", "content": example.user}
            yield {"role": "assistant", "content": example.assistant}


class Catalog:
    """Everything that can be asked for by name.

    Attributes:
        models: The registered models.
        personas: The personas.
    """

    def __init__(self, models: ModelMap, personas: Personas) -> None:
        self.models = models
        self.personas = personas

    def find(self, name: str, param: str | None = None) -> Served:
        """What a name stands for: a model, else a persona, else "model@persona".

        Args:
            name: As a client wrote it.
            param: The request's field that names it, if it is to be blamed.

        Raises:
            ModelMapError: The map of models is broken and there is no earlier state.
            PersonaError: The same of a persona's file.
            RequestError: There is nothing of this name, or no model for a persona.
        """
        entry = self._model(name)
        if entry is not None:
            return Served(entry.id, entry)
        stored = self.personas.get(name)
        if stored is not None:
            return Served(stored.id, self._model_of(stored.id, stored.persona, param), stored.persona)
        model, at, persona_id = name.rpartition("@")
        entry = self._model(model) if at else None
        if entry is None:
            raise RequestError("model_not_found", param=param, model=name)
        stored = self.personas.get(persona_id)
        if stored is None:
            raise RequestError("model_persona_not_found", param=param, model=entry.id, persona=persona_id)
        return Served(f"{entry.id}@{stored.id}", entry, stored.persona)

    def require_no_model(self, persona_id: str) -> None:
        """Refuses an id for a persona that nobody could ask for.

        Raises:
            RequestError: A model has this name.
        """
        if self._model(persona_id) is not None:
            raise RequestError("persona_named_as_model", param="id", persona=persona_id)

    def require_a_model(self, persona_id: str, persona: Persona) -> None:
        """Refuses a persona that would run on another one, or on itself; its model need not be there yet.

        Raises:
            RequestError: What it names as its model is a persona.
        """
        if persona.model is not None and self._model(persona.model) is None:
            self._require_no_persona(persona_id, persona.model, "model")

    def knows(self, name: str) -> bool:
        """Whether a name stands for something that can be used; raises as `find` does where a file is broken."""
        try:
            self.find(name)
        except RequestError:
            return False
        return True

    def all(self) -> list[Served]:
        """All models, and behind them the personas that can be asked for by their own names."""
        models = [Served(entry.id, entry) for entry in self.models.entries().values()]
        return models + self._personas()

    def find_model(self, name: str) -> ModelEntry:
        """The same where a persona cannot act: what is no conversation; raises as `find` does.

        Raises:
            RequestError: It is a persona.
        """
        served = self.find(name)
        if served.persona is not None:
            persona = served.id.removeprefix(f"{served.entry.id}@")
            raise RequestError("persona_only_chats", param="model", persona=persona, model=served.entry.id)
        return served.entry

    def _personas(self) -> list[Served]:
        found = []
        for stored in self.personas.all().values():
            if self._model(stored.id) is None and (entry := self.model_of(stored.persona)) is not None:
                found.append(Served(stored.id, entry, stored.persona))
        return found

    def model_of(self, persona: Persona) -> ModelEntry | None:
        """The model that a persona runs on: its own, or the first one that is not there to embed; None without one."""
        if persona.model is not None:
            return self._model(persona.model)
        entries = list(self.models.entries().values())
        chatting = (entry for entry in entries if entry.given.embedding.pooling is None)
        return next(chatting, entries[0] if entries else None)

    def _model_of(self, persona_id: str, persona: Persona, param: str | None) -> ModelEntry:
        entry = self.model_of(persona)
        if entry is not None:
            return entry
        if persona.model is not None:
            self._require_no_persona(persona_id, persona.model, param)
            raise RequestError("persona_without_model", param=param, persona=persona_id, model=persona.model)
        raise RequestError("persona_without_models", param=param, persona=persona_id)

    def _require_no_persona(self, persona_id: str, model: str, param: str | None) -> None:
        if model.rpartition("@")[2] in {persona_id, *self.personas.all()}:
            raise RequestError("persona_on_persona", param=param, persona=persona_id, model=model)

    def _model(self, name: str) -> ModelEntry | None:
        return self.models.by_name().get(name)


def _instructs(message: dict[str, Any]) -> bool:
    return message["role"] in _INSTRUCTING


def _sentence(language: str) -> str:
    """What tells a model the language of its answer, in that language."""
    if language == "auto":
        return " ".join(messages.text("answer_language_auto", one) for one in messages.LANGUAGES)
    return messages.text("answer_language", language)
