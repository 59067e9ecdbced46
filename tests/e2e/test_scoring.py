"""How probable a prompt is, asked of real engines: `echo` with `logprobs`, as evaluation harnesses do."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from server_process import REAL_SERVER, ServerProcess, wait_for
from tiny_gguf import IM_END, TinyModel

from hoshikage_core import Model

LIMIT_S = 60
IDS = [3 + i * 7 % 500 for i in range(1500)]
# What computing tokens in other pieces may differ by.
NEAR = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    TinyModel().write(folder / "tiny.gguf")
    TinyModel(add_bos=True).write(folder / "bos.gguf")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[ServerProcess]:
    models = {name: {"path": str(folder), "model": f"{name}.gguf"} for name in ("tiny", "bos")}
    place = tmp_path_factory.mktemp("server")
    with ServerProcess(place, models, command=REAL_SERVER, threads=1, crash_limit=10**6) as started:
        yield started


def open_answer(server: ServerProcess, **fields: Any) -> Any:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    body = {"model": "tiny", "prompt": IDS, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return response


def score(server: ServerProcess, **fields: Any) -> dict[str, Any]:
    response = open_answer(server, **fields)
    body: dict[str, Any] = json.loads(response.read())
    return body


def test_they_are_the_librarys(server: ServerProcess, folder: Path) -> None:
    """Every token of the prompt once, the first with null, and the generated one behind them; nothing is cached."""
    with Model(folder / "tiny.gguf") as model, model.engine(n_ctx=4096) as engine:
        expected = engine.generate(IDS, max_tokens=0, n_prompt_logprobs=0).prompt_logprobs
    for _ in range(2):
        body = score(server)
        told = body["choices"][0]["logprobs"]
        assert told["token_logprobs"][0] is None
        assert told["token_logprobs"][1:-1] == pytest.approx([entry.logprob for entry in expected], abs=NEAR)
        assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (len(IDS), 1)
    again = score(server, echo=False, prompt=[*IDS, 5])
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == len(IDS)


def test_an_engine_that_is_killed_in_the_middle(server: ServerProcess) -> None:
    """Another one goes on: each token is told once, with the same probability."""
    expected = score(server)["choices"][0]
    response = open_answer(server, stream=True)
    text, told, n_kills = "", [], 0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        assert "error" not in event, event
        for choice in event["choices"]:
            text += choice["text"]
            told += (choice["logprobs"] or {}).get("token_logprobs", [])
        if n_kills == 0:
            n_kills += 1
            assert 0 < len(told) < len(IDS), "it is in the middle"
            for engine in server.status["engines"]:
                os.kill(engine["pid"], signal.SIGKILL)
    assert text == expected["text"]
    assert told[0] is None
    assert told[1:] == pytest.approx(expected["logprobs"]["token_logprobs"][1:], abs=NEAR)
    wait_for(lambda: server.status["crashes"], 5, "it is known")


def test_an_end_token_is_a_token(server: ServerProcess) -> None:
    """Who asks for one generated token and cuts it off has exactly the prompt left."""
    body = score(server, prompt=IDS[:9], logit_bias={str(IM_END): 100})
    [choice] = body["choices"]
    assert (choice["finish_reason"], body["usage"]["completion_tokens"]) == ("stop", 1)
    assert choice["logprobs"]["tokens"][-1] == "<|im_end|>"
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["text_offset"]) == 10
    assert choice["logprobs"]["text_offset"][-1] == len(choice["text"])


@pytest.mark.parametrize("prompt", ["the lighthouse 星影", "", " x"])
def test_what_a_tokenizer_puts_before_a_text(server: ServerProcess, folder: Path, prompt: str) -> None:
    """It is computed, but none of the text's tokens; in a list of ids it is one."""
    with Model(folder / "bos.gguf") as model:
        ids = model.tokenize(prompt)
        bos = model.token_to_bytes(ids[0], special=True).decode()
    body = score(server, model="bos", prompt=prompt, max_tokens=0)
    told = body["choices"][0]["logprobs"]
    assert body["choices"][0]["text"] == prompt
    assert body["usage"]["prompt_tokens"] == len(told["tokens"]) + 1 == len(ids)
    assert told["token_logprobs"][:1] == [None][: len(ids) - 1]
    of_ids = score(server, model="bos", prompt=ids, max_tokens=0)["choices"][0]
    assert of_ids["text"] == bos + prompt
    assert of_ids["logprobs"]["tokens"] == [bos, *told["tokens"]]
    assert of_ids["logprobs"]["token_logprobs"][2:] == pytest.approx(told["token_logprobs"][1:], abs=NEAR)
