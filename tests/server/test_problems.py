"""What the log says of errors: each once, in one form, and nothing of what the client wrote."""

from __future__ import annotations

import logging
import re
import time

import falcon
import pytest
from api_client import Api, MakeApi
from falcon import testing

from hoshikage_server import logs
from hoshikage_server.api import problems, reply, sse
from hoshikage_server.api.heading import Heading
from hoshikage_server.api.middleware import RequestContext
from hoshikage_server.engines.wire import Token
from hoshikage_server.errors import EngineError, ServerError
from hoshikage_server.settings import LiveSettings, build_settings

FORM = re.compile(
    r"id=(?P<id>\S+) method=(?P<method>\S+) status=(?P<status>\d{3}) code=(?P<code>\S+) "
    r'model=(?P<model>\S+|"[^"]*") ms=(?P<ms>\d+)(?: param=(?P<param>\S+))?'
    r'(?: cause=(?P<cause>\S+))?(?: reason=(?P<reason>\S+|"[^\n]*"))?'
)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, dict[str, str | None]]]:
    """The error lines so far: level and fields."""
    lines = [record for record in caplog.records if record.name == "hoshikage_server.api.problems"]
    found = [(line.levelno, FORM.fullmatch(line.getMessage().splitlines()[0])) for line in lines]
    assert all(match for _, match in found), [line.getMessage() for line in lines]
    return [(level, match.groupdict()) for level, match in found if match]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize(
    ("text", "model", "fields", "expected"),
    [
        ("top-secret", "m", {"temperature": 9}, (400, "decimal_above_max_value", "-", "temperature", logging.INFO)),
        ("top-secret", "top-secret", {}, (404, "model_not_found", "-", None, logging.INFO)),
        ("top-secret", "refuse", {}, (503, "model_load_failed", "refuse", None, logging.ERROR)),
        ("refuse context_length_exceeded top-secret", "m", {}, (400, "context_length_exceeded", "m", "messages", 20)),
        ("late internal top-secret", "m", {}, (500, "internal_error", "m", None, logging.ERROR)),
        ("late internal top-secret", "m", {"stream": True}, (500, "internal_error", "m", None, logging.ERROR)),
    ],
)
def test_each_error_is_one_line(
    make_api: MakeApi, log: pytest.LogCaptureFixture, text: str, model: str, fields: dict[str, object], expected: object
) -> None:
    """With the response's request id, also when the response has begun; nothing else is louder than it."""
    result = make_api().chat(text, model, **fields)
    [(level, found)] = told(log)
    assert found["id"] == result.headers["x-request-id"]
    assert found["method"] == "POST"
    assert (int(found["status"] or 0), found["code"], found["model"], found["param"], level) == expected
    assert "top-secret" not in log.text
    assert sum(record.levelno >= logging.WARNING for record in log.records) <= 1


@pytest.mark.parametrize(
    ("text", "fields", "code", "cause"),
    [
        ("late internal", {}, "internal_error", "internal"),
        ("late grammar_dead_end", {}, "invalid_grammar", "grammar_dead_end"),
        ("echo x", {"max_tokens": 1, "max_completion_tokens": 1}, "invalid_parameter_combination", "max_tokens_twice"),
        ("echo x", {"stream_options": {}}, "-", "stream_options_without_stream"),
        ("echo x", {"temperature": 9}, "decimal_above_max_value", None),
    ],
)
def test_the_code_is_what_the_answer_says(
    make_api: MakeApi, log: pytest.LogCaptureFixture, text: str, fields: dict[str, object], code: str, cause: str | None
) -> None:
    """And where ours says more, it follows."""
    result = make_api().chat(text, "m", **fields)
    [(_, found)] = told(log)
    assert (found["code"], found["cause"]) == (code, cause)
    assert (result.json["error"]["code"] or "-") == code


def test_a_method_that_is_none_is_no_fault_of_ours(make_api: MakeApi, log: pytest.LogCaptureFixture) -> None:
    """501, and yet the client's."""
    make_api().client.simulate_request("FOO", "/v1/models")
    assert [(level, found["status"]) for level, found in told(log)] == [(logging.INFO, "501")]


def test_an_id_of_the_clients_own_is_found_in_the_log(api: Api, log: pytest.LogCaptureFixture) -> None:
    """That is what it is for."""
    result = api.post(b"{", headers={"X-Request-Id": "mine-1"})
    assert result.headers["x-request-id"] == "mine-1"
    assert [found["id"] for _, found in told(log)] == ["mine-1"]


def test_the_time_it_took(make_api: MakeApi, log: pytest.LogCaptureFixture) -> None:
    """From the beginning of the request, loading included."""
    api = make_api({"never": {"path": "/nowhere", "model": "never.gguf"}}, load_timeout=0.3)
    assert api.chat("echo x", "never").status_code == 503
    [(_, found)] = told(log)
    assert 300 <= int(found["ms"] or 0) < 30_000


WORDS = "top-secret"  # a traceback shows lines of source


class Failing:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        try:
            raise KeyError(WORDS)
        except KeyError as error:
            raise ValueError(WORDS) from error

    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        raise EngineError("no_code_of_ours", reason="words of the engine")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        raise ServerError("shutting_down")


