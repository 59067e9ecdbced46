"""Loading and unloading a model by hand, with the fake engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from api_client import Api, MakeApi, wait_for
from falcon import testing

NAMES = ("m", "other", "refuse", "dieonce", "slow", "gated", "never", "poor", "lean", "stubborn", "a/b:c@d", "星/load")


@pytest.fixture
def api(make_api: MakeApi, engine_log: Path) -> Api:
    models = {name: {"path": "/nowhere", "model": f"{name.rpartition('/')[2]}.gguf"} for name in NAMES}
    return make_api(models, stop_timeout=1)


def post(api: Api, path: str, **options: Any) -> testing.Result:
    return api.client.simulate_post(path, **options)


def load(api: Api, model: str, **options: Any) -> testing.Result:
    return post(api, f"/v1/models/{model}/load", **options)


def unload(api: Api, model: str) -> testing.Result:
    return post(api, f"/v1/models/{model}/unload")


def in_background(call: Callable[..., testing.Result], *arguments: object) -> gevent.Greenlet:
    greenlet = gevent.spawn(call, *arguments)
    gevent.sleep(0)
    return greenlet


def status(api: Api) -> Any:
    return api.get("/v1/status").json


def code_of(result: testing.Result, http_status: int) -> str:
    assert result.status_code == http_status, result.text
    code: str = result.json["error"]["code"]
    return code


def test_a_load_waits_until_the_model_is_ready(api: Api) -> None:
    """Then its engine is told of: idle, its clock running, what it holds. The second time nothing is left to do."""
    first = load(api, "m")
    assert first.status_code == 200, first.text
    body = first.json
    assert (body["object"], body["model"], body["was_loaded"]) == ("hoshikage.load", "m", False)
    engine = body["engine"]
    assert (engine["model"], engine["state"], engine["n_ctx"], engine["degraded"]) == ("m", "ready", 4096, [])
    assert engine["load_s"] > 0
    assert engine["memory"]["rss_bytes"] > engine["memory"]["private_bytes"] > 0
    assert 200 < engine["seconds_to_unload"] <= 300
    os.kill(engine["pid"], 0)  # it is there
    again = load(api, "m").json
    assert again["was_loaded"] is True
    assert again["engine"]["pid"] == engine["pid"]
    assert status(api)["n_engine_starts"] == 1


def test_an_unload_waits_until_the_process_is_gone(api: Api) -> None:
    """And tells what that gave back. What is not loaded needs no unloading."""
    pid = load(api, "m").json["engine"]["pid"]
    body = unload(api, "m").json
    assert (body["object"], body["model"], body["was_loaded"]) == ("hoshikage.unload", "m", True)
    unloaded = body["unloaded"]
    assert unloaded["freed"]["rss_bytes"] > 1024**2
    assert (unloaded["is_complete"], unloaded["left_pids"], unloaded["problem"]) == (True, [], None)
    assert not Path(f"/proc/{pid}").exists()
    assert status(api)["state"] == "unloaded"
    assert status(api)["last_unload"]["freed"] == unloaded["freed"]
    again = unload(api, "m")
    assert again.status_code == 200
    assert again.json == {"object": "hoshikage.unload", "model": "m", "was_loaded": False, "unloaded": None}


def test_everybody_waits_for_one_load(api: Api) -> None:
    """Of the same model, by hand or by a question."""
    loads = [in_background(load, api, "slow") for _ in range(3)]
    assert api.chat("echo hello", model="slow").status_code == 200
    pids = {greenlet.get(timeout=60).json["engine"]["pid"] for greenlet in loads}
    assert len(pids) == 1
    assert status(api)["n_engine_starts"] == 1


def test_a_load_makes_place(api: Api) -> None:
    """By ending the model that nobody uses."""
    load(api, "m")
    assert load(api, "other").json["was_loaded"] is False
    assert [engine["model"] for engine in status(api)["engines"]] == ["other"]


def test_a_load_waits_for_its_turn(api: Api, engine_log: Path) -> None:
    """A model that is in use is not ended for it."""
    answer = in_background(api.chat, "gate go 1 x y", "m")
    wait_for(lambda: status(api)["state"] == "generating", "it computes")
    loading = in_background(load, api, "other")
    wait_for(lambda: status(api)["queue"]["waiting"] == 1, "it waits in the queue")
    engine_log.with_name("go").touch()
    assert loading.get(timeout=60).status_code == 200
    assert answer.get(timeout=60).json["choices"][0]["message"]["content"] == "x y"


def test_a_model_in_use_is_not_unloaded(api: Api, engine_log: Path) -> None:
    """409, and the answer goes on; afterwards it can be."""
    answer = in_background(api.chat, "gate go 1 x y", "m")
    wait_for(lambda: status(api)["state"] == "generating", "it computes")
    assert code_of(unload(api, "m"), 409) == "model_in_use"
    engine_log.with_name("go").touch()
    assert answer.get(timeout=60).status_code == 200
    assert unload(api, "m").json["was_loaded"] is True


def test_a_load_that_is_waited_for_is_not_unloaded(api: Api, engine_log: Path) -> None:
    """Whoever asked for it will use it."""
    loading = in_background(load, api, "gated")
    wait_for(lambda: status(api)["state"] == "loading", "it loads")
    assert code_of(unload(api, "gated"), 409) == "model_in_use"
    engine_log.with_name("gated").touch()
    assert loading.get(timeout=60).status_code == 200


def test_a_load_in_use_is_answered_at_once(api: Api) -> None:
    """It is loaded: there is nothing to wait for."""
    answer = in_background(api.chat, "hang", "m")
    wait_for(lambda: status(api)["state"] == "generating", "it computes")
    result = load(api, "m")
    assert not answer.ready()
    assert (result.json["was_loaded"], result.json["engine"]["state"]) == (True, "generating")
    answer.kill()


def test_what_ignores_the_word_is_killed(api: Api) -> None:
    """After stop_timeout; the answer waits for that."""
    pid = load(api, "stubborn").json["engine"]["pid"]
    assert unload(api, "stubborn").json["was_loaded"] is True
    assert not Path(f"/proc/{pid}").exists()


def test_a_broken_file(api: Api) -> None:
    """503 with the reason and when to come back; who insists is not kept waiting."""
    for _ in range(2):
        result = load(api, "refuse")
        assert code_of(result, 503) == "model_load_failed"
        assert "this is no model" in result.json["error"]["message"]
        assert int(result.headers["retry-after"]) > 0
    assert status(api)["n_engine_starts"] == 2
    assert code_of(api.chat("echo x", model="refuse"), 503) == "model_load_failed"
    assert status(api)["n_engine_starts"] == 2, "who asks a question is told what is known"
    assert status(api)["retry_after_s"].keys() == {"refuse"}


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("it needs 7.00 GiB, and 512.0 MiB are free (RAM)", "quantisation")), ("ja", ("7.00 GiB 必要", "量子化"))],
)
def test_too_little_memory(api: Api, language: str, words: tuple[str, ...]) -> None:
    """How much is needed, how much is there, and what to change."""
    result = load(api, "poor", headers={"Accept-Language": language})
    assert code_of(result, 503) == "insufficient_memory"
    message = result.json["error"]["message"]
    for word in (*words, "'poor'", "512.0 MiB", "HOSHIKAGE_N_CTX", "HOSHIKAGE_DEGRADE=1"):
        assert word in message
    assert "{" not in message
    assert int(result.headers["retry-after"]) > 0


def test_less_than_was_asked_for_is_told(api: Api) -> None:
    """A step down is never silent."""
    assert load(api, "lean").json["engine"]["degraded"] == ["n_batch=128"]


def test_an_engine_that_dies_loading_is_started_again(api: Api) -> None:
    """Once; nobody sees it but in the counts."""
    assert load(api, "dieonce").status_code == 200
    now = status(api)
    assert (now["n_engine_starts"], now["n_engine_crashes"]) == (2, 1)
    assert now["crashes"][0]["reason"] == "signal SIGKILL"


def test_a_model_that_was_left_alone_can_be_insisted_on(make_api: MakeApi) -> None:
    """After too many crashes questions get model_failed, and a load by hand ends that."""
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}}, crash_limit=2)
    assert code_of(api.chat("killer 1"), 500) == "engine_crashed"
    result = api.chat("echo x")
    assert code_of(result, 503) == "model_failed"
    assert int(result.headers["retry-after"]) > 0
    assert "'m'" in result.json["error"]["message"]
    assert load(api, "m").status_code == 200
    assert api.chat("echo x").status_code == 200


@pytest.mark.parametrize("model", ["a/b:c@d", "a%2Fb%3Ac%40d", "星/load", "%E6%98%9F%2Fload"])
def test_ids_of_any_kind(api: Api, model: str) -> None:
    """Slashes, and what looks like a verb."""
    assert load(api, model).json["was_loaded"] is False
    assert unload(api, model).json["was_loaded"] is True


def test_a_model_of_two_names(make_api: MakeApi) -> None:
    """One file, one engine, whatever it is called."""
    api = make_api({name: {"path": "/nowhere", "model": "m.gguf"} for name in ("m", "alias")})
    pid = load(api, "m").json["engine"]["pid"]
    again = load(api, "alias").json
    assert (again["was_loaded"], again["engine"]["pid"]) == (True, pid)
    assert unload(api, "alias").json["was_loaded"] is True
    assert status(api)["engines"] == []


def test_what_there_is_not(api: Api) -> None:
    """404 for models, 405 with Allow for methods, and nothing is started."""
    for path in ("/v1/models/nope/load", "/v1/models/nope/unload", "/v1/models/nope", "/v1/models/load"):
        assert code_of(post(api, path), 404) == "model_not_found"
    for verb in ("load", "unload"):
        refused = api.get(f"/v1/models/m/{verb}")
        assert code_of(refused, 405) == "method_not_supported"
        assert refused.headers["allow"] == "POST, OPTIONS"
    refused = post(api, "/v1/models/m")
    assert code_of(refused, 405) == "method_not_supported"
    assert refused.headers["allow"] == "GET, HEAD, PATCH, DELETE, OPTIONS"
    assert api.get("/v1/models/星/load").json["id"] == "星/load"
    assert status(api)["n_engine_starts"] == 0


def test_a_model_off_the_list_can_still_be_unloaded(api: Api) -> None:
    """It is in memory."""
    load(api, "m")
    api.deps.settings.now.model_map.write_text("{}")
    assert code_of(load(api, "m"), 404) == "model_not_found"
    assert unload(api, "m").json["was_loaded"] is True
    assert code_of(unload(api, "m"), 404) == "model_not_found"


def test_a_body_is_bounded(make_api: MakeApi) -> None:
    """As everywhere."""
    api = make_api(max_body=1024)
    assert code_of(load(api, "m", body=b"x" * 2000), 413) == "request_too_large"
    assert load(api, "m", body=b"{}").status_code == 200


def test_the_queue_is_bounded(make_api: MakeApi) -> None:
    """A load waits where the questions wait, and is refused as they are."""
    models = {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "other")}
    api = make_api(models, max_queue=0)
    answer = in_background(api.chat, "hang")
    wait_for(lambda: status(api)["state"] == "generating", "it computes")
    result = load(api, "other")
    assert code_of(result, 429) == "queue_full"
    assert int(result.headers["retry-after"]) > 0
    answer.kill()


def test_an_engine_that_takes_too_long_to_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 after a time that is known; it ends all the same."""
    monkeypatch.setattr("hoshikage_server.api.unloading._BURIAL_S", -0.9)
    load(api, "stubborn")
    assert code_of(unload(api, "stubborn"), 503) == "unload_timeout"
    wait_for(lambda: status(api)["last_unload"], "it has ended")


