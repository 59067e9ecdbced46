"""Registering, changing and removing models over HTTP."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from api_client import Api, MakeApi, wait_for
from gguf_files import write_gguf as write_header
from tiny_gguf import TinyModel

from hoshikage_server.errors import KINDS

MakeFolders = Callable[..., tuple[Api, Path]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def api(make_api: MakeApi, folder: Path) -> Api:
    write_gguf(folder / "x.gguf")
    return make_api({"m": {"path": "/nowhere", "model": "m.gguf"}}, models_dir=folder)


def write_gguf(path: Path, **options: Any) -> Path:
    """A model that llama.cpp takes; with options one that it need not."""
    if options:
        return write_header(path, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    return TinyModel(n_layer=1).write(path)


def written(api: Api) -> Any:
    return json.loads(api.deps.settings.now.model_map.read_text())


def patch(api: Api, model: str, body: object) -> Any:
    return api.client.simulate_patch(f"/v1/models/{model}", body=json.dumps(body).encode())


def delete(api: Api, path: str) -> Any:
    return api.client.simulate_delete(path)


def code(result: Any) -> tuple[int, str | None, str | None]:
    error = result.json["error"]
    return result.status_code, error["code"], error["param"]


def test_a_model_comes_changes_and_goes(api: Api, folder: Path) -> None:
    """Listed at once, by its id and its alias; what is not said stays; its file stays in the end."""
    body = {"id": "星/x", "path": "x.gguf", "aliases": ["gpt-4o"], "n_ctx": 512, "sampling": {"top_k": 5, "top_p": 0.5}}
    created = api.post(body, "/v1/models")
    assert (created.status_code, created.headers["location"]) == (201, "/v1/models/%E6%98%9F%2Fx")
    assert created.json == api.get("/v1/models/星/x").json == api.get("/v1/models/gpt-4o").json
    assert created.json["hoshikage"]["n_ctx"] == 512
    assert [model["id"] for model in api.get("/v1/models").json["data"]][:2] == ["m", "星/x"]
    changed = patch(api, "星/x", {"sampling": {"top_k": None, "min_p": 0.1}, "n_ctx": 256, "aliases": None})
    assert (changed.status_code, changed.json["hoshikage"]["n_ctx"]) == (200, 256)
    assert written(api)["星/x"] == {
        "stop": [],
        "n_ctx": 256,
        "sampling": {"top_p": 0.5, "min_p": 0.1},
        "path": str(folder),
        "model": "x.gguf",
    }
    assert api.get("/v1/models/gpt-4o").status_code == 404
    gone = delete(api, "/v1/models/星/x")
    assert (gone.status_code, gone.json) == (200, {"id": "星/x", "object": "model", "deleted": True})
    assert code(delete(api, "/v1/models/星/x")) == (404, "model_not_found", "model")
    assert (folder / "x.gguf").exists()


def test_the_log_says_what_was_changed(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A line each; a model's own texts are not in it."""
    with caplog.at_level(logging.INFO, "hoshikage_server.api.registrar"):
        api.post({"id": "x", "path": "x.gguf", "system": "private"}, "/v1/models")
        patch(api, "x", {"system": "secret"})
        delete(api, "/v1/models/x")
    lines = [str(record.msg) for record in caplog.records if record.name.endswith("registrar")]
    assert [line.partition("x'")[2].partition(":")[0] for line in lines] == [
        " has been registered",
        " has been changed",
        " is off the list",
    ]
    assert "private" not in caplog.text
    assert "secret" not in caplog.text


def test_an_alias_answers(api: Api) -> None:
    """The engine is the model's; the answer has the name that was asked for, as OpenAI's dated models have."""
    api.post({"id": "x", "path": "x.gguf", "aliases": ["gpt-4o"]}, "/v1/models")
    assert api.chat("echo hello", "gpt-4o").json["choices"][0]["message"]["content"] == "hello"
    api.deps.answers.supervisor.settled()
    assert api.get("/v1/models/x").json["hoshikage"]["state"] == "ready"
    assert api.post({}, "/v1/models/gpt-4o/load").json["model"] == "x"
    assert api.post({}, "/v1/models/gpt-4o/unload").json["was_loaded"] is True
    assert api.get("/v1/models/x").json["hoshikage"]["state"] == "unloaded"


def model(**more: object) -> dict[str, object]:
    return {"id": "a", "path": "x.gguf", **more}