@pytest.fixture
def failing() -> testing.TestClient:
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    app.add_middleware(RequestContext(LiveSettings(build_settings({"HOSHIKAGE_LANG": "en"}))))
    problems.register(app)
    app.add_route("/", Failing())
    return testing.TestClient(app)


def test_what_nobody_expected(failing: testing.TestClient, log: pytest.LogCaptureFixture) -> None:
    """One entry: the line, and the way both exceptions took, without their words."""
    result = failing.simulate_get("/")
    assert result.status_code == 500
    assert result.json["error"]["code"] == "internal_error"
    assert result.headers["x-request-id"] in result.json["error"]["message"]
    [(level, found)] = told(log)
    assert (level, found["id"], found["code"]) == (logging.ERROR, result.headers["x-request-id"], "internal_error")
    assert found["reason"] == "ValueError"
    assert log.text.count("in on_get") == 2
    assert "KeyError\n" in log.text
    assert WORDS not in log.text


class BrokenAnswer:
    """One that fails as nobody expects, after its first piece."""

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        return True

    def next_frame(self, timeout_s: float | None) -> Token:
        raise ValueError(WORDS)

    def next_frame_nowait(self) -> None:
        raise AssertionError


def test_what_nobody_expected_in_a_stream(log: pytest.LogCaptureFixture) -> None:
    """An event tells of it, and the log as well as ever; gunicorn does not get to see it."""
    request = testing.create_req()
    request.context.request_id, request.context.language, request.context.model = "req_1", "en", "m"
    request.context.began = time.monotonic()
    heading = Heading(id="x", created=1, model="m", system_fingerprint="fp")
    stream = sse.EventStream(
        BrokenAnswer(),
        lambda: reply.ChatEvents(heading, reply.Options()),
        ping_s=1,
        is_late=False,
        show_error=lambda error: problems.tell(error, request),
        on_close=lambda is_cut: None,
    )
    events = list(stream)
    assert b'"code":"internal_error"' in events[-1]
    [(_, found)] = told(log)
    assert (found["id"], found["code"], found["model"], found["reason"]) == (
        "req_1",
        "internal_error",
        "m",
        "ValueError",
    )
    assert "in next_frame" in log.text
    assert WORDS not in log.text


def test_codes_that_are_not_ours(failing: testing.TestClient, log: pytest.LogCaptureFixture) -> None:
    """The client is told of an internal error, the log of what it was."""
    assert failing.simulate_put("/").json["error"]["code"] == "internal_error"
    [(_, found)] = told(log)
    assert (found["code"], found["cause"]) == ("internal_error", "no_code_of_ours")
    assert found["reason"] == '"words of the engine"'


def test_a_shutdown_is_no_fault(failing: testing.TestClient, log: pytest.LogCaptureFixture) -> None:
    """It is logged, but not as an error."""
    assert failing.simulate_post("/").status_code == 503
    assert [level for level, _ in told(log)] == [logging.WARNING]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/v1/models", {"Authorization": "Bearer k"}, 200),
        ("GET", "/v1/models", {}, 401),
        ("GET", "/v1/models", {"Authorization": "Bearer x"}, 401),
        ("GET", "/nowhere", {"Authorization": "Bearer k"}, 404),
        ("PUT", "/v1/models", {"Authorization": "Bearer k"}, 405),
        ("POST", "/v1/chat/completions", {"Authorization": "Bearer k"}, 400),
    ],
)
def test_every_response_has_an_id(
    make_api: MakeApi, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Also what is refused before any resource sees it."""
    result = make_api(api_keys="k").client.simulate_request(method, path, headers=headers)
    assert result.status_code == status
    assert re.fullmatch(r"req_[0-9a-f]{32}", result.headers["x-request-id"])


def test_a_field_is_one_word_or_one_json_string() -> None:
    """Whatever is in it, it cannot begin another line or another field."""
    assert logs.fields(a=1, b=None, c="x/y:z@v1.0+-_", d="星影") == "a=1 b=- c=x/y:z@v1.0+-_ d=星影"
    assert logs.fields(a="two words", b='"', c="x\nid=y") == r'a="two words" b="\"" c="x\nid=y"'
    assert logs.fields(a="") == 'a=""'


@pytest.mark.parametrize(
    ("keyword", "en", "ja"),
    [
        ("minimum", "'minimum' at #/a is wrong.", "#/a の 'minimum': is wrong。"),
        ("", "the schema at #/a is", "#/a の 全体: is"),
    ],
)
def test_what_is_wrong_with_a_schema(keyword: str, en: str, ja: str) -> None:
    """A keyword is quoted, and none is no empty quotes."""
    error = EngineError.reported("invalid_json_schema", "x", {"path": "#/a", "keyword": keyword, "reason": "is wrong"})
    assert en in error.text("en")
    assert ja in error.text("ja")


@pytest.mark.parametrize(
    ("path", "body", "what"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "refuse context_length_exceeded"}]},
            "messages",
        ),
        ("/v1/completions", {"prompt": "refuse context_length_exceeded"}, "prompt"),
    ],
)
def test_what_does_not_fit(api: Api, path: str, body: dict[str, object], what: str) -> None:
    """It is called by its name, and that the answer needs room too is said: a prompt may be as long as the context."""
    result = api.post({"model": "m", **body}, path=path)
    error = result.json["error"]
    assert (result.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", what)
    assert f"your {what} resulted in" in error["message"]
    assert "the answer needs at least one" in error["message"]
