"""GET and POST /v1/personas; GET, PUT and DELETE /v1/personas/{id}."""

from __future__ import annotations

import falcon
import msgspec

from hoshikage_server import invalid
from hoshikage_server.api import body
from hoshikage_server.api.operations import operation
from hoshikage_server.api.persona_objects import (
    BODY_WORDS,
    PersonaBody,
    PersonaDeleted,
    PersonaObject,
    PersonaPage,
    told,
)
from hoshikage_server.api.schema import decode
from hoshikage_server.engines.native_calls import NativeCalls
from hoshikage_server.errors import RequestError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.registry.persona import checked_id, in_words
from hoshikage_server.settings import LiveSettings

_WRITE_LIMIT_S = 30.0  # of a disk, and of others who hold the lock

_body = msgspec.json.Decoder(PersonaBody)

_NEW = ("persona_exists", "persona_named_as_model")
_REPLACED = ("invalid_persona_id", "persona_named_as_model")


class _Resource:
    """What both have in common."""

    def __init__(self, settings: LiveSettings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._personas = catalog.personas
        self._disk = NativeCalls(_WRITE_LIMIT_S)

    def _read(self, request: falcon.Request) -> PersonaBody:
        try:
            return decode(_body, body.read(request, self._settings.now), BODY_WORDS)
        except RequestError as error:
            raise in_words(error) from None

    def _save(self, persona_id: str, given: PersonaBody, *, replace: bool) -> PersonaObject:
        persona_id = checked_id(persona_id)
        persona = given.persona()
        self._catalog.require_no_model(persona_id)
        self._catalog.require_a_model(persona_id, persona)
        self._disk.call(lambda: self._personas.save(persona_id, persona, replace=replace))
        return told(self._personas.find(persona_id), self._catalog)


class PersonaList(_Resource):
    """All personas."""

    @operation("List personas", answer=PersonaPage)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Lists the personas, also those whose model is not there, and says what is wrong with their files."""
        errors = [error.text(request.context.language) for error in self._personas.errors]
        page = PersonaPage([told(stored, self._catalog) for stored in self._personas.all().values()], errors)
        body.write(response, page)

    @operation(
        "Create persona",
        body=PersonaBody,
        answer=PersonaObject,
        status=201,
        admin=True,
        codes=_NEW,
    )
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Makes a persona: a file in the personas folder. Its `id` is required here."""
        given = self._read(request)
        if given.id is None:
            raise RequestError("missing_required_parameter", param="id")
        made = self._save(given.id, given, replace=False)
        response.status = falcon.HTTP_201
        response.location = f"/v1/personas/{falcon.uri.encode_value(made.id)}"
        body.write(response, made)


class PersonaItem(_Resource):
    """One persona."""

    @operation("Retrieve persona", answer=PersonaObject, codes=("persona_not_found",))
    def on_get(self, request: falcon.Request, response: falcon.Response, persona_id: str) -> None:
        """Tells what it says."""
        body.write(response, told(self._personas.find(persona_id), self._catalog))

    @operation(
        "Replace persona",
        body=PersonaBody,
        answer=PersonaObject,
        admin=True,
        codes=_REPLACED,
    )
    def on_put(self, request: falcon.Request, response: falcon.Response, persona_id: str) -> None:
        """Makes it, or replaces it. One of a built-in persona's id is used in place of that."""
        given = self._read(request)
        if given.id not in (None, persona_id):
            raise RequestError(
                "invalid_value", param="id", got=invalid.show(given.id), supported=invalid.show(persona_id)
            )
        body.write(response, self._save(persona_id, given, replace=True))

    @operation("Delete persona", answer=PersonaDeleted, admin=True, codes=("persona_not_found", "persona_builtin"))
    def on_delete(self, request: falcon.Request, response: falcon.Response, persona_id: str) -> None:
        """Deletes its file. Built-in personas stay."""
        self._disk.call(lambda: self._personas.remove(persona_id))
        body.write(response, PersonaDeleted(persona_id, persona_id in self._personas.builtin))