BAD: list[tuple[dict[str, Any], int, str, str]] = [
    ({"path": "x.gguf"}, 400, "missing_required_parameter", "id"),
    ({"id": "a"}, 400, "missing_required_parameter", "path"),
    ({"id": "", "path": "x.gguf"}, 400, "empty_string", "id"),
    ({"id": " a", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "a\nb", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "a/../b", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "a/", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "$schema", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "\u202eabc", "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "a" * 201, "path": "x.gguf"}, 400, "invalid_model_name", "id"),
    ({"id": "m", "path": "x.gguf"}, 409, "model_exists", "id"),
    ({"id": "a", "path": "x.gguf", "aliases": ["m"]}, 409, "alias_taken", "aliases[0]"),
    ({"id": "a", "path": "x.gguf", "aliases": ["b", "b"]}, 409, "alias_taken", "aliases[1]"),
    ({"id": "a", "path": 1}, 400, "invalid_type", "path"),
    ({"id": "a", "path": None}, 400, "invalid_type", "path"),
    ({"id": "a", "path": "x.gguf", "n_ctx": 0}, 400, "integer_below_min_value", "n_ctx"),
    ({"id": "a", "path": "x.gguf", "n_ctx": "8"}, 400, "invalid_type", "n_ctx"),
    ({"id": "a", "path": "x.gguf", "kv_type": "q3"}, 400, "invalid_value", "kv_type"),
    ({"id": "a", "path": "x.gguf", "stop": "x"}, 400, "invalid_type", "stop"),
    (model(sampling={"temperature": 3}), 400, "decimal_above_max_value", "sampling.temperature"),
    (model(sampling={"temprature": 1}), 400, "unsupported_parameter", "sampling.temprature"),
    ({"id": "a", "path": "x.gguf", "embedding": {"pool": 1}}, 400, "unsupported_parameter", "embedding.pool"),
    (model(lora=[{"path": "x", "weight": 1}]), 400, "unsupported_parameter", "lora[0].weight"),
    ({"id": "a", "path": "x.gguf", "model": "x.gguf"}, 400, "unsupported_parameter", "model"),
    ({"id": "a", "path": "x.gguf", "owner": "me"}, 400, "unsupported_parameter", "owner"),
    ({"id": "a", "path": "x.gguf", "mmproj": "eyes.gguf"}, 400, "unsupported_parameter", "mmproj"),
    ({"id": "a", "path": "x.gguf", "draft_model": "/m"}, 403, "path_not_allowed", "draft_model"),
    ({"id": "a", "path": "x.gguf", "speculation": "draft"}, 400, "invalid_value", "speculation"),
    ({"id": "a", "path": "x.gguf", "rpc_servers": ["host:50052"]}, 400, "unsupported_parameter", "rpc_servers"),
]


@pytest.mark.parametrize(("body", "status", "name", "param"), BAD)
def test_bad_bodies(api: Api, body: dict[str, Any], status: int, name: str, param: str) -> None:
    """Nothing is taken and ignored, nothing is written; the same values cannot be put there by a change."""
    before = api.deps.settings.now.model_map.read_bytes()
    assert code(api.post(body, "/v1/models")) == (status, name, param)
    rest = {key: value for key, value in body.items() if key not in ("id", "path")}
    if rest:
        expected = (409, "alias_taken", "aliases[0]") if rest == {"aliases": ["m"]} else (status, name, param)
        assert code(patch(api, "m", rest)) == expected
    assert api.deps.settings.now.model_map.read_bytes() == before


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "other"}, (400, "unsupported_parameter", "id")),
        ({"path": None}, (400, "invalid_type", "path")),
        ({"path": "nothing.gguf"}, (400, "file_not_found", "path")),
        ([], (400, "invalid_type", None)),
    ],
)
def test_bad_changes(api: Api, body: object, expected: tuple[int, str, str | None]) -> None:
    """An id is for ever; a path is looked at as at first."""
    assert code(patch(api, "m", body)) == expected
    assert code(patch(api, "nobody", {})) == (404, "model_not_found", "model")


def test_another_file(api: Api, folder: Path) -> None:
    """A change may say so; what else the entry says stays."""
    api.post({"id": "a", "path": "x.gguf", "n_ctx": 64}, "/v1/models")
    other = write_gguf(folder / "sub" / "y.gguf")
    assert patch(api, "a", {"path": "sub/y.gguf"}).status_code == 200
    entry = api.deps.models.find("a")
    assert (entry.file, entry.given.n_ctx) == (other, 64)


