"""What a request held is free when it has been answered, not when the garbage collector comes by."""

from __future__ import annotations

import gc
from types import FrameType
from typing import Any

import pytest
from api_client import Api, MakeApi

LONG = "x" * 1_000_000


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    return make_api(n_ctx=4096)


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{text} {LONG}"}]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", chat("echo"), 400),
        ("/v1/chat/completions", chat("echo") | {"stream": True}, 400),
        ("/v1/chat/completions", chat("echo") | {"temperature": 9}, 400),
        ("/v1/chat/completions", chat("echo") | {"model": "nobody"}, 404),
        ("/v1/completions", {"prompt": [f"echo {LONG}", "b"]}, 400),
        ("/v1/responses", {"input": f"echo {LONG}"}, 400),
        ("/v1/embeddings", {"input": f"refuse context_length_exceeded {LONG}"}, 400),
    ],
)
def test_a_refused_request_leaves_nothing(api: Api, path: str, body: dict[str, Any], status: int) -> None:
    """An error and the frames it went through, which have the prompt, would hold each other."""
    assert api.post({"model": "m", **body}, path=path).status_code == status  # the first time more is made than stays
    gc.collect()
    gc.disable()
    try:
        assert api.post({"model": "m", **body}, path=path).status_code == status
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [one for one in gc.garbage if isinstance(one, (BaseException, FrameType))]
        assert left == []
        held = [type(one) for one in gc.garbage for part in gc.get_referents(one) if _is_long(part)]
        assert held == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_long(value: object) -> bool:
    return isinstance(value, (str, bytes, bytearray)) and len(value) >= len(LONG)
