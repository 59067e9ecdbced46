"""Embeddings the whole way: openai-python, gunicorn, the engine process, llama.cpp."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
import pytest
from openai import OpenAI
from server_process import REAL_SERVER, ServerProcess, wait_for
from tiny_bert import TinyBert

from hoshikage_core import Model

TEXTS = ["the lighthouse", "sea", "night and stars of the sea"]


def entry(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(path.parent), "model": path.name, **more}


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path, tiny_bert_path: Path, smollm2_path: Path
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("models")
    slow = TinyBert(n_layer=24, n_embd=512, n_head=8, n_ctx_train=512).write(folder / "slow.gguf")
    return {
        "bert": entry(tiny_bert_path),
        "bert-cls": entry(tiny_bert_path, embedding={"pooling": "cls"}),
        "slow": entry(slow),
        "tiny": entry(tiny_model_path),
        "tiny-mean": entry(tiny_model_path, embedding={"pooling": "mean"}),
        "smollm2": entry(smollm2_path),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: dict[str, dict[str, Any]]) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, models, command=REAL_SERVER, n_ctx=2048, gpu_layers=0, threads=1) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def vectors(client: OpenAI, model: str, given: Any, **options: Any) -> list[npt.NDArray[np.float64]]:
    reply = client.embeddings.create(model=model, input=given, **options)
    assert [item.index for item in reply.data] == list(range(len(reply.data)))
    return [np.array(item.embedding) for item in reply.data]


def close_to(expected: npt.ArrayLike) -> Any:
    return pytest.approx(np.asarray(expected), abs=2e-3)


@pytest.mark.parametrize(
    ("name", "pooling"), [("bert", "mean"), ("bert-cls", "cls"), ("tiny", "last"), ("tiny-mean", "mean")]
)
def test_the_librarys_vectors_arrive(
    client: OpenAI, models: dict[str, dict[str, Any]], name: str, pooling: Any
) -> None:
    """Those of the pooling that is registered, else of the file's, else of the last token."""
    path = Path(models[name]["path"], models[name]["model"])
    with Model(path, gpu_layers=0) as model, model.embedder(pooling=pooling) as embedder:
        expected = [np.array(vector) for vector in embedder.embed(TEXTS)]
        tokens = [embedder.tokenize(text) for text in TEXTS]
    for given in (TEXTS, tokens):
        for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            reply = client.embeddings.create(model=name, input=given, **options)  # type: ignore[call-overload]
            assert (reply.object, reply.model) == ("list", name)
            assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(map(len, tokens))
            if options.get("encoding_format") != "base64":
                for item, vector in zip(reply.data, expected, strict=True):
                    assert np.array(item.embedding) == close_to(vector)
    [cut] = vectors(client, name, TEXTS[0], dimensions=8)
    assert cut == close_to(expected[0][:8] / np.linalg.norm(expected[0][:8]))


def test_a_long_list(client: OpenAI) -> None:
    """As many inputs as OpenAI takes, of different lengths, in their order."""
    texts = ["sea " * (1 + i % 40) + str(i) for i in range(2048)]
    many = vectors(client, "bert", texts)
    for index in (0, 1, 1000, 2047):
        assert many[index] == close_to(vectors(client, "bert", texts[index])[0])


def test_an_input_that_is_too_long(client: OpenAI) -> None:
    """Nothing is cut off; both numbers are there, and which input it is."""
    for name, n_ctx, param in (("bert", 128, "input[2]"), ("tiny", 2048, "input[2]")):
        with pytest.raises(openai.BadRequestError) as caught:
            vectors(client, name, ["a", "b", "sea " * 1500])
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)
        assert f"{n_ctx} tokens" in str(caught.value)
    assert len(vectors(client, "bert", "sea")) == 1


