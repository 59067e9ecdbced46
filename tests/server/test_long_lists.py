"""Lists of a body that are too long where their items have a few fields only."""

from __future__ import annotations

import json

from api_client import MakeApi


def test_too_many_examples_of_a_persona(make_api: MakeApi) -> None:
    """They are refused as other lists are."""
    body = {"id": "x", "name": "x", "examples": [{"user": "a", "assistant": "b"}] * 65}
    result = make_api({}).client.simulate_post("/v1/personas", body=json.dumps(body))
    assert result.status_code == 400, result.text
    error = result.json["error"]
    assert (error["code"], error["param"]) == ("array_above_max_length", "examples")
