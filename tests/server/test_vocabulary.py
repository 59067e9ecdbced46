"""Counting tokens, and refusing prompts that are too long, without waking a model."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from api_client import Api, MakeApi, wait_for
from falcon import testing

from hoshikage_server.engines import vocabulary

N_CTX = 200
FITS = "x " * 80  # so few bytes for the context that nobody counts, with all that JSON adds
TOO_LONG = "x " * 250


@pytest.fixture
def api(make_api: MakeApi, engine_log: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(vocabulary, "IDLE_S", 300)
    models = {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "other")}
    made = make_api(models, n_ctx=N_CTX)
    yield made
    made.deps.answers.vocabulary.close(60)


@pytest.fixture
def impatient_api(api: Api) -> Api:
    """It waits two seconds for a count."""
    api.deps.settings.now = msgspec.structs.replace(api.deps.settings.now, stall_timeout=2.0)
    return api


def events(engine_log: Path) -> list[str]:
    """What engines were told, without their pids and numbers; without their ends, which may come at any time."""
    told = [line.split()[2] for line in engine_log.read_text().splitlines()]
    return [event for event in told if event != "stop"]


def code_of(result: testing.Result, http_status: int) -> str:
    assert result.status_code == http_status, result.text
    code: str = result.json["error"]["code"]
    return code


def text_of(result: testing.Result) -> str:
    assert result.status_code == 200, result.text
    text: str = result.json["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_wakes_nothing(api: Api, engine_log: Path, stream: bool) -> None:
    """It is refused with both numbers, and no model is loaded for it."""
    result = api.chat(f"echo {TOO_LONG}", stream=stream)
    assert code_of(result, 400) == "context_length_exceeded"
    assert str(len(f"echo {TOO_LONG}")) in result.json["error"]["message"]
    assert str(N_CTX) in result.json["error"]["message"]
    assert result.json["error"]["param"] == "messages"
    assert events(engine_log) == ["count-load", "count"]
    status = api.get("/v1/status").json
    assert (status["state"], status["engines"], status["n_engine_starts"]) == ("unloaded", [], 0)


def test_what_the_template_refuses_wakes_nothing(api: Api, engine_log: Path) -> None:
    """It is told as the model itself would tell it."""
    result = api.chat(f"refuse chat_template_failed {TOO_LONG}")
    assert code_of(result, 400) == "chat_template_failed"
    assert "the template says no" in result.json["error"]["message"]
    assert events(engine_log) == ["count-load", "count"]


def test_a_short_prompt_is_not_looked_at(api: Api, engine_log: Path) -> None:
    """Counting would only delay it."""
    assert text_of(api.chat(f"echo {FITS}")).startswith("x x")
    assert events(engine_log)[:2] == ["load", "generate"]


JSON_FORM: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}


def test_a_form_is_compiled_before_it_waits(api: Api, engine_log: Path) -> None:
    """While another answer is made, a form that cannot be had is refused at once, not when its turn comes."""
    busy = gevent.spawn(api.chat, "gate go 1 x y")
    wait_for(lambda: "generate" in events(engine_log))
    result = api.chat("refuse invalid_grammar", **JSON_FORM)
    assert code_of(result, 400) == "invalid_grammar"
    assert not busy.ready()
    engine_log.with_name("go").touch()
    assert text_of(api.chat("echo fine", **JSON_FORM)) == "fine"
    assert busy.get(timeout=60).status_code == 200
    assert events(engine_log).count("count") == 2


def test_a_form_is_compiled_before_its_model_is_loaded(api: Api, engine_log: Path) -> None:
    """Nothing wakes only to refuse it; a model that is awake and free looks at it itself."""
    assert code_of(api.chat("refuse invalid_json_schema", **JSON_FORM), 400) == "invalid_json_schema"
    assert events(engine_log) == ["count-load", "count"]
    assert text_of(api.chat("echo fine", **JSON_FORM)) == "fine"
    assert text_of(api.chat("echo again", **JSON_FORM)) == "again"
    assert events(engine_log).count("count") == 2


def test_a_long_prompt_that_fits_is_answered(api: Api, engine_log: Path) -> None:
    """The count is right, not the guess that asks for it."""
    messages = [{"role": role, "content": text} for role, text in (("user", TOO_LONG), ("user", "echo it fits"))]
    assert text_of(api.post({"model": "m", "messages": messages})) == "it fits", "a fake token is a letter of the last"
    assert events(engine_log)[:4] == ["count-load", "count", "load", "generate"]


def test_a_model_that_is_awake_decides_for_itself(api: Api, engine_log: Path) -> None:
    """No other process is asked; for another model one is."""
    api.chat("echo x")
    assert text_of(api.chat(f"echo {TOO_LONG}")).startswith("x x")
    assert "count-load" not in events(engine_log)
    assert code_of(api.chat(f"echo {TOO_LONG}", model="other"), 400) == "context_length_exceeded"
    assert api.get("/v1/status").json["model"] == "m"


@pytest.mark.parametrize("verb", ["uncountable", "uncounted"])
def test_where_nobody_can_count_the_model_does(impatient_api: Api, verb: str) -> None:
    """The vocabulary's process dies or says nothing: the request is answered as if it had not been asked."""
    assert text_of(impatient_api.chat(f"{verb} {TOO_LONG}")) == TOO_LONG
    status = impatient_api.get("/v1/status").json
    assert (status["n_engine_starts"], status["n_engine_crashes"]) == (1, 0), "those are of the engines that compute"


