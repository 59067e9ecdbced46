"""POST /v1/chat/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import falcon

from hoshikage_server.api import body, problems, reply, sse
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.operations import operation
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.wire import Done
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.model_map import ModelEntry, ModelMap
from hoshikage_server.settings import LiveSettings

# Errors of the engine that are about the messages, which the engine does not know by that name.
_ABOUT_MESSAGES = frozenset({"context_length_exceeded", "chat_template_failed"})


class Whole:
    """The body of an answer that is not streamed. gunicorn closes it when its last byte is out, or cannot be.

    Args:
        data: All of it.
        on_close: Gives back what the answer holds; told whether the client did not get it.
    """

    def __init__(self, data: bytes, on_close: Callable[[bool], None]) -> None:
        self._data = data
        self._on_close = on_close
        self._is_out = False

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        self._is_out = True

    def close(self) -> None:
        """Gives everything back. Never switches greenlets."""
        self._on_close(not self._is_out)


class ChatCompletions:
    """Answers a conversation, streamed or not."""

    def __init__(self, settings: LiveSettings, models: ModelMap, answers: Answers) -> None:
        self._settings = settings
        self._models = models
        self._answers = answers

    @operation("Create chat completion", body=ChatRequest, answer=reply.ChatCompletion, events=reply.ChatChunk)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """What can still be refused is refused before the first byte, unless a stream has to wait for longer."""
        settings = self._settings.now
        chat = decode_chat(body.read(request, settings))
        entry = self._models.find(chat.model)
        request.context.model = entry.id
        watch = ClientWatch(request.env)
        answer: Answer | None = None
        try:
            answer = self._ask(chat, entry, request.context.request_id, watch)
            if chat.stream:
                is_accepted = answer.wait_until_accepted(settings.ping_interval)
                self._stream(request, response, chat, answer, watch, is_late=not is_accepted)
            else:
                data = _complete(chat, answer)
                watch.stop()
                response.content_type = falcon.MEDIA_JSON
                response.set_stream(Whole(data, self._closer(request, answer, watch)), len(data))
        except BaseException as error:
            watch.stop()
            if answer is not None:
                answer.close()
            if isinstance(error, ServerError):
                _name_field(error)
            raise

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
            spec_of(entry, settings),
            question,
            on_overflow=watch.hang_up,
        )

    def _closer(self, request: falcon.Request, answer: Answer, watch: ClientWatch) -> Callable[[bool], None]:
        """What ends a response: told whether it was cut off."""

        def close(is_cut: bool) -> None:
            watch.stop()
            if is_cut and answer.error is not None:
                problems.note(answer.error, request)
            elif is_cut:
                problems.note_gone(request)
            answer.close()

        return close

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
            on_close=self._closer(request, answer, watch),
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
