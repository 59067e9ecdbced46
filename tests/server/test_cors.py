"""Pages of other origins: which may use the API, and what the others cannot be made to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_client import Api, MakeApi
from falcon import testing

from hoshikage_server.errors import SettingsError
from hoshikage_server.settings import Settings

PAGE = "https://chat.example.com"
EVIL = "https://evil.example"
CHAT = "/v1/chat/completions"
# What openai-node 6 sends from a browser (dangerouslyAllowBrowser), as Chromium lists it.
STAINLESS = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)


@pytest.fixture(scope="module")
def open_api(make_api: MakeApi) -> Api:
    """One that lets some pages in."""
    return make_api(cors_origins=f"{PAGE}/, http://localhost:*", api_keys="k")


def preflight(api: Api, origin: str, path: str = CHAT, **headers: str) -> testing.Result:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": STAINLESS}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.simulate_options(path, headers=asked | more)


def chat(api: Api, text: str = "echo hi", *, stream: bool = False, **headers: str) -> testing.Result:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.simulate_post(CHAT, body=body, headers=named)


def code_of(result: testing.Result, status: int) -> Any:
    assert result.status_code == status, result.text
    return result.json["error"]["code"]


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173", "http://localhost"])
def test_a_preflight_says_yes(open_api: Api, origin: str) -> None:
    """Without a key, which a browser cannot add: to the origin, the resource's methods, and every header asked for."""
    answer = preflight(open_api, origin, Access_Control_Request_Private_Network="true")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"
    assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == STAINLESS
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "http://chat.example.com", "https://chat.example.com:8443", "https://localhost:1", "x"]
)
def test_a_preflight_says_no(open_api: Api, origin: str) -> None:
    """To other schemes and ports too: without the header the browser sends nothing. Caches keep them apart."""
    answer = preflight(open_api, origin)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_what_is_no_list_of_headers_is_not_echoed(open_api: Api) -> None:
    """The usual ones are allowed instead."""
    answer = preflight(open_api, PAGE, Access_Control_Request_Headers="a b; c")
    assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["echo hi", "refuse context_length_exceeded"])
def test_answers_and_errors_can_be_read(open_api: Api, text: str, stream: bool) -> None:
    """By the page: streams, whole answers, what was refused; with the headers that clients look at."""
    answer = chat(open_api, text, stream=stream, Origin=PAGE, Authorization="Bearer k")
    assert answer.status_code == (200 if "echo" in text else 400)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"x-request-id", "retry-after", "openai-processing-ms"} <= set(exposed)


def test_a_missing_key_can_be_read(open_api: Api) -> None:
    """What is refused before any resource sees it, and what has no resource, are answers too."""
    refused = chat(open_api, Origin=PAGE)
    assert refused.status_code == 401
    lost = open_api.get("/v1/nowhere", headers={"Origin": PAGE, "Authorization": "Bearer k"})
    assert code_of(lost, 404) == "unknown_url"
    assert {result.headers["access-control-allow-origin"] for result in (refused, lost)} == {PAGE}


def test_all_origins(make_api: MakeApi) -> None:
    """`*` lets every page in, also those without an origin to speak of."""
    api = make_api(cors_origins="*")
    for origin in (EVIL, "null", "app://obsidian.md"):
        answer = chat(api, Origin=origin)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


def test_by_default_no_headers(api: Api) -> None:
    """Nothing is said where no page but the own one is let in."""
    answer = preflight(api, PAGE)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "vary" not in answer.headers


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
@pytest.mark.parametrize("path", [CHAT, "/v1/models/m/load", "/v1/models/m/unload", f"{CHAT}/input_tokens"])
def test_a_foreign_page_cannot_make_it_work(api: Api, path: str, content_type: str) -> None:
    """No browser asks before such a request, and the server would compute for whatever page a person looks at."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "echo hi"}]})
    headers = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Content-Type": content_type}
    answer = api.client.simulate_post(path, body=body, headers=headers)
    assert code_of(answer, 403) == "origin_not_allowed"
    assert EVIL in answer.json["error"]["message"]
    assert api.get("/v1/status").json["n_engine_starts"] == 0


def test_files_and_frames_are_foreign(api: Api) -> None:
    """Their origin is `null`, which any page can have by putting itself into a sandbox."""
    assert code_of(chat(api, Origin="null"), 403) == "origin_not_allowed"


def test_the_own_page(api: Api) -> None:
    """It is told by the name the server was called by, or by the browser's word where a proxy changed that name."""
    assert chat(api, Host="127.0.0.1:3030", Origin="http://127.0.0.1:3030").status_code == 200
    assert chat(api, Host="box.local", Origin="https://BOX.local").status_code == 200
    proxied = {"Host": "127.0.0.1:3030", "Origin": PAGE}
    assert chat(api, **proxied, Sec_Fetch_Site="same-origin").status_code == 200
    assert code_of(chat(api, **proxied), 403) == "origin_not_allowed"
    assert code_of(chat(api, Host="127.0.0.1:3030", Origin="http://127.0.0.1:8080"), 403) == "origin_not_allowed"


LOCAL = ["localhost", "LOCALHOST:3030", "127.0.0.1", "192.168.1.5:3030", "[::1]:3030", "a.localhost", "hoshikage"]
LOCAL += ["host.docker.internal:3030", "box.local", "box.home.arpa.", ""]


@pytest.mark.parametrize("host", LOCAL)
def test_names_of_this_machine(api: Api, host: str) -> None:
    """Addresses, and names that nobody can buy: those of containers and of the home network too."""
    assert api.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3030", "127.0.0.1.evil.example", "[::1", "local.evil"])
def test_a_name_that_leads_here(api: Api, make_api: MakeApi, host: str) -> None:
    """DNS rebinding: for the browser it is the attacker's own server. Where keys are set the page has none."""
    for answer in (api.get("/v1/models", headers={"Host": host}), chat(api, Host=host, Origin=f"http://{host}")):
        assert code_of(answer, 403) == "host_not_allowed"
    assert "HOSHIKAGE_CORS_ORIGINS" in answer.json["error"]["message"]
    assert make_api(api_keys="k").get("/v1/models", headers={"Host": host}).status_code == 401


def test_a_proxy_that_keeps_the_name(make_api: MakeApi) -> None:
    """An allowed origin's name is one of the server's own."""
    api = make_api(cors_origins=PAGE)
    assert api.get("/v1/models", headers={"Host": "chat.example.com"}).status_code == 200
    assert chat(api, Host="chat.example.com", Origin=PAGE).status_code == 200
    assert code_of(api.get("/v1/models", headers={"Host": "evil.example"}), 403) == "host_not_allowed"


def test_over_a_unix_socket_any_name_will_do(api: Api) -> None:
    """No browser gets there, and a proxy in front has whatever name it has."""
    for family, status in ((socket.AF_UNIX, 200), (socket.AF_INET, 403)):
        with socket.socket(family) as connection:
            extras = {"gunicorn.socket": connection}
            answer = api.get("/v1/models", headers={"Host": "evil.example"}, extras=extras)
        assert answer.status_code == status


def test_the_setting(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """Origins as people write them; what is none is refused at the start, not found out later."""
    settings = make_settings(tmp_path, cors_origins="https://A.example/ , http://localhost:*,null,app://obsidian.md")
    assert settings.cors_origins == ("https://a.example", "http://localhost:*", "null", "app://obsidian.md")
    for wrong in ("a.example", "https://a.example/chat", "https://*.example", "https://"):
        with pytest.raises(SettingsError, match=r"HOSHIKAGE_CORS_ORIGINS.*://"):
            make_settings(tmp_path, cors_origins=wrong)
