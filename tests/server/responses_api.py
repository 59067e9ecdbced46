"""/v1/responses of the application with the fake engine."""

from __future__ import annotations

import json
from typing import Any

from api_client import Api
from falcon import testing
from responses_frames import EVENT, events_of


def post(api: Api, body: object, path: str = "/v1/responses") -> testing.Result:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.client.simulate_post(path, body=data, headers={"Accept-Language": "en"})


def ask(api: Api, given: object, **fields: object) -> dict[str, Any]:
    """The body of a response."""
    result = post(api, {"model": "m", "input": given, **fields})
    assert result.status_code == 200, result.text
    body: dict[str, Any] = result.json
    return body


def ask_stream(api: Api, given: object, **fields: object) -> list[dict[str, Any]]:
    """The events of a response; all valid."""
    result = post(api, {"model": "m", "input": given, "stream": True, **fields})
    assert result.status_code == 200, result.text
    assert result.headers["content-type"].startswith("text/event-stream")
    events = events_of(result.content)
    for event in events:
        EVENT.validate_python(event, strict=True)
    return events


def refused(api: Api, given: object, **fields: object) -> tuple[str | None, str | None]:
    """The code and the param of a refusal."""
    return error_of(post(api, {"model": "m", "input": given, **fields}), 400)


def error_of(result: testing.Result, status: int) -> tuple[str | None, str | None]:
    assert result.status_code == status, result.text
    error = result.json["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error["code"], error["param"]


def frame_of(body: dict[str, Any]) -> dict[str, Any]:
    """What the engine was told, of an answer to `params`."""
    frame: dict[str, Any] = json.loads(text_of(body))
    return frame


def text_of(body: dict[str, Any]) -> str:
    return "".join(part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"])


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


FUNCTION: dict[str, Any] = {
    "type": "function",
    "name": "f",
    "description": "Does it.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    "strict": True,
}
