"""POST /v1/chat/completions/input_tokens: how many tokens a conversation has, without computing or waking anything."""

from __future__ import annotations

from typing import Literal

import falcon
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.chat import blame
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.operations import operation
from hoshikage_server.api.question import question
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.vocabulary import Vocabulary
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings


class InputTokensObject(msgspec.Struct, frozen=True):
    """The answer, as OpenAI's /v1/responses/input_tokens gives it."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class InputTokens:
    """Counts what a chat request would make the model read; takes the same body."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, vocabulary: Vocabulary) -> None:
        self._settings = settings
        self._catalog = catalog
        self._vocabulary = vocabulary

    @operation("Count chat tokens", body=ChatRequest, answer=InputTokensObject)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Counts; a prompt that does not fit is counted like any other."""
        settings = self._settings.now
        chat = decode_chat(body.read(request, settings))
        served = self._catalog.find(chat.model)
        request.context.model = served.entry.id
        spec, asked = spec_of(served.entry, settings), question(chat, served, request.context.language)
        try:
            with ClientWatch(request.env):
                n_tokens = self._vocabulary.count(served.entry.id, spec, asked["messages"], form=asked["form"])
        except ServerError as error:
            blame(chat, error)
            raise
        body.write(response, InputTokensObject(n_tokens))
