"""POST /v1/tokenize and /v1/detokenize, with the fake engine: a token is a byte, and 1 is what a text begins with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_client import Api
from falcon import testing


def post(api: Api, path: str, **fields: object) -> testing.Result:
    return api.client.simulate_post(path, body=json.dumps({"model": "m", **fields}))


def tokenize(api: Api, **fields: object) -> Any:
    answer = post(api, "/v1/tokenize", **fields)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_as_vllm_has_it(api: Api) -> None:
    """The text as `prompt`, with what the model wants before it unless told otherwise."""
    assert tokenize(api, prompt="ab") == {
        "tokens": [1, 97, 98],
        "count": 3,
        "max_model_len": 4096,
        "token_strs": None,
    }
    asked = tokenize(api, prompt="ab", add_special_tokens=False, return_token_strs=True)
    assert (asked["tokens"], asked["token_strs"]) == ([97, 98], ["a", "b"])


def test_as_llama_server_has_it(api: Api) -> None:
    """The text as `content`, bare unless told otherwise; pieces that are no whole characters are bytes."""
    assert tokenize(api, content="ab")["tokens"] == [97, 98]
    assert tokenize(api, content="ab", add_special=True)["tokens"] == [1, 97, 98]
    assert tokenize(api, content="aé", with_pieces=True)["tokens"] == [
        {"id": 97, "piece": "a"},
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
    ]
    assert tokenize(api, content="")["tokens"] == []


@pytest.mark.parametrize("text", ["", "x", "星影 🌟\0\n"])
def test_there_and_back(api: Api, text: str) -> None:
    """Under both names; the model stays unloaded."""
    answer = post(api, "/v1/detokenize", tokens=tokenize(api, content=text)["tokens"])
    assert answer.json == {"prompt": text, "content": text}
    assert api.get("/v1/status").json["state"] == "unloaded"


@pytest.mark.parametrize(
    ("path", "fields", "status", "param"),
    [
        ("tokenize", {}, 400, "prompt"),
        ("tokenize", {"prompt": None}, 400, "prompt"),
        ("tokenize", {"prompt": "a", "content": "b"}, 400, "content"),
        ("tokenize", {"prompt": ["a"]}, 400, "prompt"),
        ("tokenize", {"content": "x" * 1_000_001}, 400, "content"),
        ("tokenize", {"messages": []}, 400, "messages"),
        ("tokenize", {"prompt": "x", "add_special": False, "add_special_tokens": True}, 400, "add_special"),
        ("tokenize", {"content": "x", "model": "nobody"}, 404, None),
        ("detokenize", {}, 400, "tokens"),
        ("detokenize", {"tokens": "x"}, 400, "tokens"),
        ("detokenize", {"tokens": [-1]}, 400, "tokens[0]"),
        ("detokenize", {"tokens": [2**31]}, 400, "tokens[0]"),
        ("detokenize", {"tokens": [1.5]}, 400, "tokens[0]"),
        ("detokenize", {"tokens": [97, 2**30]}, 400, "tokens"),
    ],
)
def test_what_cannot_be(api: Api, path: str, fields: dict[str, Any], status: int, param: str | None) -> None:
    """It is refused, and the field is named; a token that the vocabulary lacks too."""
    answer = post(api, f"/v1/{path}", **fields)
    assert (answer.status_code, answer.json["error"]["param"]) == (status, param), answer.text
