"""HTTP around the endpoints: methods, paths, content types, encodings, headers."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import pytest
from api_client import Api, MakeApi, wait_for
from falcon import testing

from hoshikage_server.api.models import ModelObject

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "echo 星"}]}, ensure_ascii=False).encode()
MAX_BODY = 4096


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    return make_api(max_body=MAX_BODY)


def code_of(result: testing.Result, status: int) -> Any:
    assert result.status_code == status, result.text
    assert result.headers["x-request-id"]
    return result.json["error"]["code"]


def said(result: testing.Result) -> Any:
    assert result.status_code == 200, result.text
    return result.json["choices"][0]["message"]["content"]


# ---- methods and paths


@pytest.mark.parametrize("path", ["/", "/health", "/openapi.json", "/v1/models", "/v1/models/m", "/v1/status"])
def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    """The same status and the same headers, of the length too where that does not change by itself."""
    got, headed = api.get(path), api.client.simulate_head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers.keys() == got.headers.keys()
    if path != "/v1/status":
        assert headed.headers["content-length"] == str(len(got.content))


def test_head_of_what_is_not_there(api: Api) -> None:
    """404 and 405 like the others, without a body."""
    assert api.client.simulate_head("/v1/models/nobody").status_code == 404
    answer = api.client.simulate_head(CHAT)
    assert (answer.status_code, answer.content, answer.headers["allow"]) == (405, b"", "POST, OPTIONS")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(CHAT, "POST, OPTIONS"), ("/v1/models", "GET, HEAD, POST, OPTIONS"), ("/health", "GET, HEAD, OPTIONS")],
)
def test_methods(api: Api, path: str, allowed: str) -> None:
    """OPTIONS lists them; another one is a 405 that lists them too."""
    asked = api.client.simulate_options(path)
    assert (asked.status_code, asked.content) == (200, b"")
    for method in ("PUT", "PATCH", "DELETE"):
        refused = api.client.simulate_request(method, path)
        assert code_of(refused, 405) == "method_not_supported"
        assert set(refused.headers["allow"].split(", ")) == set(allowed.split(", ")), refused.headers["allow"]
    assert set(asked.headers["allow"].split(", ")) <= set(allowed.split(", "))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/models/m", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/v1/models/m/load", "POST, OPTIONS"),
        ("/v1/models/a%2Fb:c@d/unload", "POST, OPTIONS"),
    ],
)
def test_methods_of_a_model(api: Api, path: str, allowed: str) -> None:
    """What is done to it is on paths of its own, behind its id."""
    assert api.client.simulate_options(path).headers["allow"] == allowed
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(allowed.split(", ")):
        refused = api.client.simulate_request(method, path)
        assert code_of(refused, 405) == "method_not_supported"
        assert refused.headers["allow"] == allowed
        assert f"allowed methods: {allowed}" in refused.json["error"]["message"]
    for missing in ("/v1/models/nobody", "/v1/models/nobody/load"):
        for method in ("GET", "POST", "DELETE"):
            assert code_of(api.client.simulate_request(method, missing), 404) == "model_not_found"


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/nowhere"])
def test_methods_that_are_none(api: Api, path: str) -> None:
    """501, in the envelope and in both languages."""
    refused = [api.client.simulate_request("FOO", path, headers={"Accept-Language": name}) for name in ("en", "ja")]
    assert [code_of(one, 501) for one in refused] == ["method_not_supported"] * 2
    assert len({one.json["error"]["message"] for one in refused}) == 2


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/v1//models", "//v1///models/"])
def test_slashes_too_many(api: Api, path: str) -> None:
    """What is left by joining a base URL and a path finds the same."""
    assert api.get(path).json == api.get("/v1/models").json


@pytest.mark.parametrize("path", ["/v1", "/v2/models", "/v1/chat", "/models", "/v1/chat//completions", "/v1/nöwhere"])
def test_urls_that_are_none(api: Api, path: str) -> None:
    """They name the method and the path, and the base URL that a client should have."""
    answer = api.client.simulate_post(path, body=BODY)
    assert code_of(answer, 404) == "unknown_url"
    assert f"POST {path}" in answer.json["error"]["message"]
    assert answer.json["error"]["message"].endswith("the API's base URL is http://localhost:3030/v1.")


# ---- bodies


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/vnd.api+json",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
    ],
)
def test_json_by_any_name(api: Api, content_type: str | None) -> None:
    """What `curl -d` and fetch() say of their bodies when they are told nothing; and no type at all."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert said(api.post(BODY, headers=headers)) == "星"
    assert said(api.post(b"\xef\xbb\xbf" + BODY, headers=headers)) == "星", "with a byte order mark"


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("multipart/form-data; boundary=x", "unsupported_content_type"),
        ("text/xml", "unsupported_content_type"),
        ("nonsense", "unsupported_content_type"),
        ("application/json; charset=shift_jis", "unsupported_charset"),
        ("application/json; charset=utf-16", "unsupported_charset"),
    ],
)
def test_other_types(api: Api, content_type: str, code: str) -> None:
    """They are refused before the body is read, in words that say what to do."""
    answer = api.post(BODY, headers={"Content-Type": content_type})
    assert code_of(answer, 415) == code
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_gzip(api: Api) -> None:
    """It is read, under both of its names."""
    for name in ("gzip", "GZIP", "x-gzip"):
        assert said(api.post(gzip.compress(BODY), headers={"Content-Encoding": name})) == "星"
    assert said(api.post(BODY, headers={"Content-Encoding": "identity"})) == "星"
    members = gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:])
    assert said(api.post(members, headers={"Content-Encoding": "gzip"})) == "星"


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_encodings(api: Api, encoding: str) -> None:
    """They are refused."""
    assert code_of(api.post(BODY, headers={"Content-Encoding": encoding}), 415) == "unsupported_content_encoding"


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b"",
        gzip.compress(BODY)[:-1],
        gzip.compress(BODY) + b"x",
        zlib.compress(BODY),
        gzip.compress(BODY) + gzip.compress(b"")[:-1],
    ],
)
def test_what_is_no_gzip(api: Api, body: bytes) -> None:
    """Cut off, continued, or something else."""
    assert code_of(api.post(body, headers={"Content-Encoding": "gzip"}), 400) == "invalid_gzip"


