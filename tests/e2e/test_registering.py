"""Models are registered while the server runs: over HTTP, by commands, by hand, and by several at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from server_process import REAL_SERVER, ServerProcess, wait_for

from hoshikage_server.registry.model_map import ModelMap
from tests.tiny_gguf import TinyModel, write_aborting
from tests.tiny_lora import TinyLora


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    TinyModel().write(folder / "tiny.gguf")
    return folder


def test_a_model_from_its_file_to_an_answer(tmp_path: Path, folder: Path) -> None:
    """Registered, asked by its alias, changed, deleted while it is loaded; nothing was restarted."""
    with ServerProcess(tmp_path / "server", {}, command=REAL_SERVER, models_dir=folder, n_ctx=256, threads=1) as server:
        status, found = server.ask("POST", "/admin/reload", {})
        assert [model["id"] for model in found["found"]] == ["tiny"]
        body = {"id": "tiny", "path": found["found"][0]["path"], "aliases": ["gpt-4o"], "sampling": {"temperature": 0}}
        status, made = server.ask("POST", "/v1/models", body)
        assert (status, made["hoshikage"]["state"]) == (201, "unloaded"), made
        question = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        status, answer = server.ask("POST", "/v1/chat/completions", question)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 4), answer
        assert server.ask("PATCH", "/v1/models/tiny", {"n_ctx": 128})[0] == 200
        assert server.ask("POST", "/v1/chat/completions", question)[0] == 200
        assert server.ask("GET", "/v1/models/tiny")[1]["hoshikage"]["n_ctx"] == 128
        assert server.ask("DELETE", "/v1/models/tiny")[1] == {"id": "tiny", "object": "model", "deleted": True}
        assert server.get("/v1/status")["engines"] == []
        assert server.ask("POST", "/v1/chat/completions", question)[0] == 404


@pytest.mark.parametrize("kind", ["adapter", "aborting"])
def test_what_is_no_model(tmp_path: Path, folder: Path, kind: str) -> None:
    """Refused on the spot with what it is, also where llama.cpp dies of it; the server goes on."""
    file = folder / "other.gguf"
    if kind == "adapter":
        TinyLora().write(file)
    else:
        write_aborting(file)
    with ServerProcess(tmp_path / "server", {}, command=REAL_SERVER, models_dir=folder, threads=1) as server:
        status, told = server.ask("POST", "/v1/models", {"id": "other", "path": file.name})
        assert (status, told["error"]["code"], told["error"]["param"]) == (400, "invalid_model_file", "path")
        assert {"adapter": "is a LoRA adapter", "aborting": "damaged"}[kind] in told["error"]["message"]
        assert server.ask("POST", "/v1/models", {"id": "tiny", "path": "tiny.gguf"})[0] == 201
        assert server.ask("GET", "/v1/models/other")[0] == 404


def test_the_same_name_at_once(tmp_path: Path, folder: Path) -> None:
    """Of many requests exactly one wins."""
    with ServerProcess(tmp_path / "server", {}, models_dir=folder) as server:
        statuses: list[int] = []
        body = {"id": "same", "path": "tiny.gguf"}
        posts = [
            threading.Thread(target=lambda: statuses.append(server.ask("POST", "/v1/models", body)[0]))
            for _ in range(8)
        ]
        for post in posts:
            post.start()
        for post in posts:
            post.join()
        assert sorted(statuses) == [201] + [409] * 7


def test_two_servers_and_a_command_lose_nothing(tmp_path: Path, folder: Path) -> None:
    """They write the same list at the same time."""
    shared = tmp_path / "model_map.json"
    settings: dict[str, Any] = {"models_dir": folder, "model_map": shared}
    add = "import sys; from pathlib import Path; from hoshikage_server.registry.model_map import ModelMap\n"
    add += "for n in range(10): ModelMap(Path(sys.argv[1])).add(f'command-{n}', Path('/x/y.gguf'))"
    with ServerProcess(tmp_path / "a", {}, **settings) as one, ServerProcess(tmp_path / "b", {}, **settings) as two:

        def register(server: ServerProcess, name: str) -> None:
            for number in range(10):
                status, told = server.ask("POST", "/v1/models", {"id": f"{name}-{number}", "path": "tiny.gguf"})
                assert status == 201, told

        threads = [threading.Thread(target=register, args=args) for args in ((one, "one"), (two, "two"))]
        command = subprocess.Popen([sys.executable, "-c", add, shared])
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert command.wait(timeout=60) == 0
    expected = {f"{name}-{number}" for name in ("one", "two", "command") for number in range(10)}
    assert ModelMap(shared).entries().keys() == expected


def test_a_locked_list_holds_up_nobody_else(tmp_path: Path, folder: Path) -> None:
    """Who wants to change it waits; the others are answered meanwhile."""
    with ServerProcess(tmp_path / "server", {}, models_dir=folder) as server:
        told: list[tuple[int, Any]] = []
        body = {"id": "tiny", "path": "tiny.gguf"}
        with FileLock(tmp_path / "server" / "model_map.json.lock"):
            post = threading.Thread(target=lambda: told.append(server.ask("POST", "/v1/models", body)))
            post.start()
            for _ in range(20):
                assert server.get("/v1/models")["data"] == []
            assert not told
        post.join()
        assert told[0][0] == 201, told


def test_edited_by_hand(tmp_path: Path, folder: Path) -> None:
    """The next request sees it; while it is broken the last good state stays, and the line is told."""
    with ServerProcess(tmp_path / "server", {}, models_dir=folder) as server:
        path = tmp_path / "server" / "model_map.json"
        path.write_text('{"a": {"path": "/nowhere", "model": "a.gguf"}}')
        assert [model["id"] for model in server.get("/v1/models")["data"]][:1] == ["a"]
        path.write_text(
            '{"a": {"path": "/nowhere", "model": "a.gguf"},\n "b": {"path": "/x", "model": "b", "n_ctx": 0}}'
        )
        for _ in range(3):
            assert [model["id"] for model in server.get("/v1/models")["data"]][:1] == ["a"]
        assert "line 2, column 36: b: Invalid 'n_ctx'" in server.get("/v1/status")["model_map_error"]
        wait_for(lambda: server.log.count("line 2, column 36") == 1, 10, "the log says it, once")
        assert server.ask("POST", "/v1/models", {"id": "c", "path": "tiny.gguf"})[0] == 500
        path.write_text('{"b": {"path": "/x", "model": "b"}}')
        assert [model["id"] for model in server.get("/v1/models")["data"]][:1] == ["b"]
        assert server.get("/v1/status")["model_map_error"] is None