def test_paths(api: Api, folder: Path, tmp_path: Path) -> None:
    """Inside the folders, wherever links lead; what is elsewhere is not even looked for."""
    outside = write_gguf(tmp_path / "outside" / "secret.gguf")
    (folder / "link.gguf").symlink_to(outside)
    (folder / "links").symlink_to(outside.parent)
    (folder / "loop.gguf").symlink_to(folder / "loop.gguf")
    (folder / "inner.gguf").symlink_to(folder / "x.gguf")
    write_gguf(folder / "split-00001-of-00002.gguf")
    (folder / "split-00002-of-00002.gguf").symlink_to(outside)
    write_gguf(folder / "half-00001-of-00002.gguf")
    (folder / "page.gguf").write_text("<html>")
    write_gguf(folder / "cut.gguf", cut=32)
    os.mkfifo(folder / "pipe.gguf")
    (folder / "sub").mkdir()
    forbidden = (403, "path_not_allowed", "path")
    for path, expected in {
        str(outside): forbidden,
        "/etc/passwd": forbidden,
        "/no/such/file": forbidden,
        "../outside/secret.gguf": forbidden,
        f"{folder}/../outside/secret.gguf": forbidden,
        "link.gguf": forbidden,
        "links/secret.gguf": forbidden,
        "x.gguf\0": forbidden,
        "x" * 5000: (400, "file_unreadable", "path"),
        "split-00001-of-00002.gguf": forbidden,
        "split-00002-of-00002.gguf": forbidden,
        "nothing.gguf": (400, "file_not_found", "path"),
        "x.gguf/y.gguf": (400, "file_not_found", "path"),
        "loop.gguf": (400, "file_unreadable", "path"),
        ".": forbidden,
        "sub": (400, "file_is_folder", "path"),
        "half-00001-of-00002.gguf": (400, "parts_missing", "path"),
        "page.gguf": (400, "invalid_model_file", "path"),
        "cut.gguf": (400, "invalid_model_file", "path"),
        "pipe.gguf": (400, "not_a_gguf", "path"),
    }.items():
        result = api.post({"id": "new", "path": path}, "/v1/models")
        assert code(result) == expected, path[:80]
        if expected == forbidden:
            assert "HOSHIKAGE_MODELS_DIR" in result.json["error"]["message"]
    assert list(written(api)) == ["m"]
    assert api.post({"id": "inner", "path": "inner.gguf"}, "/v1/models").status_code == 201
    assert api.post({"id": "twice", "path": str(folder / "x.gguf")}, "/v1/models").status_code == 201


def test_folders_that_are_links(make_api: MakeApi, tmp_path: Path) -> None:
    """~/models may be a link to a large disk; what is registered is where it leads."""
    write_gguf(tmp_path / "disk" / "x.gguf")
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    api = make_api(models_dir=f"{tmp_path / 'empty'}:{tmp_path / 'models'}")
    for name, path in (
        ("a", "x.gguf"),
        ("b", str(tmp_path / "models" / "x.gguf")),
        ("c", str(tmp_path / "disk" / "x.gguf")),
    ):
        assert api.post({"id": name, "path": str(path)}, "/v1/models").status_code == 201
        assert api.deps.models.find(name).file == tmp_path / "disk" / "x.gguf"


def test_adapters_and_templates_are_files_too(api: Api, folder: Path) -> None:
    """A template may be text; a file of either kind has to be in the folders, and is written as its place."""
    adapter = write_gguf(folder / "adapter.gguf", kind="adapter")
    (folder / "template.jinja").write_text("{{ messages }}")
    body = {"id": "a", "path": "x.gguf", "lora": [{"path": "adapter.gguf"}], "chat_template": "template.jinja"}
    assert api.post(body, "/v1/models").status_code == 201
    assert written(api)["a"]["lora"] == [{"path": str(adapter), "scale": 1.0}]
    assert written(api)["a"]["chat_template"] == str(folder / "template.jinja")
    assert patch(api, "a", {"chat_template": "{{ messages[0].content }}"}).status_code == 200
    assert code(patch(api, "a", {"chat_template": "/etc/passwd"})) == (403, "path_not_allowed", "chat_template")
    assert code(patch(api, "a", {"lora": [{"path": "/etc/passwd"}]})) == (403, "path_not_allowed", "lora[0].path")
    assert patch(api, "a", {"lora": None, "chat_template": None}).status_code == 200
    assert written(api)["a"].keys() == {"stop", "path", "model"}


def test_two_at_once(api: Api) -> None:
    """Exactly one wins, the other is told."""
    posts = [gevent.spawn(api.post, {"id": "same", "path": "x.gguf"}, "/v1/models") for _ in range(4)]
    gevent.joinall(posts, raise_error=True)
    statuses = sorted(post.value.status_code for post in posts)
    assert statuses == [201, 409, 409, 409]
    assert {post.value.json["error"]["code"] for post in posts if post.value.status_code == 409} == {"model_exists"}


