"""From a question to a response, streamed or not: what all endpoints that generate have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import falcon

from hoshikage_server.api import problems, sse
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.series import Series
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.settings import LiveSettings

Source = Answer | Series


@dataclass(frozen=True)
class Asked:
    """What a request wants, and how its endpoint tells of it.

    Attributes:
        entry: The model.
        questions: The fields of `wire.Generate` without the id, one for each prompt.
        is_streamed: Whether the answer shall come in pieces.
        new_events: Makes the events of a stream, once the answer has been accepted.
        complete: Waits for the whole answer and returns the body.
        blame: Names the request's field in an error of the engine's, which does not know the request.
    """

    entry: ModelEntry
    questions: tuple[dict[str, Any], ...]
    is_streamed: bool
    new_events: Callable[[Source], sse.Events]
    complete: Callable[[Source], bytes]
    blame: Callable[[ServerError], None]


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


class Answering:
    """Lets requests be answered."""

    def __init__(self, settings: LiveSettings, answers: Answers) -> None:
        self._settings = settings
        self._answers = answers

    def respond(self, request: falcon.Request, response: falcon.Response, asked: Asked) -> None:
        """What can still be refused is refused before the first byte, unless a stream has to wait for longer.

        Raises:
            ServerError: There is no answer.
            ClientGoneError: Nobody waits for it any more.
        """
        request.context.model = asked.entry.id
        watch = ClientWatch(request.env)
        answer: Source | None = None
        try:
            answer = self._ask(asked, request.context.request_id, watch)
            if asked.is_streamed:
                is_accepted = answer.wait_until_accepted(self._settings.now.ping_interval)
                self._stream(request, response, asked, answer, watch, is_late=not is_accepted)
            else:
                answer.wait_until_accepted(None)
                data = asked.complete(answer)
                watch.stop()
                response.content_type = falcon.MEDIA_JSON
                response.set_stream(Whole(data, _closer(request, answer, watch)), len(data))
        except BaseException as error:
            watch.stop()
            if answer is not None:
                answer.close()
            if isinstance(error, ServerError):
                asked.blame(error)
            raise

    def _ask(self, asked: Asked, request_id: str, watch: ClientWatch) -> Source:
        spec = spec_of(asked.entry, self._settings.now)

        def ask(question: dict[str, Any], goes_on: bool = False) -> Answer:
            return self._answers.ask(
                request_id, asked.entry.id, spec, question, on_overflow=watch.hang_up, goes_on=goes_on
            )

        return ask(asked.questions[0]) if len(asked.questions) == 1 else Series(ask, asked.questions)

    def _stream(
        self,
        request: falcon.Request,
        response: falcon.Response,
        asked: Asked,
        answer: Source,
        watch: ClientWatch,
        *,
        is_late: bool,
    ) -> None:
        def show_error(error: Exception) -> bytes:
            if isinstance(error, ServerError):
                asked.blame(error)
            return problems.tell(error, request)

        response.content_type = sse.MEDIA_TYPE
        response.set_headers(sse.HEADERS)
        response.stream = sse.EventStream(
            answer,
            lambda: asked.new_events(answer),
            ping_s=self._settings.now.ping_interval,
            is_late=is_late,
            show_error=show_error,
            on_close=_closer(request, answer, watch),
        )


def _closer(request: falcon.Request, answer: Source, watch: ClientWatch) -> Callable[[bool], None]:
    """What ends a response: told whether it was cut off."""

    def close(is_cut: bool) -> None:
        watch.stop()
        if is_cut and answer.error is not None:
            problems.note(answer.error, request)
        elif is_cut:
            problems.note_gone(request)
        answer.close()

    return close
