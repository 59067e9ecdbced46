"""GET /v1/status and its document."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from api_client import Api, MakeApi, wait_for
from msgspec import inspect

from hoshikage_server import __version__
from hoshikage_server.api.status_objects import LoadObject, StatusObject, UnloadObject

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "status.md"


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    return make_api({name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "refuse", "gated")})


def status(api: Api, language: str = "en") -> Any:
    api.deps.answers.supervisor.settled()  # a socket between the last answer and this would have given it time
    result = api.get("/v1/status", headers={"Accept-Language": language})
    assert result.status_code == 200
    msgspec.json.decode(result.content, type=StatusObject)
    return result.json


def fields_of(kind: inspect.Type, name: str = "") -> Iterator[str]:
    """Every field below a type, as the document writes it."""
    if isinstance(kind, inspect.UnionType):
        for member in kind.types:
            if not isinstance(member, inspect.NoneType):
                yield from fields_of(member, name)
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from fields_of(field.type, f"{name}.{field.encode_name}".lstrip("."))
    elif isinstance(kind, inspect.VarTupleType):
        yield from fields_of(kind.item_type, f"{name}[]")
    elif isinstance(kind, inspect.DictType):
        yield from fields_of(kind.value_type, f"{name}.{{model}}")
    else:
        yield name


def documented() -> dict[str, list[str]]:
    """The first column of each table, by the value of its `object`."""
    tables = re.findall(r"\| field \|.*?\n\|---\|---\|\n((?:\|.*\n)+)", DOCUMENT.read_text(encoding="utf-8"))
    rows = [re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE) for table in tables]
    return {json.loads(dict(table)["object"].strip("`")): [name for name, _ in table] for table in rows}


def test_every_field_is_documented_and_no_other() -> None:
    """The document is the promise; it cannot go stale."""
    tables = documented()
    assert tables.keys() == {"hoshikage.status", "hoshikage.load", "hoshikage.unload"}
    assert sorted(tables["hoshikage.status"]) == sorted(
        name.replace("degraded[]", "degraded") for name in fields_of(inspect.type_info(StatusObject))
    )
    for kind in (LoadObject, UnloadObject):
        names = typing.get_args(typing.get_type_hints(kind)["object"])
        assert sorted(tables[names[0]]) == sorted(kind.__struct_fields__)
    for verb in ("load", "unload"):
        assert f"POST /v1/models/{{id}}/{verb}" in DOCUMENT.read_text(encoding="utf-8")


def test_the_schema_is_documented(api: Api) -> None:
    """A new one needs a look at the document."""
    assert f"version of these fields: {status(api)['schema']}" in DOCUMENT.read_text(encoding="utf-8")


def test_an_untouched_server(api: Api) -> None:
    """Nothing is loaded until something is asked; what is known without an engine is there."""
    now = status(api)
    assert (now["object"], now["version"]) == ("hoshikage.status", __version__)
    assert (now["state"], now["model"], now["engines"], now["n_engine_starts"]) == ("unloaded", None, [], 0)
    assert abs(now["since"] - time.time()) < 60
    assert 0 <= now["uptime_s"] < 60
    assert now["queue"] == {"running": 0, "parallel": 1, "waiting": 0, "max_waiting": 64, "waits_s": []}
    for name in ("last_load", "last_unload", "last_tokens_per_s", "last_error", "model_map_error"):
        assert now[name] is None
    assert (now["requests"], now["crashes"], now["retry_after_s"]) == ([], [], {})


def test_the_build_is_the_native_modules_own(api: Api) -> None:
    """As the module says of itself when it is loaded; the server reads it without that."""
    program = (
        "import json, sys; from hoshikage_server.api.build import read_build; read = read_build();"
        "assert 'hoshikage_core' not in sys.modules; from hoshikage_core import build_info; told = build_info();"
        "names = ('llama_cpp_commit', 'backend', 'compiler', 'cuda_version');"
        "print(json.dumps([[getattr(build, name) for name in names] for build in (read, told)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    read, told = json.loads(done.stdout)
    assert list(status(api)["build"].values()) == read == told


def test_an_older_server(api: Api) -> None:
    """The command line reads its status: what it does not know of yet has a default."""
    told = status(api)
    del told["build"]["cuda_version"], told["gpus"], told["energy"]
    assert msgspec.convert(told, StatusObject).build is not None


def test_from_loading_to_dark(api: Api, engine_log: Path) -> None:
    """What each stage shows."""
    asked = gevent.spawn(api.chat, "gate go 2 a b c d", "gated")
    loading = wait_for(lambda: status(api)["engines"] and status(api), "it loads")
    (engine,) = loading["engines"]
    assert (loading["state"], loading["model"], engine["state"]) == ("loading", "gated", "loading")
    assert engine["load_progress"] == 0
    assert (engine["n_ctx"], engine["load_s"], engine["seconds_to_unload"]) == (None, None, None)
    (request,) = loading["requests"]
    assert (request["phase"], request["n_prompt"], request["n_completion"]) == ("loading", None, 0)

    engine_log.with_name("gated").touch()
    generating = wait_for(lambda: (now := status(api))["requests"][0]["n_completion"] == 2 and now, "it decodes")
    (engine,), (request,) = generating["engines"], generating["requests"]
    assert (generating["state"], engine["state"]) == ("generating", "generating")
    assert generating["queue"]["running"] == 1
    assert (engine["load_progress"], engine["seconds_to_unload"]) == (None, None)
    assert 0 < engine["load_s"] == generating["last_load"]["load_s"]
    assert engine["memory"]["rss_bytes"] > engine["memory"]["private_bytes"] > 0
    assert (request["model"], request["n_prompt"], request["n_resumed"]) == ("gated", 7, 0)
    assert request["phase"] == "decode"

    engine_log.with_name("go").touch()
    answer = asked.get(timeout=60)
    ready = status(api)
    assert request["id"] == answer.headers["x-request-id"]
    assert (ready["state"], ready["requests"], ready["last_tokens_per_s"]) == ("ready", [], 10.0)
    assert 200 < ready["engines"][0]["seconds_to_unload"] <= 300

    api.client.simulate_post("/v1/models/gated/unload")
    dark = status(api)
    assert (dark["state"], dark["model"], dark["engines"]) == ("unloaded", "gated", [])
    assert dark["since"] > generating["since"]
    assert dark["last_load"] == ready["last_load"]
    assert dark["last_unload"]["model"] == "gated"
    assert abs(dark["last_unload"]["at"] - time.time()) < 60


def test_who_waits(api: Api) -> None:
    """How many and how long, the longest first; and by which id."""
    asked = [gevent.spawn(api.chat, "hang", "m", metadata={"i": str(i)}) for i in range(3)]
    now = wait_for(lambda: (now := status(api))["queue"]["waiting"] == 2 and now, "two wait")
    assert now["queue"]["running"] == 1
    waits_s = now["queue"]["waits_s"]
    assert len(waits_s) == 2
    assert waits_s == sorted(waits_s, reverse=True)
    assert [request["phase"] for request in now["requests"][1:]] == ["queued", "queued"]
    assert len({request["id"] for request in now["requests"]}) == 3
    gevent.killall(asked)


def test_crashes_and_failures(api: Api) -> None:
    """Counted, with reasons; and until when a model is not loaded."""
    api.chat("killer 1")
    now = status(api)
    assert (now["state"], now["n_engine_starts"], now["n_engine_crashes"]) == ("failed", 2, 2)
    assert [(crash["model"], crash["reason"]) for crash in now["crashes"]] == [("m", "signal SIGKILL")] * 2
    assert now["last_error"] == "engine: signal SIGKILL"
    in_japanese = status(api, "ja")
    assert in_japanese["last_error"] == "推論エンジン: シグナル SIGKILL"
    assert in_japanese["crashes"][0]["reason"] == "シグナル SIGKILL"
    api.chat("echo x", "refuse")
    now = status(api)
    assert 0 < now["retry_after_s"]["refuse"] <= 10
    assert "this is no model" in now["last_error"]
    api.chat("echo x")
    assert (status(api)["state"], status(api)["last_error"]) == ("ready", None)


def test_an_answer_that_another_engine_continued(api: Api, engine_log: Path) -> None:
    """It is counted while it goes on."""
    asked = gevent.spawn(api.chat, "gate go 2 a b c d")
    wait_for(lambda: any(request["n_completion"] for request in status(api)["requests"]), "it decodes")
    os.kill(status(api)["engines"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: any(request["n_resumed"] == 1 for request in status(api)["requests"]), "another continues")
    engine_log.with_name("go").touch()
    assert asked.get(timeout=60).status_code == 200


def test_no_content(api: Api) -> None:
    """Neither questions nor answers show anywhere."""
    secret = "moonlit-secret"
    asked = gevent.spawn(api.chat, f"echo {secret} " + "x " * 50)
    seen = ""
    while not asked.ready():
        seen += api.get("/v1/status").text
        gevent.sleep(0)
    assert secret in asked.get().text
    assert secret not in seen + api.get("/v1/status").text


def test_looking_neither_wakes_nor_keeps_awake(make_api: MakeApi) -> None:
    """The idle time runs out under its eyes, and nothing is started by it."""
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}})
    api.chat("echo x")
    left = []
    for _ in range(20):
        left.append(status(api)["engines"][0]["seconds_to_unload"])
        gevent.sleep(0.01)
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] <= 300
    api.deps.settings.now = msgspec.structs.replace(api.deps.settings.now, idle_timeout=0.3)
    n_looks = 0
    while status(api)["engines"]:
        n_looks += 1
        assert n_looks < 5000
        gevent.sleep(0.01)
    for _ in range(20):
        assert status(api)["state"] == "unloaded"
    assert status(api)["n_engine_starts"] == 1


def test_it_is_fast_while_an_answer_is_made(api: Api) -> None:
    """99 of 100 within 20 ms; a busy machine may need a second try."""

    def p99_s() -> float:
        times_s = []
        for _ in range(100):
            began = time.perf_counter()
            api.get("/v1/status")
            times_s.append(time.perf_counter() - began)
            gevent.sleep(0.002)
        return sorted(times_s)[-2]

    asked = gevent.spawn(api.chat, "count 100000 1")
    wait_for(lambda: any(request["n_completion"] for request in status(api)["requests"]), "it decodes")
    assert any(p99_s() < 0.02 for _ in range(5))
    assert not asked.ready()
    asked.kill()
