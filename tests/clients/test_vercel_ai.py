"""The Vercel AI SDK: node/vercel_ai.mjs asks, this judges what came back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from node_clients import NodeClients
from server_process import ServerProcess
from shapes import CITIES, Weather, environ

Result = Callable[[str], Any]

pytestmark = pytest.mark.parametrize("way", ["chat", "compatible", "responses"])


@pytest.fixture(scope="module")
def results(node: NodeClients, server: ServerProcess, fake_server: ServerProcess) -> dict[str, Any]:
    """What each case gave."""
    return node.run("vercel_ai.mjs", timeout_s=300, **environ(server.url, fake_server.url))


@pytest.fixture
def result(results: dict[str, Any], way: str) -> Result:
    """What a case gave that must have gone well."""

    def look(case: str) -> Any:
        value = results[f"{way} {case}"]
        assert not (isinstance(value, dict) and value.get("error")), value["error"]
        return value

    return look


def test_text(result: Result) -> None:
    """generateText and streamText give one text and one count."""
    plain, streamed = result("plain"), result("streamed")
    assert plain["text"]
    assert "".join(streamed["pieces"]) == streamed["text"] == plain["text"]
    assert streamed["finishReason"] == plain["finishReason"]
    assert plain["usage"]["inputTokens"] > 0
    for count in ("inputTokens", "outputTokens", "totalTokens"):
        assert streamed["usage"][count] == plain["usage"][count]


def test_required_calls(result: Result) -> None:
    """toolChoice: required makes calls, of tools that there are."""
    told = result("required")
    assert told["finishReason"] == "tool-calls"
    assert {call["toolName"] for call in told["calls"]} <= {"look", "ring"}
    assert told["calls"]


def test_named_calls(result: Result) -> None:
    """The named tool is called; streamed, its input comes in pieces."""
    [plain], streamed = result("named")["calls"], result("streamed call")
    assert plain["toolName"] == "look"
    assert plain["input"]["city"] in CITIES
    assert streamed["calls"] == [plain]
    assert "".join(streamed["inputs"]).startswith("{")


def test_calls_that_may_be(result: Result) -> None:
    """auto: whatever a model says is no error."""
    assert result("auto")["finishReason"] in ("stop", "tool-calls", "length")


def test_a_loop(result: Result) -> None:
    """The SDK runs the tool and goes on with its result."""
    told = result("loop")
    assert told["looked"]
    assert set(told["looked"]) <= set(CITIES)
    assert told["finishReasons"][0] == "tool-calls"
    assert len(told["finishReasons"]) == 2


@pytest.mark.parametrize("case", ["output", "object"])
def test_shapes(result: Result, case: str) -> None:
    """A zod shape holds."""
    Weather.model_validate(result(case))


def test_streamed_shapes(result: Result) -> None:
    """It grows while it is streamed."""
    told = result("streamed object")
    Weather.model_validate(told["object"])
    assert told["n"] > 1


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        ("unknown model", 404, "model_not_found"),
        ("unknown model streamed", 404, "model_not_found"),
        ("too long", 400, "context_length_exceeded"),
    ],
)
def test_errors(results: dict[str, Any], way: str, case: str, status: int, code: str) -> None:
    """The SDK reads OpenAI's error out of the body."""
    told = results[f"{way} {case}"]["error"]
    assert (told["class"], told["statusCode"], told["data"]["error"]["code"]) == ("APICallError", status, code)


def test_aborts(result: Result) -> None:
    """An AbortSignal frees the engine."""
    told = result("abort")
    assert told["n"] >= 1
    assert told["is_freed"]


def test_embeddings(results: dict[str, Any], way: str) -> None:
    """embed and embedMany agree (responses have none)."""
    if way == "responses":
        way = "chat"
    one, many = results[f"{way} embed"], results[f"{way} embed many"]
    assert isinstance(one, list), one
    assert many[0] == pytest.approx(one, abs=1e-4)
    assert len(many) == 2
