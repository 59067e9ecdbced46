"""POST /v1/chat/completions/input_tokens, with the fake engine."""

from __future__ import annotations

import json
from typing import Any

from api_client import Api
from falcon import testing


def count(api: Api, body: Any) -> testing.Result:
    return api.client.simulate_post("/v1/chat/completions/input_tokens", body=json.dumps(body))


def conversation(text: str, model: str = "m") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def test_counting_wakes_nothing(api: Api) -> None:
    """The model stays unloaded, also when the prompt is longer than its context."""
    for n_characters in (5, 50_000):
        answer = count(api, conversation("x" * n_characters))
        assert answer.status_code == 200, answer.text
        assert answer.json == {"object": "response.input_tokens", "input_tokens": n_characters}
    status = api.get("/v1/status").json
    assert (status["state"], status["engines"]) == ("unloaded", [])


def test_what_is_wrong_is_told_as_for_chat(api: Api) -> None:
    """The same errors, naming the same fields."""
    assert count(api, conversation("x", model="nobody")).json["error"]["code"] == "model_not_found"
    wrong = count(api, {"model": "m", "messages": [{"role": "user", "content": 5}]})
    assert wrong.status_code == 400
    assert wrong.json["error"]["param"] == "messages[0].content"
