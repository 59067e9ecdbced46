"""A response as it goes to the client: an event stream, or one object. Pure: frames in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hoshikage_server.api.problems import Envelope
from hoshikage_server.api.responses.event_objects import (
    Completed,
    Created,
    Error,
    Event,
    Failed,
    Incomplete,
    InProgress,
)
from hoshikage_server.api.responses.objects import Response, ResponseError
from hoshikage_server.api.responses.output import Output
from hoshikage_server.api.sse import Source, event, pieces
from hoshikage_server.engines.channel import Piece
from hoshikage_server.engines.wire import Done, Progress

_encode = msgspec.json.Encoder().encode
_envelope = msgspec.json.Decoder(Envelope)

Keep = Callable[[Response], None]


class ResponseEvents:
    """The events of one stream. It ends with its last event; OpenAI sends no [DONE] here.

    Args:
        begun: The response at its beginning.
        output: What becomes of it.
        keep: Takes the response when it has ended, before the client is told.
    """

    def __init__(self, begun: Response, output: Output, keep: Keep) -> None:
        self._begun = begun
        self._output = output
        self._keep = keep

    def opening(self) -> bytes:
        """The model has taken the request."""
        number = self._output.number
        created = Created(response=self._begun, sequence_number=number())
        return _told((created, InProgress(response=self._begun, sequence_number=number())))

    def piece(self, frame: Piece) -> bytes:
        """What a piece adds; after the last one the whole response."""
        if isinstance(frame, Progress):
            return b""
        made = self._output.take(frame)
        if isinstance(frame, Done):
            response = self._output.whole(self._begun, frame)
            self._keep(response)
            kind = Incomplete if response.status == "incomplete" else Completed
            made.append(kind(response=response, sequence_number=self._output.number()))
        return _told(made)

    def failed(self, body: bytes) -> bytes:
        """It broke off: why, and what there is of it."""
        error = _envelope.decode(body).error
        number = self._output.number
        kinds = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}
        response = msgspec.structs.replace(
            self._begun,
            status="failed",
            error=ResponseError(kinds.get(error.type, "server_error"), error.message),  # type: ignore[arg-type]
            output=tuple(self._output.items),
        )
        told = Error(code=error.code, message=error.message, param=error.param, sequence_number=number())
        return _told((told, Failed(response=response, sequence_number=number())))


def complete(answer: Source, begun: Response, output: Output, keep: Keep) -> bytes:
    """Waits for a whole answer, and makes the body of a response that is not streamed.

    Raises:
        ServerError: It broke off.
    """
    for frame in pieces(answer):
        output.take(frame)
    assert isinstance(frame, Done)
    response = output.whole(begun, frame)
    keep(response)
    return _encode(response)


def _told(made: Sequence[Event]) -> bytes:
    return b"".join(event(_encode(told), str(told.__struct_config__.tag)) for told in made)