def test_very_many_members(make_api: MakeApi) -> None:
    """They are refused before they take long, and large bodies of one are read."""
    large = make_api()
    many = gzip.compress(b"") * 1_000_000
    began = time.process_time()
    assert code_of(large.post(many, headers={"Content-Encoding": "gzip"}), 400) == "invalid_gzip"
    assert time.process_time() - began < 5
    body = BODY + b" " * 5_000_000
    assert said(large.post(gzip.compress(body), headers={"Content-Encoding": "gzip"})) == "星"


def test_a_bomb(api: Api) -> None:
    """What is small and becomes large counts as what it becomes; no more of it than allowed is ever unpacked."""
    bomb = gzip.compress(b" " * (MAX_BODY + 1 - len(BODY)) + BODY)
    assert len(bomb) < MAX_BODY
    assert code_of(api.post(bomb, headers={"Content-Encoding": "gzip"}), 413) == "request_too_large"
    just = gzip.compress(b" " * (MAX_BODY - len(BODY)) + BODY)
    assert said(api.post(just, headers={"Content-Encoding": "gzip"})) == "星"


@pytest.mark.parametrize("value", [b"1,", b"[],", b'{"a":[]},'])
def test_more_values_than_anybody_needs(make_api: MakeApi, value: bytes) -> None:
    """Small ones are refused by their number, before they become objects: nobody else is answered while they do."""
    large = make_api()
    began = time.process_time()
    many = large.post(BODY[:-1] + b',"x":[' + value * 3_000_000 + b"0]}")
    assert code_of(many, 413) == "request_too_large"
    assert "1048576 commas" in many.json["error"]["message"]
    assert time.process_time() - began < 1
    assert said(large.post(BODY[:-1] + b',"x":[' + value * 1_000_000 + b"0]}")) == "星"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xef\xbb\xbf", 400),
        (b"model=m&messages=x", 400),
        (BODY.replace("星".encode(), b"\xff"), 400),
        (BODY.replace("星".encode(), rb"\ud800"), 400),
        (BODY.replace("星".encode(), rb"\udc00\ud800"), 400),
        (BODY.replace("星".encode(), b"\xed\xa0\x80"), 400),
        (BODY.decode().encode("utf-16"), 400),
        (BODY[:-1] + b',"temperature":NaN}', 400),
        (BODY[:-1] + b',"temperature":-Infinity}', 400),
        (BODY[:-1] + b',"temperature":1e999}', 400),
        (BODY[:-1] + b',"seed":' + b"9" * 3000 + b"}", 400),
        (BODY[:-1] + b',"temperature":"a","temperature":1}', 400),
        (BODY[:-1] + b',"metadata":' + b"[" * 1500 + b"]" * 1500 + b"}", 400),
        (b"[" * MAX_BODY, 400),
        (BODY + b"x", 400),
        (BODY + BODY, 400),
    ],
    ids=lambda value: None if isinstance(value, int) else repr(value[-20:]),
)
def test_bodies_that_are_none(api: Api, body: bytes, status: int) -> None:
    """Each gets the envelope, none a traceback; what is in them beside JSON's rules too."""
    answer = api.post(body)
    assert code_of(answer, status) != "internal_error"
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    assert answer.json["error"]["type"] == "invalid_request_error"