def test_a_stopped_engine_is_unloaded(api: Api) -> None:
    """It hears nothing, and is killed."""
    pid = load(api, "m").json["engine"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert unload(api, "m").json["was_loaded"] is True
    assert not Path(f"/proc/{pid}").exists()


def test_an_entry_says_how_many_are_computed_at_once(make_api: MakeApi, engine_log: Path) -> None:
    """Two of the one that says so, and no more; the setting is for those that say nothing."""
    two = {"path": "/nowhere", "model": "two.gguf", "parallel": 2}
    api = make_api({"two": two, "m": {"path": "/nowhere", "model": "m.gguf"}}, max_loaded_models=2)
    asked = [gevent.spawn(api.chat, "gate go 1 x y", model="two") for _ in range(3)]

    def queue() -> tuple[int, int, int]:
        told = api.get("/v1/status").json["queue"]
        return told["running"], told["waiting"], told["parallel"]

    wait_for(lambda: engine_log.exists() and engine_log.read_text().count(" generate") == 2, "two are computed")
    assert queue() == (2, 1, 2)
    engine_log.with_name("go").touch()
    asked.append(gevent.spawn(api.chat, "echo x", model="m"))
    assert {greenlet.get(timeout=60).status_code for greenlet in asked} == {200}
    assert queue()[:2] == (0, 0)
