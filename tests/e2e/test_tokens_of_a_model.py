"""/v1/tokenize and /v1/detokenize of a real model, against the library's own answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import REAL_SERVER, ServerProcess

from hoshikage_core import Model

TEXTS = ["Hello, world!", "  two spaces\n\n", "星影は静かです 🌟", "<|im_start|>user\nhi<|im_end|>", ""]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Iterator[ServerProcess]:
    models = {"smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name}}
    with ServerProcess(tmp_path_factory.mktemp("server"), models, command=REAL_SERVER, n_ctx=512) as server:
        yield server


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    with Model(smollm2_path) as model:
        yield model


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("parse_special", [True, False])
def test_there_and_back(server: ServerProcess, model: Model, text: str, parse_special: bool) -> None:
    """The tokens are the library's; their pieces, and all of them together, are the text."""
    status, told = server.post(
        "/v1/tokenize", model="smollm2", content=text, parse_special=parse_special, with_pieces=True
    )
    assert status == 200, told
    tokens = [token["id"] for token in told["tokens"]]
    assert tokens == model.tokenize(text, add_special=False, parse_special=parse_special)
    assert (told["count"], told["max_model_len"]) == (len(tokens), 512)
    pieces = [token["piece"] for token in told["tokens"]]
    data = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)
    assert data.decode() == text
    assert server.post("/v1/detokenize", model="smollm2", tokens=tokens) == (200, {"prompt": text, "content": text})
    assert server.status["engines"] == [], "nothing is woken"


def test_a_token_that_there_is_not(server: ServerProcess, model: Model) -> None:
    """400, and the field is named."""
    status, told = server.post("/v1/detokenize", model="smollm2", tokens=[model.info.n_vocab])
    assert (status, told["error"]["param"], told["error"]["code"]) == (400, "tokens", "token_not_in_vocabulary")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "logit_bias"),
        ("/v1/completions", {"prompt": "x"}, "logit_bias"),
        ("/v1/responses", {"input": "x"}, "logit_bias"),
        ("/v1/completions", {"prompt": [1, 49152]}, "prompt"),
        ("/v1/completions", {"prompt": [1, 49152], "echo": True}, "prompt"),
        ("/v1/completions", {"prompt": [[1], [49152]]}, "prompt[1]"),
    ],
)
def test_tokens_of_a_request_that_there_are_not(
    server: ServerProcess, model: Model, path: str, fields: dict[str, object], param: str
) -> None:
    """400, and the field is named that holds it."""
    assert model.info.n_vocab == 49152
    biases = {"logit_bias": {"49152": 1}} if param == "logit_bias" else {}
    status, told = server.post(path, model="smollm2", **fields, **biases)
    error = told["error"]
    assert (status, error["param"], error["code"]) == (400, param, "token_not_in_vocabulary"), error
    assert "49152" in error["message"]
