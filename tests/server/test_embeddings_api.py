"""POST /v1/embeddings with the fake engine: what is taken, what is refused, and what becomes of a dying engine."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from typing import Any

import gevent
import pytest
from api_client import Api, MakeApi, give_up_silent, wait_for
from falcon import testing

from hoshikage_server.api.embeddings_schema import decode_embedding
from hoshikage_server.errors import RequestError

PATH = "/v1/embeddings"


def embed(api: Api, given: object, model: str = "m", **fields: object) -> testing.Result:
    body = json.dumps({"model": model, "input": given, **fields})
    return api.client.simulate_post(PATH, body=body.encode())


def vectors(result: testing.Result) -> list[Any]:
    assert result.status_code == 200, result.text
    assert [item["index"] for item in result.json["data"]] == list(range(len(result.json["data"])))
    return [item["embedding"] for item in result.json["data"]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("abc", [[3, 1]]),
        (["abc"], [[3, 1]]),
        (["abc", "d"], [[3, 1], [1, 1]]),
        ([1, 2, 3], [[6, 1]]),
        ([[1, 2, 3], [4]], [[6, 1], [4, 1]]),
        (["x"] * 2048, [[1, 1]] * 2048),
    ],
    ids=["text", "a list of one", "texts", "tokens", "several tokens", "as many as there may be"],
)
def test_each_form_of_input(api: Api, given: object, expected: object) -> None:
    """One embedding for each input, in their order."""
    assert vectors(embed(api, given)) == expected


def test_the_body_is_openais(api: Api) -> None:
    """To the last key."""
    assert embed(api, ["abc", "d"]).json == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 1.0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }


def test_base64_is_of_little_endian_floats(api: Api) -> None:
    """As openai-python reads it."""
    [text] = vectors(embed(api, "abc", encoding_format="base64"))
    assert struct.unpack("<2f", base64.b64decode(text)) == (3.0, 1.0)


def test_null_is_nothing_said(api: Api) -> None:
    """As everywhere."""
    assert vectors(embed(api, "abc", encoding_format=None, dimensions=None, user=None)) == [[3, 1]]


def test_what_the_engine_is_told(make_api: MakeApi, engine_log: Path) -> None:
    """The registered pooling, and the dimensions of the request."""
    entry = {"path": "/nowhere", "model": "m.gguf"}
    api = make_api({"plain": entry, "pooled": {**entry, "embedding": {"pooling": "mean"}}})
    assert vectors(embed(api, "abc", "pooled", dimensions=1)) == [[3]]
    assert vectors(embed(api, ["abc", "d"], "plain")) == [[3, 1], [1, 1]]
    told = [line.partition("embed ")[2] for line in engine_log.read_text().splitlines() if " embed " in line]
    assert told == ["1 inputs=1 pooling=mean dimensions=1", "2 inputs=2 pooling=None dimensions=None"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": None}, "invalid_type", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": {}}, "invalid_type", "input"),
        ({"input": ""}, "empty_string", "input"),
        ({"input": []}, "empty_array", "input"),
        ({"input": ["a", ""]}, "empty_string", "input[1]"),
        ({"input": [[1], []]}, "empty_array", "input[1]"),
        ({"input": ["a", 1]}, "invalid_type", "input[1]"),
        ({"input": [1, "a"]}, "invalid_type", "input[1]"),
        ({"input": [[1], 2]}, "invalid_type", "input[1]"),
        ({"input": ["a", None]}, "invalid_type", "input[1]"),
        ({"input": ["a", True]}, "invalid_type", "input[1]"),
        ({"input": ["a", 1.5]}, "invalid_type", "input[1]"),
        ({"input": [[1, "a"]]}, "invalid_type", "input[0][1]"),
        ({"input": [[[1]]]}, "invalid_type", "input[0][0]"),
        ({"input": [-1]}, "integer_below_min_value", "input[0]"),
        ({"input": [[2**31]]}, "integer_above_max_value", "input[0][0]"),
        ({"input": [10**30]}, "integer_above_max_value", "input[0]"),
        ({"input": ["a"] * 2049}, "array_above_max_length", "input"),
        ({"input": [[1]] * 2049}, "array_above_max_length", "input"),
        ({"input": "a", "encoding_format": "hex"}, "invalid_value", "encoding_format"),
        ({"input": "a", "encoding_format": 1}, "invalid_type", "encoding_format"),
        ({"input": "a", "dimensions": 0}, "integer_below_min_value", "dimensions"),
        ({"input": "a", "dimensions": "8"}, "invalid_type", "dimensions"),
        ({"input": "a", "dimensions": 1.5}, "invalid_type", "dimensions"),
        ({"input": "a", "user": 7}, "invalid_type", "user"),
        ({"input": "a", "model": ""}, "empty_string", "model"),
        ({"input": "a", "model": None}, "invalid_type", "model"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_requests(fields: dict[str, object], code: str, param: str) -> None:
    """The field is named, to the item; every placeholder is filled."""
    with pytest.raises(RequestError) as caught:
        decode_embedding(json.dumps({"model": "m", **fields}).encode()).inputs()
    assert (caught.value.code, caught.value.param) == (code, param)
    for language in ("en", "ja"):
        assert not re.search(r"\{[a-z_]+\}", caught.value.text(language))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": ' + b"[" * 100_000])
def test_what_is_no_request(api: Api, body: bytes) -> None:
    """400, in OpenAI's envelope."""
    result = api.client.simulate_post(PATH, body=body)
    assert result.status_code == 400
    assert result.json["error"]["type"] == "invalid_request_error"


