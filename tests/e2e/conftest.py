from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import FAKE_MODELS, ServerProcess


@pytest.fixture(scope="module")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server with the fake engine for a whole file; tests leave it idle."""
    with ServerProcess(tmp_path_factory.mktemp("server"), FAKE_MODELS) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[object]:
    """Starts servers with settings of a test's own."""
    started: list[ServerProcess] = []

    def start(models: dict[str, dict[str, Any]] = FAKE_MODELS, **settings: object) -> ServerProcess:
        server = ServerProcess(tmp_path / str(len(started)), models, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
