from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from hoshikage_server.app import Deps, build_deps, create_app
from hoshikage_server.settings import Settings, build_settings

FAKE_ENGINE = (sys.executable, str(Path(__file__).resolve().parent.parent / "fakes" / "engine.py"))


class Api:
    """The application with the fake engine, called without a socket."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.client = testing.TestClient(create_app(deps))

    def get(self, path: str, **options: Any) -> testing.Result:
        return self.client.simulate_get(path, **options)

    def post(self, body: object, **options: Any) -> testing.Result:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.simulate_post("/v1/chat/completions", body=data, **options)

    def chat(self, text: str, model: str = "m", **fields: object) -> testing.Result:
        return self.post({"model": model, "messages": [{"role": "user", "content": text}], **fields})

    def stream(self, text: str, **fields: object) -> list[Any]:
        """The events of a stream, decoded; the last is None for [DONE]."""
        result = self.chat(text, stream=True, **fields)
        assert result.status_code == 200, result.text
        assert result.headers["content-type"].startswith("text/event-stream")
        events = result.text.split("\n\n")
        assert events.pop() == ""
        assert all(event.startswith("data: ") for event in events)
        return [None if event == "data: [DONE]" else json.loads(event[6:]) for event in events]


MakeApi = Callable[..., Api]


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Settings]:
    def make(folder: Path, **values: object) -> Settings:
        environ = {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOSHIKAGE_CACHE_DIR": str(folder), "HOSHIKAGE_LANG": "en"}
        return build_settings(environ | {f"HOSHIKAGE_{name.upper()}": str(value) for name, value in values.items()})

    return make


@pytest.fixture(scope="module")
def make_api(tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., Settings]) -> Iterator[MakeApi]:
    made: list[Api] = []

    def make(models: dict[str, Any] | None = None, **settings: object) -> Api:
        folder = tmp_path_factory.mktemp("config")
        names = ("m", "refuse", "die", "a/b:c@d")
        entries = models or {name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in names}
        (folder / "model_map.json").write_text(json.dumps(entries))
        api = Api(build_deps(make_settings(folder, **settings), FAKE_ENGINE))
        made.append(api)
        return api

    yield make
    for api in made:
        api.deps.close()


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    """One application for a whole file."""
    return make_api()
