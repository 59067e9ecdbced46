"""The HTTP surface with the fake engine."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

import gevent
import pytest
from api_client import Api, MakeApi
from bodies import mutated
from hypothesis import HealthCheck, given, settings
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

REQUIRED_IN_COMPLETION = {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))


def usage(n_prompt: int, n_completion: int) -> dict[str, Any]:
    """What the fake engine's answers take."""
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def error_of(result: Any, status: int) -> dict[str, Any]:
    assert result.status_code == status, result.text
    assert result.headers["content-type"].startswith("application/json")
    assert result.headers["x-request-id"]
    error: dict[str, Any] = result.json["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert result.json.keys() == {"error"}
    return error


def test_a_plain_answer(api: Api) -> None:
    """OpenAI's object with every required key, also those that are null."""
    body = api.chat("echo hello world").json
    assert body.keys() >= REQUIRED_IN_COMPLETION
    assert body["object"] == "chat.completion"
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello world", "refusal": None, "annotations": []},
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert body["usage"] == usage(7, 2)
    assert abs(body["created"] - time.time()) < 60
    ChatCompletion.model_validate(body, strict=True)


def test_finish_reason_length(api: Api) -> None:
    """The limit was reached."""
    assert api.chat("count 2").json["choices"][0]["finish_reason"] == "length"


def test_a_stream(api: Api) -> None:
    """The role first, then what comes, then the reason, then [DONE]; one id throughout."""
    *events, done = api.stream("echo hello world")
    assert done is None
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "hello"},
        {"content": " world"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "stop"]
    assert all("usage" not in event for event in events)
    for event in events:
        ChatCompletionChunk.model_validate(event, strict=True)


def test_a_stream_with_usage(api: Api) -> None:
    """One more chunk without choices; until then usage is null."""
    *events, last, done = api.stream("echo hello", stream_options={"include_usage": True})
    assert done is None
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == []
    assert last["usage"] == usage(7, 1)


def test_what_the_engine_is_asked(make_api: MakeApi) -> None:
    """Limits, stop strings and sampling values: the request's over the model map's."""
    entry = {"path": "/x", "model": "m.gguf", "stop": ["</s>"], "sampling": {"temperature": 0.1, "top_k": 7}}
    answer = make_api({"m": entry}).chat("params", stop=["a"], temperature=0.5, seed=1, max_completion_tokens=9)
    asked = json.loads(answer.json["choices"][0]["message"]["content"])
    assert asked["stop"] == ["a", "</s>"]
    assert asked["sampling"] == {"temperature": 0.5, "top_k": 7, "seed": 1}
    assert asked["so_far"] is None
    assert asked["max_tokens"] == 9
    assert asked["messages"] == [{"role": "user", "content": "params"}]


def test_a_prompt_longer_than_the_context(api: Api) -> None:
    """400 with both numbers, streamed or not."""
    for stream in (False, True):
        error = error_of(api.chat("refuse context_length_exceeded", stream=stream), 400)
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        assert "5000" in error["message"]
        assert "4096" in error["message"]


def test_the_engine_fails_before_the_first_byte(api: Api) -> None:
    """Then it is a status, also for a stream; words of the engine stay in the log."""
    for stream in (False, True):
        error = error_of(api.chat("refuse internal", stream=stream), 500)
        assert (error["type"], error["code"]) == ("server_error", "internal_error")
        assert "refused as told" not in error["message"]


def test_the_engine_fails_in_the_middle(api: Api) -> None:
    """A plain request gets a status, a stream an error event and no [DONE]."""
    assert error_of(api.chat("late internal"), 500)["code"] == "internal_error"
    *events, last = api.stream("late internal")
    assert [event["choices"][0]["delta"].get("content") for event in events] == ["", "one ", "two "]
    assert last["error"]["code"] == "internal_error"


def test_the_engine_dies(make_api: MakeApi) -> None:
    """Nobody notices: another one goes on with the answer, from the next piece."""
    api = make_api(crash_limit=100)
    assert api.chat("die 2").json["choices"][0]["message"]["content"] == "1 2 "
    *events, done = api.stream("die 2", stream_options={"include_usage": True})
    assert done is None
    assert [event["choices"][0]["delta"].get("content") for event in events[:-1]] == ["", "1 ", "2 ", None]
    assert events[-1]["usage"] == usage(7, 2)


def test_a_request_that_kills_its_second_engine_too(make_api: MakeApi) -> None:
    """500 engine_crashed with how it died, or an error event after what there was; the next request is served."""
    api = make_api(crash_limit=100)
    error = error_of(api.chat("killer 2"), 500)
    assert error["code"] == "engine_crashed"
    assert "SIGKILL" in error["message"]
    *events, last = api.stream("killer 2")
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "1 2 3 4 "
    assert last["error"]["code"] == "engine_crashed"
    assert api.chat("echo again").json["choices"][0]["message"]["content"] == "again"


@pytest.mark.parametrize(("model", "reason"), [("refuse", "this is no model"), ("die", "SIGKILL")])
def test_a_model_that_does_not_load(make_api: MakeApi, model: str, reason: str) -> None:
    """The reason is told, also of a death, after it was tried once more; other models still work."""
    api = make_api()
    for stream in (False, True):
        result = api.chat("echo x", model=model, stream=stream)
        error = error_of(result, 503)
        if model == "die" and stream:  # the third death
            assert (error["code"], result.headers["retry-after"]) == ("model_failed", "60")
        else:
            assert error["code"] == "model_load_failed"
            assert reason in error["message"]
            assert ("retry-after" in result.headers) is (model == "refuse")
    assert api.chat("echo again").status_code == 200


