"""POST /v1/chat/completions."""

from __future__ import annotations

import time
import uuid

import falcon

from hoshikage_server.api import body, problems, reply, sse
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines import plan
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.wire import Done
from hoshikage_server.errors import RequestError, ServerError
from hoshikage_server.registry.model_map import ModelEntry, ModelMap
from hoshikage_server.settings import LiveSettings

# Errors of the engine that are about the messages, which the engine does not know by that name.
_ABOUT_MESSAGES = frozenset({"context_length_exceeded", "chat_template_failed"})


class ChatCompletions:
    """Answers a conversation, streamed or not."""

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._answers = answers

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """What can still be refused is refused before the first byte, unless a stream has to wait for longer."""
        settings = self._settings.now
        chat = decode_chat(body.read(request, settings))
        entry = self._models.entries().get(chat.model)
        if entry is None:
            raise RequestError("model_not_found", model=chat.model)
        request.context.model = entry.id
        watch = ClientWatch(request.env)
        answer: Answer | None = None
        try:
            answer = self._ask(chat, entry, request.context.request_id, watch)
            if chat.stream:
                is_accepted = answer.wait_until_accepted(settings.ping_interval)
                self._stream(request, response, chat, answer, watch, is_late=not is_accepted)
                return
            response.data = _complete(chat, answer)
            response.content_type = falcon.MEDIA_JSON
        except BaseException as error:
            watch.stop()
            if answer is not None:
                answer.close()
            if isinstance(error, ServerError):
                _name_field(error)
            raise
        watch.stop()
        answer.close()

    def _ask(self, chat: ChatRequest, entry: ModelEntry, request_id: str, watch: ClientWatch) -> Answer:
        settings = self._settings.now
        question = {
            "messages": chat.plain_messages(),
            "sampling": chat.sampling().over(entry.sampling),
            "max_tokens": chat.token_limit,
            "stop": (*chat.stops, *entry.stop),
        }
        return self._answers.ask(
            request_id,
            entry.id,
            plan.spec_of(entry, settings),
            question,
            idle_timeout_s=plan.idle_timeout_s(entry, settings),
            on_overflow=watch.hang_up,
        )

    def _stream(
        self,
        request: falcon.Request,
        response: falcon.Response,
        chat: ChatRequest,
        answer: Answer,
        watch: ClientWatch,
        *,
        is_late: bool,
    ) -> None:
        def close(is_cut: bool) -> None:
            watch.stop()
            if is_cut and watch.is_gone:
                problems.note_gone(request)
            answer.close()

        def show_error(error: Exception) -> bytes:
            if isinstance(error, ServerError):
                _name_field(error)
            return problems.tell(error, request)

        response.content_type = sse.MEDIA_TYPE
        response.set_headers(sse.HEADERS)
        response.stream = sse.ChatStream(
            answer,
            lambda: reply.Chunks(_heading(chat, answer), with_usage=chat.wants_usage),
            with_usage=chat.wants_usage,
            ping_s=self._settings.now.ping_interval,
            is_late=is_late,
            show_error=show_error,
            on_close=close,
        )


def _heading(chat: ChatRequest, answer: Answer) -> reply.Heading:
    return reply.Heading(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=chat.model,
        system_fingerprint=answer.fingerprint,
    )


def _complete(chat: ChatRequest, answer: Answer) -> bytes:
    answer.wait_until_accepted(None)
    heading = _heading(chat, answer)
    texts: list[str] = []
    while True:
        frame = answer.next_frame(None)
        if frame is not None:
            texts.append(frame.text)
        if isinstance(frame, Done):
            return reply.completion(heading, "".join(texts), frame)


def _name_field(error: ServerError) -> None:
    if error.code in _ABOUT_MESSAGES:
        error.param = "messages"
