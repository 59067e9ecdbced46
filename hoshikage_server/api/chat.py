"""POST /v1/chat/completions."""

from __future__ import annotations

import time
import uuid
from typing import Any

import falcon

from hoshikage_server.api import body, problems, reply, sse
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.wire import Done, EngineSpec
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
        """Everything that can still be refused is refused before the first byte."""
        chat = decode_chat(body.read(request, self._settings.now))
        entry = self._models.entries().get(chat.model)
        if entry is None:
            raise RequestError("model_not_found", model=chat.model)
        watch = ClientWatch(request.env)
        try:
            answer = self._begin(chat, entry, watch)
        except BaseException:
            watch.stop()
            raise
        heading = reply.Heading(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=chat.model,
            system_fingerprint=answer.fingerprint,
        )
        if chat.stream:
            self._stream(request, response, chat, heading, answer, watch)
        else:
            with watch, answer:
                response.data = _complete(heading, answer)
                response.content_type = falcon.MEDIA_JSON

    def _begin(self, chat: ChatRequest, entry: ModelEntry, watch: ClientWatch) -> Answer:
        settings = self._settings.now
        spec = EngineSpec(
            path=str(entry.file),
            n_ctx=entry.n_ctx or settings.n_ctx,
            parallel=settings.parallel,
            n_threads=settings.threads,
            gpu_layers=settings.gpu_layers,
        )
        question: dict[str, Any] = {
            "messages": chat.plain_messages(),
            "sampling": chat.sampling().over(entry.sampling),
            "max_tokens": chat.token_limit,
            "stop": (*chat.stops, *entry.stop),
        }
        try:
            return self._answers.begin(entry.id, spec, question, watch.hang_up)
        except ServerError as error:
            if error.code in _ABOUT_MESSAGES:
                error.param = "messages"
            raise

    def _stream(
        self,
        request: falcon.Request,
        response: falcon.Response,
        chat: ChatRequest,
        heading: reply.Heading,
        answer: Answer,
        watch: ClientWatch,
    ) -> None:
        def close(is_cut: bool) -> None:
            watch.stop()
            if is_cut and watch.is_gone:
                problems.note_gone(request)
            answer.close()

        def show_error(error: ServerError) -> bytes:
            return problems.tell(error, request)

        chunks = reply.Chunks(heading, with_usage=chat.wants_usage)
        response.content_type = sse.MEDIA_TYPE
        response.set_headers(sse.HEADERS)
        response.stream = sse.ChatStream(
            answer, chunks, with_usage=chat.wants_usage, show_error=show_error, on_close=close
        )


def _complete(heading: reply.Heading, answer: Answer) -> bytes:
    texts: list[str] = []
    for frame in answer.frames():
        if isinstance(frame, Done):
            return reply.completion(heading, "".join(texts), frame)
        texts.append(frame.text)
    raise AssertionError("an answer ends with Done")