# ---- headers


@pytest.mark.parametrize("stream", [False, True])
def test_headers_that_clients_look_at(api: Api, stream: bool) -> None:
    """Under OpenAI's names, also with a stream and with an error."""
    for text, status in (("echo x", 200), ("refuse context_length_exceeded", 400)):
        answer = api.chat(text, stream=stream)
        assert answer.status_code == status
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["x-request-id"].startswith("req_")


def test_models_tell_more(make_api: MakeApi) -> None:
    """Under one key; what is only known of a loaded model is null before, and stays known after."""
    api = make_api()

    def details() -> Any:
        return api.get("/v1/models/m").json["hoshikage"]

    own = {"aliases": [], "description": None, "persona": None, "measured": None}
    unknown = {"arch": None, "quantisation": None, "n_params": None, **own}
    assert details() == {"state": "unloaded", "n_ctx": 4096, "size_bytes": None, **unknown}
    assert said(api.chat("echo x")) == "x"
    wait_for(lambda: details()["state"] == "ready", "it waits for more")
    api.client.simulate_post("/v1/models/m/unload")
    measured = details()["measured"]
    assert measured["private_bytes"] > 0
    known = {"arch": "fake", "quantisation": "Q4_0", "n_params": 7, **own, "measured": measured}
    assert details() == {"state": "unloaded", "n_ctx": 4096, "size_bytes": None, **known}
    assert set(ModelObject.__struct_fields__) == set(api.get("/v1/models").json["data"][0])


def test_a_model_that_failed_says_so(make_api: MakeApi) -> None:
    """As long as it is left alone."""
    api = make_api()
    assert api.chat("echo x", model="refuse").status_code == 503
    wait_for(lambda: api.get("/v1/models/refuse").json["hoshikage"]["state"] == "failed", "it is left alone")


@pytest.mark.parametrize("path", ["a/b:c@d", "a%2Fb%3Ac%40d", "a%2fb:c%40d", "a/b:c@d/"])
def test_ids_with_slashes(api: Api, path: str) -> None:
    """Escaped or not, as clients differ in that."""
    assert api.get(f"/v1/models/{path}").json["id"] == "a/b:c@d"
