"""POST /v1/chat/completions."""

from __future__ import annotations

import functools

import falcon

from hoshikage_server.api import body, reply, tools
from hoshikage_server.api.answering import Answering, Asked
from hoshikage_server.api.blame import blame_field
from hoshikage_server.api.chat_objects import ChatChunk, ChatCompletion
from hoshikage_server.api.heading import new_heading
from hoshikage_server.api.operations import operation
from hoshikage_server.api.question import question
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

_FIELDS = {
    "context_length_exceeded": "messages",
    "chat_template_failed": "messages",
    "model_cannot_generate": "model",
}


class ChatCompletions:
    """Answers a conversation, streamed or not."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answering: Answering) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answering = answering

    @operation("Create chat completion", body=ChatRequest, answer=ChatCompletion, events=ChatChunk)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers."""
        chat = decode_chat(body.read(request, self._settings.now))
        served = self._catalog.find(chat.model)
        heading = functools.partial(new_heading, "chatcmpl", chat.model)
        asked = Asked(
            served.entry,
            (question(chat, served, request.context.language),),
            is_streamed=chat.stream is True,
            new_events=lambda answer: reply.ChatEvents(heading(answer.fingerprint), _options(chat)),
            complete=lambda answer: reply.completion(heading(answer.fingerprint), answer, _options(chat)),
            blame=lambda error: blame(chat, error),
        )
        self._answering.respond(request, response, asked)


def blame(chat: ChatRequest, error: ServerError) -> None:
    """Names the request's field in an error of the engine's."""
    if error.code == "invalid_json_schema":
        is_own = chat.response_format is None
        param = "json_schema" if is_own else "response_format.json_schema.schema"
        tools.blame_schema(error, param, chat.tools or (), chat.form().tools, are_functions=chat.functions is not None)
    else:
        blame_field(error, chat, _FIELDS, _bound_by(chat))


def _bound_by(chat: ChatRequest) -> str | None:
    """The field that an answer's grammar follows from."""
    names = ("grammar", "json_schema", "response_format", "functions", "tools")
    return next((name for name in names if getattr(chat, name)), None)


def _options(chat: ChatRequest) -> reply.Options:
    return reply.Options(
        with_usage=chat.wants_usage,
        with_logprobs=chat.n_top_logprobs is not None,
        with_timings=chat.timings_per_token is True,
        with_tools=chat.tools is not None,
        custom=tools.custom_names(chat.tools),
        with_functions=chat.functions is not None,
        service_tier="default" if chat.service_tier is not None else None,
    )
