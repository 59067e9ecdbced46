from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_client import FAKE_ENGINE, Api, MakeApi
from fake_nvml import FakeNvml, build

from hoshikage_server.app import build_deps
from hoshikage_server.settings import LiveSettings, Settings, build_settings


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
        api = Api(build_deps(LiveSettings(make_settings(folder, **settings)), FAKE_ENGINE))
        made.append(api)
        return api

    yield make
    for api in made:
        api.deps.close()


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    """One application for a whole file."""
    return make_api()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver with one idle GPU."""
    state = tmp_path / "nvml.txt"
    monkeypatch.setenv("FAKE_NVML", str(state))
    return FakeNvml(nvml_library, state)


@pytest.fixture
def engine_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the fake engines of a test were told; see tests/fakes/engine.py."""
    path = tmp_path / "engine.log"
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(path))
    path.touch()
    return path
