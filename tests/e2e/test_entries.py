"""What an entry of the model map says of templates and adapters, seen over HTTP and without a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import hoshikage
from server_process import REAL_SERVER, ServerProcess
from tiny_lora import TinyLora

from hoshikage_core import Model, SamplingParams

TEMPLATE = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
GREEDY = SamplingParams(temperature=0)
QUESTION = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "chat.jinja").write_text(TEMPLATE)
    TinyLora().write(folder / "lora.gguf")
    tiny = {"path": str(tiny_model_path.parent), "model": tiny_model_path.name, "n_ctx": 256}
    models: dict[str, dict[str, Any]] = {
        "tiny": tiny,
        "text": tiny | {"chat_template": TEMPLATE},
        "file": tiny | {"chat_template": "chat.jinja"},
        "changing": tiny | {"chat_template": "changing.jinja"},
        "adapted": tiny | {"chat_template": TEMPLATE, "lora": [{"path": "lora.gguf", "scale": 3}]},
        "no-template": tiny | {"chat_template": "none.jinja"},
        "no-adapter": tiny | {"lora": [{"path": "none.gguf"}]},
        "no-model": {"path": ".", "model": "gone.gguf"},
    }
    with ServerProcess(folder, models, command=REAL_SERVER, threads=1, gpu_layers=0) as server:
        yield server


def chat(server: ServerProcess, model: str) -> tuple[str, int]:
    """The answer, and the tokens of its prompt."""
    status, told = server.post(
        "/v1/chat/completions", model=model, messages=QUESTION, temperature=0, max_tokens=8, seed=1
    )
    assert status == 200, told
    return told["choices"][0]["message"]["content"], told["usage"]["prompt_tokens"]


def counted(server: ServerProcess, model: str) -> int:
    status, told = server.post("/v1/chat/completions/input_tokens", model=model, messages=QUESTION)
    assert status == 200, told
    n_tokens: int = told["input_tokens"]
    return n_tokens


@pytest.fixture(scope="module")
def expected(tiny_model_path: Path, server: ServerProcess) -> dict[str, tuple[str, int]]:
    """The library's own answers: with the model's template, with the other one, and with the adapter as well."""
    with Model(tiny_model_path, gpu_layers=0) as model:
        tokens = model.tokenize("[hello]", parse_special=True)
        lora = [(server.log_path.parent / "lora.gguf", 3.0)]
        with model.engine(256, n_threads=1) as plain, model.engine(256, n_threads=1, lora=lora) as adapted:
            answers = {
                "tiny": plain.chat(QUESTION, GREEDY, max_tokens=8),
                "text": plain.generate(tokens, GREEDY, max_tokens=8),
                "adapted": adapted.generate(tokens, GREEDY, max_tokens=8),
            }
    found = {name: (answer.text, answer.n_prompt) for name, answer in answers.items()}
    assert len({text for text, _ in found.values()}) == 3, "an answer tells which of them it is"
    return found | {"file": found["text"]}


@pytest.mark.parametrize("name", ["tiny", "text", "file", "adapted"])
def test_the_server_and_the_command_line(
    server: ServerProcess, expected: dict[str, tuple[str, int]], name: str
) -> None:
    """They count and answer alike, with what the entry says."""
    assert counted(server, name) == expected[name][1]
    assert chat(server, name) == expected[name]
    run = hoshikage(server.log_path.parent, "run", "-m", name, "-t", "0", "-n", "8", "hello")
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip("\n") == expected[name][0].rstrip("\n")


def test_a_template_that_changes(server: ServerProcess) -> None:
    """The next request has the new one, and its tokens are counted by it."""
    file = server.log_path.parent / "changing.jinja"
    for text in (TEMPLATE, "{{ messages[0].content * 5 }}"):
        file.write_text(text)
        os.utime(file, ns=(0, len(text)))
        n_prompt = counted(server, "changing")
        assert chat(server, "changing")[1] == n_prompt
    assert n_prompt > counted(server, "text")


@pytest.mark.parametrize(
    ("name", "file"), [("no-template", "none.jinja"), ("no-adapter", "none.gguf"), ("no-model", "gone.gguf")]
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_file_that_is_not_there(server: ServerProcess, name: str, file: str, language: str) -> None:
    """It is named, with the command that helps."""
    status, told = server.post("/v1/chat/completions", language, model=name, messages=QUESTION)
    error = told["error"]
    assert (status, error["type"], error["code"]) == (503, "server_error", "model_load_failed")
    assert str(server.log_path.parent / file) in error["message"]
    assert f"hoshikage model set {name} " in error["message"]
    assert ("モデル '" in error["message"]) is (language == "ja")
    assert ("hoshikage model rm no-model" in error["message"]) is (name == "no-model")
    run = hoshikage(server.log_path.parent, "run", "-m", name, "hello", HOSHIKAGE_LANG=language)
    assert run.returncode != 0
    assert error["message"] in run.stderr
