"""Who may change the lists of models and personas."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from api_client import Api, MakeApi
from tiny_gguf import TinyModel

from hoshikage_server.api.openapi import operations
from hoshikage_server.api.operations import App
from hoshikage_server.errors import SettingsError
from hoshikage_server.serving import check_exposure
from hoshikage_server.settings import build_settings

# Whatever needs no admin key although it is no GET; what is not listed here has to be declared with admin=True.
FOR_ALL = (
    "/v1/chat/",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/tokenize",
    "/v1/detokenize",
    "/v1/responses",
    "/v1/models/{model_id:path}/",
)
CHANGES = [
    ("POST", "/v1/models", {"id": "new", "path": "x.gguf"}),
    ("PATCH", "/v1/models/m", {"n_ctx": 8}),
    ("DELETE", "/v1/models/m", None),
    ("POST", "/admin/models", {"name": "new", "path": "x.gguf"}),
    ("DELETE", "/admin/models/m", None),
    ("POST", "/admin/reload", {}),
]
ALL = pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=lambda value: str(value)[:20])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TinyModel().write(tmp_path / "x.gguf")
    return tmp_path


def ask(api: Api, method: str, path: str, body: object, key: str | None = None, **headers: str) -> Any:
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body)
    return api.client.simulate_request(method, path, body=data, headers=headers)


def code(result: Any) -> tuple[int, str]:
    return result.status_code, result.json["error"]["code"]


@ALL
def test_with_keys(make_api: MakeApi, folder: Path, method: str, path: str, body: object) -> None:
    """None: 401. A plain one: 403, which says what to set. An admin key: it is done."""
    api = make_api(api_keys="plain", admin_keys="chief,deputy", models_dir=folder)
    before = api.deps.settings.now.model_map.read_bytes()
    assert ask(api, method, path, body).status_code == 401
    assert code(ask(api, method, path, body, "wrong")) == (401, "invalid_api_key")
    refused = ask(api, method, path, body, "plain")
    assert code(refused) == (403, "admin_key_required")
    assert "HOSHIKAGE_ADMIN_KEYS" in refused.json["error"]["message"]
    assert api.deps.settings.now.model_map.read_bytes() == before
    assert ask(api, method, path, body, "deputy").status_code in (200, 201)


@ALL
@pytest.mark.parametrize(("keys", "key"), [({"api_keys": "plain"}, "plain"), ({"admin_keys": "chief"}, None)])
def test_with_keys_of_one_kind(
    make_api: MakeApi, folder: Path, method: str, path: str, body: object, keys: dict[str, str], key: str | None
) -> None:
    """API keys alone let nobody change anything; admin keys alone are keys that everybody needs."""
    api = make_api(models_dir=folder, **keys)
    assert ask(api, method, path, body, key).status_code == (403 if key else 401)
    if key is None:
        assert ask(api, "GET", "/v1/models", None).status_code == 401
        assert ask(api, method, path, body, "chief").status_code in (200, 201)


@ALL
def test_without_keys(make_api: MakeApi, folder: Path, method: str, path: str, body: object) -> None:
    """Who is on this machine may; pages of other sites, which come from it too, may not."""
    api = make_api(models_dir=folder)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert code(ask(api, method, path, body, **headers)) == (403, "origin_not_allowed")
    assert code(ask(api, method, path, body, Host="evil.example")) == (403, "host_not_allowed")
    assert ask(api, method, path, body).status_code in (200, 201)


def test_an_admin_key_is_an_api_key(make_api: MakeApi) -> None:
    """For all else it is as good as another."""
    api = make_api(api_keys="plain", admin_keys="chief")
    for key in ("plain", "chief"):
        assert ask(api, "GET", "/v1/models", None, key).status_code == 200


def test_nothing_is_forgotten(api: Api) -> None:
    """Every request that is no question needs an admin key."""
    app = api.client.app
    assert isinstance(app, App)
    for path, verb, _, one in operations(app.resources):
        if verb != "get" and not path.startswith(FOR_ALL):
            assert one.admin, (verb, path)
        if one.admin:
            assert verb != "get"


def test_keys_are_not_shown(caplog: pytest.LogCaptureFixture, make_api: MakeApi, tmp_path: Path) -> None:
    """Neither by the settings nor in the log."""
    settings = build_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_ADMIN_KEYS": "secret, other"})
    assert settings.admin_keys == ("secret", "other")
    assert settings.public()["admin_keys"] == ["***", "***"]
    assert "secret" not in str(settings.public())
    api = make_api(admin_keys="secret")
    with caplog.at_level(logging.DEBUG):
        ask(api, "DELETE", "/v1/models/nobody", None, "secret")
        ask(api, "DELETE", "/v1/models/nobody", None, "secreT")
    assert "secret" not in caplog.text
    assert "secreT" not in caplog.text


def test_admin_keys_are_keys_for_listening_too(tmp_path: Path) -> None:
    """A server with them may be reached from elsewhere."""
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path)}
    check_exposure("0.0.0.0", build_settings(environ | {"HOSHIKAGE_ADMIN_KEYS": "k"}))
    with pytest.raises(SettingsError):
        check_exposure("0.0.0.0", build_settings(environ))


def test_models_dir(tmp_path: Path) -> None:
    """Folders with colons between; a list in the file, where a name may have a colon in it."""
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path)}
    assert build_settings(environ).models_dir == (Path.home() / Path(".local/share/hoshikage/models"),)
    assert build_settings(environ | {"XDG_DATA_HOME": "/data"}).models_dir == (Path("/data/hoshikage/models"),)
    environ["HOSHIKAGE_MODELS_DIR"] = "/a:~/b::/a"
    assert build_settings(environ).models_dir == (Path("/a"), Path.home() / "b")
    del environ["HOSHIKAGE_MODELS_DIR"]
    (tmp_path / "hoshikage.toml").write_text('models_dir = ["/a:b", "/c"]')
    assert build_settings(environ).models_dir == (Path("/a:b"), Path("/c"))
    (tmp_path / "hoshikage.toml").write_text("models_dir = [1]")
    with pytest.raises(SettingsError, match=r"models_dir.*folders"):
        build_settings(environ)