def test_numbers_stay_as_they_were_sent(api: Api) -> None:
    """Not as a program would write them again."""
    api.post(b'{"id": "a", "path": "x.gguf", "idle_timeout": 1.50e+02}', "/v1/models")
    assert b'"idle_timeout": 1.50e+02' in api.deps.settings.now.model_map.read_bytes()


def test_a_broken_list_is_not_changed(api: Api) -> None:
    """The error says the line; nothing is written over it."""
    api.get("/v1/models")
    path = api.deps.settings.now.model_map
    path.write_text('{"m": {"path": "/nowhere", "model": "m.gguf"},\n}')
    result = api.post({"id": "a", "path": "x.gguf"}, "/v1/models", headers={"Accept-Language": "ja"})
    assert result.status_code == 500
    assert "1 行目" in result.json["error"]["message"]
    assert api.get("/v1/models").status_code == 200, "the last good state stays in force"
    assert "line 1, column 46" in api.get("/v1/status").json["model_map_error"]
    assert "文字目" in api.get("/v1/status", headers={"Accept-Language": "ja"}).json["model_map_error"]
    assert path.read_text().endswith(",\n}")
    assert api.post({}, "/admin/reload").json["error"]["code"] == "invalid_model_map"


def test_a_name_in_the_file_that_no_model_can_have(api: Api) -> None:
    """Said in the status, in both languages; the others are served."""
    path = api.deps.settings.now.model_map
    entry = {"path": "/nowhere", "model": "m.gguf"}
    path.write_text(json.dumps({"": entry, "m": entry}))
    assert [one["id"] for one in api.get("/v1/models").json["data"]][:2] == ["m", "assistant"]
    status = api.get("/v1/status").json
    assert status["model_map_error"] is None
    [sentence] = status["model_map_refused"]
    assert "line 1, column 2: the model '' is left out" in sentence
    [japanese] = api.get("/v1/status", headers={"Accept-Language": "ja"}).json["model_map_refused"]
    assert "名前が空です" in japanese


@pytest.mark.parametrize("path", ["/v1/models", "/admin/models"])
def test_deleting_what_is_loaded(make_api: MakeApi, engine_log: Path, path: str) -> None:
    """Refused while it answers; unloaded else, unless the same file has another name."""
    api = make_api({name: {"path": "/nowhere", "model": "m.gguf"} for name in ("m", "again")})
    answering = gevent.spawn(api.chat, "gate go 1 x y", "m")
    wait_for(lambda: api.get("/v1/models/m").json["hoshikage"]["state"] == "generating")
    assert code(delete(api, f"{path}/m")) == (409, "model_in_use", None)
    engine_log.with_name("go").touch()
    answering.join()
    assert delete(api, f"{path}/again").status_code == 200
    assert api.get("/v1/models/m").json["hoshikage"]["state"] == "ready", "it is the other one's engine as well"
    assert delete(api, f"{path}/m").json == {"id": "m", "object": "model", "deleted": True}
    assert api.get("/v1/status").json["engines"] == []


def test_the_older_names(api: Api, folder: Path) -> None:
    """name, path and stop; what else there is, is refused."""
    created = api.post({"name": "old", "path": "x.gguf", "stop": ["</s>"]}, "/admin/models")
    assert (created.status_code, created.json["id"]) == (201, "old")
    assert written(api)["old"] == {"stop": ["</s>"], "path": str(folder), "model": "x.gguf"}
    refused = api.post({"name": "b", "path": "x.gguf", "n_ctx": 5}, "/admin/models")
    assert code(refused) == (400, "unsupported_parameter", "n_ctx")
    assert code(api.post({"path": "x.gguf"}, "/admin/models")) == (400, "missing_required_parameter", "name")
    assert code(api.post({"name": "old", "path": "x.gguf"}, "/admin/models")) == (409, "model_exists", "id")
    assert delete(api, "/admin/models/old").json["deleted"] is True
    assert code(delete(api, "/admin/models/old"))[:2] == (404, "model_not_found")


def test_reload(api: Api, folder: Path) -> None:
    """It reads the list anew and says what else there is, and registers nothing."""
    write_gguf(folder / "mmproj.gguf")
    file = folder / "x.gguf"
    told = api.post({}, "/admin/reload").json
    assert told == {
        "object": "hoshikage.reload",
        "models": ["m"],
        "found": [
            {"id": "x", "path": str(file), "n_files": 1, "size_bytes": file.stat().st_size},
        ],
        "skipped": [told["skipped"][0]],
    }
    assert told["skipped"][0]["code"] == "scan_projector"
    assert list(written(api)) == ["m"]


def test_every_code_here_has_a_status() -> None:
    """None of them is told as a fault of the server."""
    assert {name for _, _, name, _ in BAD} <= KINDS.keys()
