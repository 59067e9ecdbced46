"""OpenAI-compatible servers as candidates: a process with a port, and the timing of one streamed answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from common import fail

HOST = "127.0.0.1"
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 600.0


@dataclass(frozen=True)
class StreamTiming:
    """What a client saw of one streamed answer; times count from before the request was sent."""

    n_prompt: int
    n_completion: int
    first_text_s: float
    last_text_s: float
    text: str

    def speeds(self) -> dict[str, float]:
        """Tokens per second: the prompt's until the first text came, and the answer's from then on."""
        if self.last_text_s == self.first_text_s:
            fail(f"all {self.n_completion} tokens came at once: ask for more of them, or take a larger model")
        return {
            "prefill": self.n_prompt / self.first_text_s,
            "decode": (self.n_completion - 1) / (self.last_text_s - self.first_text_s),
        }


def stream_chat(port: int, request: Mapping[str, object]) -> StreamTiming:
    """Asks for a streamed chat completion and notes when its first and last text arrived."""
    body = json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}})
    connection = connect(port)
    arrivals: list[tuple[float, bytes]] = []
    start = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    # Read everything first, look at it later: parsing must not compete with the engine for the processor.
    while data := response.read1(65536):
        arrivals.append((time.perf_counter() - start, data))
    connection.close()
    if response.status != 200:
        fail(f"{HOST}:{port} answered {response.status}: {b''.join(data for _, data in arrivals).decode()}")
    return _timing(arrivals)


def plain_chat(port: int, request: Mapping[str, object]) -> float:
    """Asks for a chat completion that is not streamed; seconds until it was there."""
    body = json.dumps(request)
    start = time.perf_counter()
    connection = connect(port)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    took_s = time.perf_counter() - start
    connection.close()
    if response.status != 200:
        fail(f"{HOST}:{port} answered {response.status}: {answer.decode()}")
    n_tokens = json.loads(answer)["usage"]["completion_tokens"]
    if n_tokens != request["max_tokens"]:
        fail(f"{HOST}:{port} ended after {n_tokens} of {request['max_tokens']} tokens")
    return took_s


def connect(port: int) -> HTTPConnection:
    """A connection that waits long enough for any answer."""
    return HTTPConnection(HOST, port, timeout=ANSWER_LIMIT_S)


def _timing(arrivals: Sequence[tuple[float, bytes]]) -> StreamTiming:
    texts: list[tuple[float, str]] = []
    usage: Mapping[str, int] = {}
    for at_s, event in _events(arrivals):
        if "error" in event:
            fail(f"the stream ended with {event['error']}")
        texts += [(at_s, text) for choice in event["choices"] if (text := choice["delta"].get("content"))]
        usage = event.get("usage") or usage
    if len(texts) < 2 or not usage:
        fail(f"a stream of {len(texts)} pieces of text and {'a' if usage else 'no'} usage cannot be timed")
    return StreamTiming(
        n_prompt=usage["prompt_tokens"],
        n_completion=usage["completion_tokens"],
        first_text_s=texts[0][0],
        last_text_s=texts[-1][0],
        text="".join(text for _, text in texts),
    )


def _events(arrivals: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, dict[str, Any]]]:
    """The stream's JSON events, each with the time its last byte arrived."""
    pending = b""
    for at_s, data in arrivals:
        *complete, pending = (pending + data).split(b"\n\n")
        for block in complete:
            for line in block.splitlines():
                payload = line.removeprefix(b"data:").strip()
                if line.startswith(b"data:") and payload != b"[DONE]":
                    yield at_s, json.loads(payload)


@contextmanager
def running_server(command: Sequence[str], port: int, environment: Mapping[str, str]) -> Iterator[int]:
    """Runs a server until the block ends; enters the block with its process id when it answers ``/health``.

    What the caller's environment says to servers does not count.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "LLAMA_"))}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=inherited | environment, start_new_session=True
        )
        try:
            _wait_until_healthy(process, port, command, log.fileno())
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, command: Sequence[str], log: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        connection = HTTPConnection(HOST, port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    last_words = os.pread(log, 1 << 20, 0).decode(errors="replace")[-2000:]
    fail(f"{Path(command[0]).name} did not answer within {START_LIMIT_S:.0f} s; its last words:\n{last_words}")
