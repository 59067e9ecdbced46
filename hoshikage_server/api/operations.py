"""What a responder takes and gives, declared where it is defined; /openapi.json is made from these declarations.

    @operation("Create chat completion", body=ChatRequest, answer=ChatCompletion, events=ChatChunk)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        \"\"\"Answers a conversation.\"\"\"

The rest is known from elsewhere: the path from the route, the description from the docstring, the statuses of errors
from `errors.KINDS`. A responder without a declaration fails a test (tests/server/test_openapi.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import falcon
import msgspec

Responder = TypeVar("Responder", bound=Callable[..., None])
Struct = type[msgspec.Struct]

_ATTRIBUTE = "operations"


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        summary: What it does, in a few words. They make its operationId as well, so they have to be unique.
        body: What the request holds.
        answer: What the response holds; None: plain text.
        events: What the events of a stream hold, where it can stream.
        query: Its query parameters.
        under: What follows the route's path, for a resource that tells its verbs apart itself.
        codes: Errors beside those that follow from all this.
        status: Of the response, when all is well.
        admin: Whether it needs an admin key, where there are keys; `middleware.ApiKeys` sees to it.
    """

    summary: str
    body: Struct | None = None
    answer: Struct | None = None
    events: Any = None
    query: Struct | None = None
    under: str = ""
    codes: tuple[str, ...] = ()
    status: int = 200
    admin: bool = False

    @property
    def id(self) -> str:
        """The operationId: clients that are generated from the document name their functions after it."""
        first, *others = self.summary.split()
        return first.lower() + "".join(word.capitalize() for word in others)


def operation(summary: str, **details: Any) -> Callable[[Responder], Responder]:
    """Declares what a responder does; see `Operation`. Several times, where it does several things."""

    def declare(responder: Responder) -> Responder:
        setattr(responder, _ATTRIBUTE, (Operation(summary, **details), *declared(responder)))
        return responder

    return declare


def declared(responder: object) -> tuple[Operation, ...]:
    """What has been declared of a responder."""
    found: tuple[Operation, ...] = getattr(responder, _ATTRIBUTE, ())
    return found


class Methods:
    """Refuses on one path what its resource does on others only: `methods` of a resource says what it does there."""

    def process_resource(
        self, request: falcon.Request, response: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Runs before the responder.

        Raises:
            HTTPMethodNotAllowed: With those that are allowed.
        """
        if not hasattr(resource, "methods"):
            return
        allowed = [*resource.methods(**params), "OPTIONS"]
        if request.method not in allowed:
            raise falcon.HTTPMethodNotAllowed(allowed)
        if request.method == "OPTIONS":
            response.set_header("Allow", ", ".join(allowed))
            response.content_length = 0
            response.complete = True


class App(falcon.App[Any, Any]):
    """Falcon's, which keeps its routes, and answers HEAD wherever it answers GET.

    Attributes:
        resources: All resources, by their paths.
    """

    def __init__(self) -> None:
        super().__init__()
        self.resources: dict[str, object] = {}

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        """Serves a resource."""
        if hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
            setattr(resource, "on_head", resource.on_get)  # noqa: B010  # mypy knows no such attribute
        super().add_route(uri_template, resource, **kwargs)
        self.resources[uri_template] = resource