def test_longer_and_longer_inputs(client: OpenAI) -> None:
    """Each is as it is alone, though the engine's embedder is made anew for it."""
    short = vectors(client, "tiny", "night")[0]
    for n_tokens in (300, 700, 1500, 2048):
        assert len(vectors(client, "tiny", [[7] * n_tokens])) == 1
        assert vectors(client, "tiny", "night")[0] == close_to(short)


def test_tokens_and_dimensions_that_the_model_does_not_have(client: OpenAI) -> None:
    """400, with the field and the bound."""
    with pytest.raises(openai.BadRequestError) as caught:
        vectors(client, "bert", [[1, 2], [3, 99_999]])
    assert (caught.value.code, caught.value.param) == ("token_not_in_vocabulary", "input[1]")
    assert "99999" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        vectors(client, "bert", "sea", dimensions=65)
    assert (caught.value.code, caught.value.param) == ("integer_above_max_value", "dimensions")
    assert "<= 64, but got 65" in str(caught.value)


def test_an_embedding_model_does_not_chat(client: OpenAI) -> None:
    """It says so, and embeds all the same."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="bert", messages=[{"role": "user", "content": "hello"}])
    assert (caught.value.code, caught.value.param) == ("model_cannot_generate", "model")
    assert len(vectors(client, "bert", "sea")) == 1


def test_chat_and_embeddings_alternate(client: OpenAI, server: ServerProcess) -> None:
    """One engine does both, from the same weights; neither disturbs the other."""
    question: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Count to ten."}],
        "temperature": 0,
        "max_tokens": 8,
    }
    answer = client.chat.completions.create(**question).choices[0].message.content
    vector = vectors(client, "smollm2", "a lighthouse by the sea")[0]
    pid = server.engine_pid
    for _ in range(3):
        assert client.chat.completions.create(**question).choices[0].message.content == answer
        assert vectors(client, "smollm2", "a lighthouse by the sea")[0] == close_to(vector)
    assert server.engine_pid == pid
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def is_idle(server: ServerProcess) -> bool:
    queue = server.status["queue"]
    return not queue["running"] and not queue["waiting"]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_who_leaves_stops_the_computation(server: ServerProcess) -> None:
    """In the middle of a native call; the lane is free and the engine idle at once."""
    connection = server.connect()
    body = {"model": "slow", "input": [[7] * 512] * 2000}
    connection.sendall(server.request("POST", "/v1/embeddings", body))
    wait_for(lambda: server.status["state"] == "generating", 20, "it is computed")
    pid = server.engine_pid
    begun = cpu_s(pid)
    wait_for(lambda: cpu_s(pid) > begun + 0.2, 20, "it computes")
    connection.close()
    wait_for(lambda: is_idle(server), 2, "the lane is free")
    deadline = time.monotonic() + 5
    while True:  # idle: an interval in which it computes nothing
        before = cpu_s(pid)
        time.sleep(0.2)
        if cpu_s(pid) - before < 0.02:
            break
        assert time.monotonic() < deadline
    assert server.engine_pid == pid


def test_an_engine_that_dies_is_replaced(client: OpenAI, server: ServerProcess) -> None:
    """The request does not notice."""
    connection = server.connect()
    connection.settimeout(120)
    [expected] = vectors(client, "slow", [[7] * 20])
    pid = server.engine_pid
    body = {"model": "slow", "input": [[7] * 20] * 60}
    connection.sendall(server.request("POST", "/v1/embeddings", body, {"Connection": "close"}))
    wait_for(lambda: server.status["state"] == "generating", 20, "it is computed")
    begun = cpu_s(pid)
    wait_for(lambda: cpu_s(pid) > begun + 0.3, 20, "it computes")
    os.kill(pid, signal.SIGKILL)
    data = b""
    while piece := connection.recv(1 << 20):
        data += piece
    connection.close()
    head, _, reply = data.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    found = json.loads(reply)
    assert len(found["data"]) == 60
    assert found["usage"]["prompt_tokens"] == 1_200
    for item in found["data"]:
        assert np.array(item["embedding"]) == close_to(expected)
    assert server.engine_pid != pid