def test_unknown_model(api: Api) -> None:
    """404, never a default."""
    error = error_of(api.chat("echo x", model="nope"), 404)
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", None, "invalid_request_error")


def test_unknown_path_and_method(api: Api) -> None:
    """404 and 405, the latter with Allow."""
    assert error_of(api.get("/v1/nope"), 404)["code"] == "unknown_url"
    result = api.get("/v1/chat/completions")
    assert error_of(result, 405)["code"] == "method_not_supported"
    assert "POST" in result.headers["allow"]
    assert error_of(api.client.simulate_post("/v1/status"), 405)["code"] == "method_not_supported"


def test_models(api: Api) -> None:
    """The list, and each by its id, whatever is in it."""
    listed = api.get("/v1/models").json
    assert listed["object"] == "list"
    personas = ["assistant", "storyteller", "translator"]
    assert [model["id"] for model in listed["data"]] == ["m", "refuse", "die", "a/b:c@d", *personas]
    for model in listed["data"]:
        Model.model_validate(model, strict=True)
        assert api.get(f"/v1/models/{model['id']}").json == model
    assert api.get("/v1/models/a%2Fb%3Ac%40d").json["id"] == "a/b:c@d"
    error = error_of(api.get("/v1/models/no/such"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_status_version_health_and_page(api: Api) -> None:
    """They need no model and start none."""
    assert api.get("/health").json == {"status": "ok"}
    assert api.get("/v1/api/version").json["version"]
    assert "/v1" in api.get("/").text
    status = api.get("/v1/status").json
    assert status["queue"]["parallel"] == 1
    assert status["state"] in ("ready", "generating", "unloaded", "failed")


def test_status_of_an_untouched_server(make_api: MakeApi) -> None:
    """Nothing is loaded until something is asked."""
    api = make_api()
    status = api.get("/v1/status").json
    assert (status["state"], status["engines"], status["n_engine_starts"]) == ("unloaded", [], 0)
    api.chat("echo x")
    assert api.get("/v1/status").json["engines"][0]["n_ctx"] == 4096


@pytest.mark.parametrize(("given_id", "is_kept"), [("abc-1", True), ("x" * 129, False), ("a b", False), ("", False)])
def test_request_id(api: Api, given_id: str, is_kept: bool) -> None:
    """On every response; the client's own if it is sane."""
    result = api.get("/v1/models", headers={"X-Request-Id": given_id})
    assert (result.headers["x-request-id"] == given_id) is is_kept
    assert result.headers["x-request-id"]


def test_language(api: Api) -> None:
    """Messages follow the client; codes do not."""
    body = {"model": "nope", "messages": [{"role": "user", "content": "x"}]}
    english = error_of(api.post(body, headers={"Accept-Language": "en"}), 404)
    japanese = error_of(api.post(body, headers={"Accept-Language": "ja-JP"}), 404)
    assert english["message"] != japanese["message"]
    assert english["code"] == japanese["code"]


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, "missing"), ("Bearer", "missing"), ("Basic x", "missing"), ("Bearer x", "invalid_api_key")],
)
def test_keys(make_api: MakeApi, header: str | None, code: str) -> None:
    """401 without one that is known; health and the page stay open."""
    api = make_api(api_keys="one,two")
    result = api.get("/v1/models", headers={"Authorization": header} if header else {})
    error = error_of(result, 401)
    assert error["code"] == (None if code == "missing" else code)
    assert result.headers["www-authenticate"] == "Bearer"
    for key in ("one", "two"):
        assert api.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert api.get("/health").status_code == 200


def test_body_limits(make_api: MakeApi) -> None:
    """413 over the limit; a compressed body is refused by name."""
    api = make_api(max_body=1024)
    assert error_of(api.chat("x" * 2000), 413)["code"] == "request_too_large"
    assert api.chat("echo y").status_code == 200
    assert "gzip" in error_of(api.post(b"x", headers={"Content-Encoding": "br"}), 415)["message"]


def test_a_broken_model_map(make_api: MakeApi, caplog: pytest.LogCaptureFixture) -> None:
    """Reported with the file's name, and logged once, however many requests come; it stays as it is."""
    api = make_api()
    path = api.deps.settings.now.model_map
    assert api.get("/v1/models").status_code == 200
    path.write_text("{")
    assert api.get("/v1/models").status_code == 200, "the last good state"
    assert str(path) in api.get("/v1/status").json["model_map_error"]
    fresh = make_api()
    fresh.deps.settings.now.model_map.write_text("{")
    caplog.clear()
    for _ in range(3):
        assert error_of(fresh.get("/v1/models"), 500)["code"] == "invalid_model_map"
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.ERROR]


@given(mutated())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=FUZZ_EXAMPLES, deadline=None)
def test_mutated_bodies_never_break_the_server(api: Api, body: bytes) -> None:
    """An answer or OpenAI's error with a 4xx, always, and in time; FUZZ_EXAMPLES=20000 looks longer."""
    with gevent.Timeout(30):
        result = api.post(body)
    assert result.status_code in (200, 400, 404), result.text
    if result.status_code != 200:
        error_of(result, result.status_code)
    elif result.headers["content-type"].startswith("text/event-stream"):
        *events, done, rest = result.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        for event in events:
            ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: ")), strict=True)
    else:
        ChatCompletion.model_validate(result.json, strict=True)
