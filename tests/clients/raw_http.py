"""Bodies as they are on the wire, before a client has read anything into them."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

from server_process import ServerProcess

_TIMEOUT_S = 120


def ask(server: ServerProcess, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """The status and the decoded body of an answer that is no stream."""
    status, text = _ask(server, method, path, body)
    return status, json.loads(text)


def events(server: ServerProcess, path: str, body: object) -> list[Any]:
    """The decoded events of a stream, of which each line is "data: ", "event: " or a comment; without [DONE]."""
    status, text = _ask(server, "POST", path, body)
    assert status == 200, text
    found: list[Any] = []
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert len(data) + len(names) == len(lines), block
        if data and data != ["[DONE]"]:
            found.append(json.loads("\n".join(data)))
            assert names in ([], [found[-1].get("type")]), "the event's name is its type"
    return found


def _ask(server: ServerProcess, method: str, path: str, body: object) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_S)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {**server.auth, "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
