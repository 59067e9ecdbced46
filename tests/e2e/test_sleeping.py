"""Sleep that remembers: a conversation goes on where it stood, whatever happened to its engine in between."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from server_process import REAL_SERVER, ServerProcess, wait_for
from tiny_gguf import TinyModel

LONG = "The lighthouse stood on a rock in the sea. " * 20


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that computes a prompt for so long that keeping it pays, also where writing is held up for a while."""
    return TinyModel(n_layer=8, n_embd=256).write(tmp_path_factory.mktemp("models") / "slow.gguf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server"


@pytest.fixture
def server(request: pytest.FixtureRequest, folder: Path, model_path: Path) -> Iterator[ServerProcess]:
    file = {"path": str(model_path.parent), "model": model_path.name, "n_ctx": 2048}
    options: dict[str, Any] = {"threads": 1, "cache_dir": folder / "cache", **getattr(request, "param", {})}
    models = {"a": file, "b": {**file, "n_ctx": 1024}}
    with ServerProcess(folder, models, command=REAL_SERVER, **options) as started:
        yield started


class Talk:
    """A conversation that goes on and on."""

    def __init__(self, server: ServerProcess, model: str, topic: str) -> None:
        self._client = OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=60)
        self._model = model
        self._messages: list[Any] = [{"role": "user", "content": f"{topic} {LONG}"}]

    def ask(self) -> tuple[int, int]:
        """Says something, and tells how many tokens the prompt had, and how many of them were not computed."""
        answer = self._client.chat.completions.create(model=self._model, messages=self._messages, max_tokens=4, seed=1)
        self._messages += [
            {"role": "assistant", "content": answer.choices[0].message.content},
            {"role": "user", "content": "And then?"},
        ]
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens or 0


def unload(server: ServerProcess, model: str) -> None:
    assert server.post(f"/v1/models/{model}/unload")[0] == 200
    wait_for(lambda: server.status["state"] == "unloaded", 10, "it is unloaded")


def test_after_an_unload(server: ServerProcess) -> None:
    """Several conversations of one model: of each only what is new is computed, time and again."""
    talks = [Talk(server, "a", topic) for topic in ("One", "Two", "Three")]
    for talk in talks:
        assert talk.ask()[1] < 20
    for _ in range(2):
        unload(server, "a")
        for talk in talks:
            n_prompt, n_cached = talk.ask()
            assert n_prompt - n_cached < 40


def test_after_another_model(server: ServerProcess) -> None:
    """Two models that take turns remember their own."""
    talks = [Talk(server, model, "Tell me.") for model in ("a", "b")]
    for talk in talks:
        talk.ask()
    for talk in talks:
        n_prompt, n_cached = talk.ask()
        assert n_prompt - n_cached < 40
    assert server.status["n_engine_starts"] == 4


def test_after_idle_time(folder: Path, model_path: Path) -> None:
    """The usual way to sleep."""
    file = {"path": str(model_path.parent), "model": model_path.name, "n_ctx": 2048}
    with ServerProcess(folder, {"a": file}, command=REAL_SERVER, threads=1, idle_timeout=0.3) as server:
        talk = Talk(server, "a", "Tell me.")
        talk.ask()
        wait_for(lambda: server.status["state"] == "unloaded", 10, "it is unloaded")
        n_prompt, n_cached = talk.ask()
        assert n_prompt - n_cached < 40


@pytest.mark.parametrize("server", [{"sleep_cache": 0}], indirect=True)
def test_switched_off(server: ServerProcess) -> None:
    """Then all is computed again."""
    talk = Talk(server, "a", "Tell me.")
    talk.ask()
    unload(server, "a")
    assert talk.ask()[1] == 0


def test_nothing_has_a_name_and_nothing_stays(server: ServerProcess, folder: Path) -> None:
    """What sleeps is in no folder, and its room is given back when the server ends."""
    Talk(server, "a", "Tell me.").ask()
    unload(server, "a")
    figures = "memory-peaks.json"  # how much models take, and nothing of what was said
    files = [file for file in (folder / "cache").rglob("*") if file.is_file() and file.name != figures]
    assert sum(file.stat().st_size for file in files) == 0
    held: list[str] = []
    for link in Path(f"/proc/{server.worker_pid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a connection that ends meanwhile
            held.append(os.readlink(link))
    assert [name for name in held if "(deleted)" in name and str(folder) in name]


def test_a_folder_that_cannot_be_written(folder: Path, model_path: Path) -> None:
    """Nothing is kept, and all goes on."""
    file = {"path": str(model_path.parent), "model": model_path.name, "n_ctx": 2048}
    (folder.parent / "no-folder").write_text("")
    options: dict[str, Any] = {"threads": 1, "cache_dir": folder.parent / "no-folder" / "cache"}
    with ServerProcess(folder, {"a": file}, command=REAL_SERVER, **options) as server:
        talk = Talk(server, "a", "Tell me.")
        talk.ask()
        unload(server, "a")
        assert talk.ask()[1] == 0
        assert json.loads(json.dumps(server.status))["last_error"] is None