def test_an_unknown_model(api: Api) -> None:
    """404, as OpenAI."""
    result = embed(api, "abc", "nobody")
    assert (result.status_code, result.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("given", "param"),
    [("refuse context_length_exceeded", "input"), (["a", "refuse context_length_exceeded"], "input[1]")],
)
def test_an_input_that_is_too_long(api: Api, given: object, param: str) -> None:
    """400 with both numbers, and the one that it is."""
    result = embed(api, given)
    error = result.json["error"]
    assert (result.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", param)
    assert "4096 tokens" in error["message"]
    assert "5000 tokens" in error["message"]
    assert param in error["message"]


@pytest.mark.parametrize("code", ["insufficient_memory", "internal"])
def test_other_errors_of_the_engine(api: Api, code: str) -> None:
    """They have their status; the engine goes on."""
    assert embed(api, f"refuse {code}").status_code == (503 if code == "insufficient_memory" else 500)
    assert vectors(embed(api, "abc")) == [[3, 1]]


def test_another_engine_does_what_is_left(make_api: MakeApi, engine_log: Path) -> None:
    """What the first one had sent is not computed again, and the order is kept."""
    api = make_api()
    assert vectors(embed(api, ["aa", "b", "die", "dddd"])) == [[2, 1], [1, 1], [3, 1], [4, 1]]
    embeds = [line for line in engine_log.read_text().splitlines() if " embed " in line]
    assert ["inputs=4" in embeds[0], "inputs=2" in embeds[1]] == [True, True]
    assert api.deps.answers.supervisor.snapshot().n_crashes == 1


def test_an_input_that_kills_twice(make_api: MakeApi) -> None:
    """It is to blame itself."""
    result = embed(make_api(), ["a", "killer"])
    assert (result.status_code, result.json["error"]["code"]) == (500, "engine_crashed")


def test_an_index_counts_from_the_first_input(make_api: MakeApi) -> None:
    """Also where another engine is at work."""
    result = embed(make_api(), ["a", "b", "die", "refuse context_length_exceeded"])
    assert result.json["error"]["param"] == "input[3]"


def test_an_engine_that_hangs(make_api: MakeApi, engine_log: Path) -> None:
    """It is ended after the time in which it should have given a sign of life, and so is its successor."""
    api = make_api()
    answers = api.deps.answers
    request = gevent.spawn(embed, api, "hang")
    for n_embeds in (1, 2):
        wait_for(lambda n=n_embeds: engine_log.read_text().count(" embed ") == n, "it is computed")
        give_up_silent(api.deps.settings, answers.supervisor)
    result = request.get(timeout=60)
    assert (result.status_code, result.json["error"]["code"]) == (500, "engine_crashed")


def test_who_leaves_frees_the_lane_and_the_engine(make_api: MakeApi, engine_log: Path) -> None:
    """The engine is told, and the next one is served at once."""
    api = make_api()
    request = gevent.spawn(embed, api, ["a", "hang"])
    wait_for(lambda: " embed " in engine_log.read_text(), "it is computed")
    lane = api.deps.answers.lane
    assert lane.n_running == 1
    request.kill()
    assert lane.n_running == 0
    wait_for(lambda: " cancel " in engine_log.read_text(), "the engine is told")
    assert vectors(embed(api, "abc")) == [[3, 1]]


def test_it_waits_its_turn(make_api: MakeApi) -> None:
    """Behind an answer, as answers do behind each other; a full queue refuses it."""
    api = make_api(max_queue=1)
    answer = gevent.spawn(api.chat, "count 1000 20")
    wait_for(lambda: api.deps.answers.lane.n_running == 1, "it runs")
    waiting = gevent.spawn(embed, api, "abc")
    wait_for(lambda: api.deps.answers.lane.n_waiting == 1, "it waits")
    assert embed(api, "abc").status_code == 429
    answer.kill()
    assert vectors(waiting.get(timeout=60)) == [[3, 1]]


def test_a_model_that_does_not_load(api: Api) -> None:
    """The error is that of the load."""
    result = embed(api, "abc", "refuse")
    assert (result.status_code, result.json["error"]["code"]) == (503, "model_load_failed")
