"""Requests of all kinds, many on one connection, with mutated bodies, headers, paths and framings.

Whatever a client sends is answered as HTTP says, in OpenAI's envelope where it is refused, and never with a fault of
the server's. FUZZ_EXAMPLES=20000 looks longer.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_answers import KeptReader
from server_process import FAKE_MODELS, ServerProcess

sys.path.append(str(Path(__file__).resolve().parent.parent / "server"))  # otherwise only with tests of its own
from bodies import FULL, mutated, values

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))

RESPONSE = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"role": "user", "content": "echo one two"},
    ],
    "instructions": "i",
    "stream": True,
    "max_output_tokens": 16,
    "store": True,
    "previous_response_id": None,
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "include": ["message.output_text.logprobs"],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
    "tool_choice": "auto",
    "metadata": {"a": "b"},
}
COMPLETION = {"model": "m", "prompt": ["echo a", "echo b"], "max_tokens": 4, "n": 1, "stop": ["x"], "stream": True}
POSTED: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/chat/completions": FULL,
    "/v1/chat/completions/input_tokens": FULL,
    "/v1/completions": (COMPLETION, {"model": "m", "prompt": [[1, 2], [3]], "echo": True, "logprobs": None}),
    "/v1/embeddings": ({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 1},),
    "/v1/responses": (RESPONSE,),
    "/v1/responses/input_tokens": (RESPONSE,),
    "/v1/tokenize": ({"model": "m", "prompt": "a", "with_pieces": True}, {"model": "m", "content": "a"}),
    "/v1/detokenize": ({"model": "m", "tokens": [1, 2]},),
    "/v1/models": ({"id": "new", "path": "/nowhere/new.gguf", "n_ctx": 128},),
    "/v1/personas": ({"id": "p", "name": "P", "system": "s"},),
}
GOT = (
    *("/", "/health", "/openapi.json", "/v1/api/version", "/v1/status", "/v1/models", "/v1/models/m", "/v1/personas"),
    *("/v1/personas/p", "/v1/models/m/unload", "/v1/responses/resp_1", "/v1/responses/resp_1/input_items"),
    *("/v1/responses/resp_1/cancel", "/v1/nowhere", "/metrics", "/v1/messages", "/models", "/v1"),
)
ENDS = ("", "", "", "", "/", "?limit=-1&after=%ff&order=x", "?a", "%00", "/%2e%2e/x", "#x", "%", "/é")
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "TRACE", "FOO", "get")
NAMES = (
    *("Accept", "Accept-Language", "Accept-Encoding", "Content-Type", "Content-Encoding", "Authorization", "Origin"),
    *("X-Request-Id", "Expect", "Range", "If-None-Match", "Upgrade", "Connection", "TE", "Trailer", "Host", "Cookie"),
    *("OpenAI-Organization", "Idempotency-Key", "X-Stainless-Retry-Count", "Access-Control-Request-Method"),
    *("X-HTTP-Method-Override", "X-Forwarded-Proto", "Forwarded", "Sec-Fetch-Site", "Content-Length"),
)
VALUES = (
    *("", "x", "0", "-1", "星", "\x7f", "a" * 3000, "*", "gzip", "null", "close", "keep-alive", "100-continue"),
    *("application/json", "text/html", "Bearer x", "http://evil.example", "h2c", "chunked", "en;q=9, *"),
)
_TIMEOUT_S = 60


class Request(NamedTuple):
    """What is sent, and of what an answer depends on."""

    data: bytes
    method: str
    is_whole: bool  # the server can tell where it ends


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """One request."""
    is_posted = draw(st.booleans())
    method = "POST" if is_posted else draw(st.sampled_from(("GET", "GET", *METHODS)))
    path = draw(st.sampled_from(tuple(POSTED) if is_posted else GOT))
    odd = st.just(b"") | values.map(lambda value: json.dumps(value).encode())
    body = draw(mutated(POSTED[path]) if is_posted else odd)
    path += draw(st.sampled_from(ENDS))
    headers = [("Host", "localhost")]
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        headers.append((draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES))))
    framing = draw(st.sampled_from(("length", "length", "chunked", "gzip", "none", "wrong")))
    if framing == "gzip":
        body = gzip.compress(body)
        headers.append(("Content-Encoding", "gzip"))
    if framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        n_bytes = draw(st.integers(1, 5000))
        pieces = (body[start : start + n_bytes] for start in range(0, len(body), n_bytes))
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif framing != "none":
        headers.append(("Content-Length", str(len(body) + (draw(st.integers(1, 9)) if framing == "wrong" else 0))))
    version = draw(st.sampled_from(("1.1", "1.1", "1.1", "1.0")))
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    is_whole = framing not in ("none", "wrong") or (framing == "none" and not body)
    return Request(f"{head}\r\n".encode() + body, method, is_whole)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("fuzz"), FAKE_MODELS, read_timeout=1, stall_timeout=12) as server:
        yield server


@settings(suppress_health_check=list(HealthCheck), max_examples=FUZZ_EXAMPLES, deadline=None)
@given(
    sent=st.lists(requests(), min_size=1, max_size=5),
    is_pipelined=st.booleans(),
    leaves_at=st.none() | st.floats(0, 1),
)
def test_whatever_is_sent(
    server: ServerProcess, sent: list[Request], is_pipelined: bool, leaves_at: float | None
) -> None:
    """One after the other, all at once, or by a client that goes away in the middle."""
    with server.connect() as connection:
        connection.settimeout(_TIMEOUT_S)
        if leaves_at is not None:
            data = b"".join(request.data for request in sent)
            connection.sendall(data[: int(len(data) * leaves_at)])
            return
        reader = KeptReader(connection)
        if is_pipelined:
            send(connection, b"".join(request.data for request in sent))
        for request in sent:
            if not is_pipelined:
                send(connection, request.data)
            if not request.is_whole:
                connection.shutdown(socket.SHUT_WR)
            if not judge(reader, request) or not request.is_whole:
                break


def test_it_left_nothing_behind(server: ServerProcess) -> None:
    """After all that: no fault in the log, and an answer as ever."""
    assert "Traceback" not in server.log
    assert "status=500" not in server.log
    with server.connect() as connection:
        connection.sendall(server.chat_request("echo hi"))
        response = HTTPResponse(connection)
        response.begin()
        assert json.loads(response.read())["choices"][0]["message"]["content"] == "hi"


def send(connection: socket.socket, data: bytes) -> None:
    """As far as the server takes it: what it has refused it need not read."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)


def judge(reader: KeptReader, request: Request) -> bool:
    """Reads an answer; whether another may follow."""
    response = HTTPResponse(reader, method=request.method)  # type: ignore[arg-type]  # as much of a socket as it needs
    try:
        response.begin()
        body = response.read()
    except (ConnectionError, HTTPException):
        if request.is_whole:
            raise
        return False
    about = (request.data[:2000], response.status, body[:500])
    assert response.status in (501, 503) or response.status < 500, about
    assert response.getheader("X-Request-Id"), about
    kind = response.getheader("Content-Type") or ""
    if response.status >= 400 and request.method != "HEAD":
        assert kind.startswith("application/json"), about
        assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}, about
    elif kind.startswith("text/event-stream"):
        assert re.fullmatch(rb"(?:(?:event: [a-z_.]+\n)?data: \S.*\n\n|: ping\n\n)+", body), about
    elif body:
        assert kind.startswith("text/plain") or json.loads(body) is not None, about
    return response.getheader("Connection", "").lower() != "close"
