"""Chat requests under way, as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from server_process import TIMEOUT_S, ServerProcess

PING = ": ping"


@dataclass(frozen=True)
class Reply:
    """All that came back.

    Attributes:
        lines: A stream's, without the empty ones; a plain body is one line.
    """

    status: int
    headers: dict[str, str]
    lines: tuple[str, ...]

    @property
    def events(self) -> list[Any]:
        """What is no comment, decoded; without [DONE]."""
        data = [line.removeprefix("data: ") for line in self.lines if line != PING]
        return [json.loads(text) for text in data if text != "[DONE]"]

    @property
    def text(self) -> str:
        """The answer's, whole or as far as it got."""
        choices = [choice for event in self.events for choice in event.get("choices", [])]
        return "".join((choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices)

    @property
    def is_whole(self) -> bool:
        """Whether it ended as it should."""
        is_stream = "text/event-stream" in self.headers["content-type"]
        return self.status == 200 and (not is_stream or self.lines[-1] == "data: [DONE]")

    @property
    def error(self) -> str | None:
        """The code of the error it ended with."""
        code: str | None = self.events[-1].get("error", {}).get("code")
        return code

    @property
    def retry_after_s(self) -> int:
        """When to come back."""
        return int(self.headers["retry-after"])


class Question:
    """A request that has been sent; a context manager that closes its connection."""

    def __init__(self, server: ServerProcess, text: str, model: str = "m", **fields: object) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), server.auth)
        self._response: HTTPResponse | None = None
        self._lines: list[str] = []

    @property
    def response(self) -> HTTPResponse:
        """Its head, as soon as that is there."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def lines(self) -> Iterator[str]:
        """Lines as they come, without the empty ones."""
        while data := self.response.readline():
            if line := data.decode().rstrip("\n"):
                self._lines.append(line)
                yield line

    def read_until(self, mark: str) -> None:
        """Waits for a line with this in it."""
        for line in self.lines():
            if mark in line:
                return
        raise AssertionError(f"no {mark} in {self._lines}")

    def reply(self) -> Reply:
        """All of it, once it has ended."""
        for _ in self.lines():
            pass
        headers = {name.lower(): value for name, value in self.response.getheaders()}
        self.close()
        return Reply(self.response.status, headers, tuple(self._lines))

    def close(self) -> None:
        """Hangs up."""
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def __enter__(self) -> Question:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(server: ServerProcess, text: str, model: str = "m", **fields: object) -> Reply:
    """A whole exchange."""
    return Question(server, text, model, **fields).reply()


def numbers(n: int) -> str:
    """What `count N` answers."""
    return "".join(f"{i + 1} " for i in range(n))