def test_an_error_that_is_not_the_requests_is_not_told(api: Api, engine_log: Path) -> None:
    """The model itself is asked, and what it says counts."""
    result = api.chat(f"refuse unsupported {TOO_LONG}")
    assert events(engine_log)[:4] == ["count-load", "count", "load", "generate"]
    assert code_of(result, 500) == "internal_error"


def test_the_process_ends_soon(api: Api, engine_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is short-lived, serves several requests meanwhile, and sees no GPU."""
    for _ in range(3):
        api.chat(f"echo {TOO_LONG}")
    assert events(engine_log) == ["count-load", "count", "count", "count"]
    pid = int(engine_log.read_text().split()[0])
    assert "CUDA_VISIBLE_DEVICES=" in Path(f"/proc/{pid}/environ").read_text().split("\0")
    monkeypatch.setattr(vocabulary, "IDLE_S", 0.1)
    api.deps.answers.vocabulary._owner.settled()  # it looks at its deadlines again
    wait_for(lambda: engine_log.read_text().splitlines()[-1].endswith(" stop"), "it is told to end")
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "it has ended")
    assert code_of(api.chat(f"echo {TOO_LONG}"), 400) == "context_length_exceeded"
    assert events(engine_log)[-2:] == ["count-load", "count"]


def test_many_at_once(api: Api, engine_log: Path) -> None:
    """They share a process, whatever else the lane allows."""
    asked = [gevent.spawn(api.chat, f"echo {TOO_LONG}") for _ in range(8)]
    assert {code_of(greenlet.get(timeout=60), 400) for greenlet in asked} == {"context_length_exceeded"}
    assert events(engine_log).count("count-load") == 1


def test_a_count_survives_a_death(api: Api, engine_log: Path, tmp_path: Path) -> None:
    """It has no state: another process counts anew; who kills that one too is told so."""
    first = gevent.spawn(count, api, "x" * 10)
    assert first.get(timeout=60).json["input_tokens"] == 10
    pid = int(engine_log.read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert count(api, "x" * 20).json["input_tokens"] == 20
    assert code_of(count(api, "uncountable"), 500) == "engine_crashed"
    assert events(engine_log).count("count") == 2 + 2


def test_a_count_that_does_not_come(impatient_api: Api) -> None:
    """It is given up in time, and its process with it: the next one gets another."""
    answer = count(impatient_api, "uncounted")
    assert code_of(answer, 500) == "engine_crashed"
    assert "no answer within 2 s" in answer.json["error"]["message"]
    assert count(impatient_api, "x" * 30).json["input_tokens"] == 30


def count(api: Api, text: str) -> testing.Result:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    return api.client.simulate_post("/v1/chat/completions/input_tokens", body=body)
