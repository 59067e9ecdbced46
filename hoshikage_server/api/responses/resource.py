"""POST /v1/responses, and /v1/responses/input_tokens, which takes the same body and only counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import falcon
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.answering import Answering, Asked, Source
from hoshikage_server.api.blame import blame_field
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.input_tokens import InputTokensObject
from hoshikage_server.api.operations import operation
from hoshikage_server.api.responses.convert import messages_of
from hoshikage_server.api.responses.events import ResponseEvents, complete
from hoshikage_server.api.responses.items import KEPT, Placed, read_input
from hoshikage_server.api.responses.objects import ReasoningObject, Response, TextObject, new_id
from hoshikage_server.api.responses.output import Output
from hoshikage_server.api.responses.schema import ResponseRequest, decode_response
from hoshikage_server.api.responses.store import ResponseStore
from hoshikage_server.api.responses.tools import Toolbox, read_tools
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.vocabulary import Vocabulary
from hoshikage_server.errors import RequestError, ServerError
from hoshikage_server.registry.catalog import Catalog, Served
from hoshikage_server.settings import LiveSettings

_FIELDS = {
    "context_length_exceeded": "input",
    "chat_template_failed": "input",
    "model_cannot_generate": "model",
}


@dataclass(frozen=True)
class Conversation:
    """A request with everything that it refers to.

    Attributes:
        request: The request.
        items: The whole conversation.
        messages: The same in the form that a chat template takes.
        toolbox: The tools.
        form: What the answer has to look like.
    """

    request: ResponseRequest
    items: list[Placed]
    messages: list[dict[str, Any]]
    toolbox: Toolbox
    form: Form

    def blame(self, error: ServerError) -> None:
        """Names the request's field in an error of the engine's."""
        if error.code == "invalid_json_schema":
            if not self.toolbox.blame(error, self.form):
                error.param = "json_schema" if self.request.json_schema else "text.format.schema"
        else:
            blame_field(error, self.request, _FIELDS, self._bound_by())

    def _bound_by(self) -> str | None:
        """The field that an answer's grammar follows from."""
        if self.request.grammar or self.request.json_schema:
            return "grammar" if self.request.grammar else "json_schema"
        if self.form.json_schema is not None:
            return "text.format"
        return "tools" if self.form.tools else None


def read_conversation(data: bytes, store: ResponseStore) -> Conversation:
    """Reads a request.

    Raises:
        RequestError: It cannot be; `param` names the field.
    """
    request = decode_response(data)
    items: list[Placed] = []
    if request.previous_response_id is not None:
        kept = store.find(request.previous_response_id)
        if kept is None:
            raise RequestError(
                "previous_response_not_found", param="previous_response_id", response=request.previous_response_id
            )
        items += (Placed(item, KEPT) for item in kept.items)
    if request.input == [] and not items and not request.instructions:
        raise RequestError("empty_array", param="input")
    if request.input is not None:
        items += read_input(request.input, store.find_item)
    toolbox = read_tools(request.tools, items)
    form = Form(**toolbox.form(request.tool_choice, request.parallel_tool_calls), **request.form_fields())
    return Conversation(request, items, messages_of(request.instructions, items), toolbox, form)


class Responses:
    """Answers a conversation, streamed or not, and keeps the answer unless told otherwise."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answering: Answering, store: ResponseStore) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answering = answering
        self._store = store

    @operation("Create response", body=ResponseRequest, answer=Response, events=msgspec.Struct)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers."""
        conversation = read_conversation(body.read(request, self._settings.now), self._store)
        wanted = conversation.request
        served = self._catalog.find(wanted.model)

        def parts(answer: Source) -> tuple[Response, Output]:
            output = Output(conversation.toolbox.called, seals_reasoning=wanted.seals_reasoning)
            return self._begin(conversation, served, answer.defaults), output

        def keep(made: Response) -> None:
            if made.store:
                self._store.keep(made, [placed.item for placed in conversation.items])

        asked = Asked(
            served.entry,
            (_question(conversation, served, request.context.language),),
            is_streamed=wanted.stream is True,
            new_events=lambda answer: ResponseEvents(*parts(answer), keep),
            complete=lambda answer: complete(answer, *parts(answer), keep),
            blame=conversation.blame,
        )
        self._answering.respond(request, response, asked)

    def _begin(self, conversation: Conversation, served: Served, defaults: Sampling) -> Response:
        wanted = conversation.request
        sampling = wanted.sampling().over(served.sampling).over(defaults)
        return Response(
            id=new_id("resp"),
            created_at=int(time.time()),
            model=wanted.model,
            instructions=wanted.instructions,
            max_output_tokens=wanted.max_output_tokens,
            max_tool_calls=wanted.max_tool_calls,
            metadata=wanted.metadata or {},
            parallel_tool_calls=wanted.parallel_tool_calls is not False,
            previous_response_id=wanted.previous_response_id,
            prompt_cache_key=_or_unset(wanted.prompt_cache_key),
            reasoning=ReasoningObject(wanted.effort),
            safety_identifier=_or_unset(wanted.safety_identifier),
            store=wanted.store is not False and self._settings.now.responses_max > 0,
            temperature=sampling.temperature,
            text=TextObject(wanted.format, (wanted.text and wanted.text.verbosity) or "medium"),
            tool_choice=wanted.tool_choice or "auto",
            tools=tuple(conversation.toolbox.shown),
            top_logprobs=wanted.top_logprobs or 0,
            top_p=sampling.top_p,
            user=wanted.user,
        )


class ResponseInputTokens:
    """Counts what a request would make the model read, without computing or waking anything."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, vocabulary: Vocabulary, store: ResponseStore) -> None:
        self._settings = settings
        self._catalog = catalog
        self._vocabulary = vocabulary
        self._store = store

    @operation("Count response tokens", body=ResponseRequest, answer=InputTokensObject)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Counts; a prompt that does not fit is counted like any other."""
        settings = self._settings.now
        conversation = read_conversation(body.read(request, settings), self._store)
        served = self._catalog.find(conversation.request.model)
        request.context.model = served.entry.id
        spec, asked = spec_of(served.entry, settings), _question(conversation, served, request.context.language)
        try:
            with ClientWatch(request.env):
                n_tokens = self._vocabulary.count(served.entry.id, spec, asked["messages"], form=asked["form"])
        except ServerError as error:
            conversation.blame(error)
            raise
        body.write(response, InputTokensObject(n_tokens))


def _or_unset(text: str | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if text is None else text


def _question(conversation: Conversation, served: Served, language: str) -> dict[str, Any]:
    wanted = conversation.request
    return {
        "messages": served.opening(conversation.messages, wanted.language, language),
        "sampling": wanted.sampling().over(served.sampling),
        "max_tokens": wanted.max_output_tokens,
        "stop": (*wanted.stops, *served.stop),
        "form": served.form(conversation.form),
        "n_top_logprobs": wanted.n_top_logprobs,
        "reuses": wanted.cache_prompt is not False,
    }
