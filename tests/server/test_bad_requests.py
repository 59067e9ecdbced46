"""Bad requests over HTTP and through openai-python: the class of error that OpenAI's own server would cause."""

from __future__ import annotations

from collections.abc import Iterator

import falcon
import httpx
import openai
import pytest
from api_client import Api, MakeApi
from bad_builders import Bad
from bad_requests import BAD
from bodies import FULL, GOOD
from openai.types.chat import ChatCompletion

from hoshikage_server.app import create_app

PATHS = ("/v1/chat/completions", "/v1/chat/completions/input_tokens")


def sdk(api: Api, **options: object) -> openai.OpenAI:
    """openai-python, calling the application without a socket."""
    http = httpx.Client(transport=httpx.WSGITransport(create_app(api.deps)))
    settings = {"api_key": "k", "base_url": "http://testserver/v1", "max_retries": 0, **options}
    return openai.OpenAI(http_client=http, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[openai.OpenAI]:
    with sdk(api) as client:
        yield client


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_over_http(api: Api, bad: Bad) -> None:
    """Status 400, OpenAI's envelope, and nothing else; the same where tokens are counted."""
    for path in PATHS:
        result = api.post(bad.body, path)
        assert result.status == falcon.HTTP_400
        assert result.headers["content-type"].startswith("application/json")
        error = result.json["error"]
        assert result.json.keys() == {"error"}
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", bad.code, bad.param)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_through_the_sdk(client: openai.OpenAI, bad: Bad) -> None:
    """BadRequestError, which carries code, param and type."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", content=bad.body, cast_to=ChatCompletion)
    error = caught.value
    assert (error.type, error.code, error.param) == ("invalid_request_error", bad.code, bad.param)
    assert error.request_id


def test_the_sdks_own_method(client: openai.OpenAI) -> None:
    """Also when the request is a stream."""
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="Expected a value <= 2, but got 3 instead"):
            client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "x"}],
                temperature=3,
                stream=stream,
            )


@pytest.mark.parametrize(
    ("text", "model", "raised", "code"),
    [
        ("echo x", "nope", openai.NotFoundError, "model_not_found"),
        ("refuse context_length_exceeded", "m", openai.BadRequestError, "context_length_exceeded"),
        ("refuse invalid_json_schema", "m", openai.BadRequestError, "invalid_json_schema"),
        ("refuse invalid_grammar", "m", openai.BadRequestError, "invalid_grammar"),
        ("refuse grammar_dead_end", "m", openai.BadRequestError, "invalid_grammar"),
        ("late grammar_dead_end", "m", openai.BadRequestError, "invalid_grammar"),
        ("refuse chat_template_failed", "m", openai.BadRequestError, "chat_template_failed"),
        ("refuse internal", "m", openai.InternalServerError, "internal_error"),
        ("late internal", "m", openai.InternalServerError, "internal_error"),
        ("echo x", "refuse", openai.InternalServerError, "model_load_failed"),
    ],
)
def test_other_errors(
    client: openai.OpenAI, text: str, model: str, raised: type[openai.APIStatusError], code: str
) -> None:
    """Each status has its class."""
    with pytest.raises(raised) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    assert type(caught.value) is raised
    assert caught.value.code == code


def test_errors_that_depend_on_settings(make_api: MakeApi) -> None:
    """A key, the size of a body."""
    api = make_api(api_keys="right", max_body=2000)
    with sdk(api, api_key="wrong") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()
    assert refused.value.code == "invalid_api_key"
    with sdk(api, api_key="right") as client, pytest.raises(openai.APIStatusError) as too_large:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * 3000}])
    assert (too_large.value.status_code, too_large.value.code) == (413, "request_too_large")


def test_a_long_name_is_not_repeated(api: Api) -> None:
    """No message is as long as a body may be."""
    result = api.chat("x", model="m" * 5_000_000)
    assert result.status_code == 404
    assert result.json["error"]["code"] == "model_not_found"
    assert len(result.content) < 2000


def test_an_error_in_the_middle_of_a_stream(client: openai.OpenAI) -> None:
    """The SDK raises it where it stands, after what came before."""
    pieces: list[str] = []
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "late internal"}], stream=True
    )
    with pytest.raises(openai.APIError) as caught:
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(pieces) == "one two "
    assert caught.value.code == "internal_error"


@pytest.mark.parametrize("body", [GOOD, *FULL], ids=range(1 + len(FULL)))
def test_the_good_bodies_are_good(api: Api, body: dict[str, object]) -> None:
    """What the bad ones are made of, and the fuzz mutates, is answered."""
    assert api.post(body).status_code == 200
