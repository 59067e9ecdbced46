"""Servers for the clients, shared by all of their tests.

Most questions go to a tiny random model: what is judged is the server, not the wit of a model, and an answer takes
milliseconds. Aborts and faults go to a fake engine, which can be slow and can die on demand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_gguf import TinyModel

# tests/e2e is on the path only when tests of its own run too.
sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from node_clients import NodeClients
from python_clients import AsyncClient, Client, SyncClient
from server_process import FAKE_MODELS, REAL_SERVER, ServerProcess
from shapes import KEY


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Iterator[ServerProcess]:
    """A real server that wants a key, with a tiny model and SmolLM2."""
    folder = tmp_path_factory.mktemp("models")
    TinyModel(n_ctx_train=4096).write(folder / "tiny.gguf")
    models = {
        "tiny": {"path": str(folder), "model": "tiny.gguf"},
        "smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name, "n_ctx": 8192},
    }
    with ServerProcess(
        tmp_path_factory.mktemp("server"), models, command=REAL_SERVER, n_ctx=4096, api_keys=KEY, threads=1
    ) as started:
        yield started


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server around a fake engine, with room for one that waits."""
    # Whoever kills an engine has a model for it: one whose engines die three times in a minute is left alone.
    models = FAKE_MODELS | dict.fromkeys(("mortal", "mortal-node"), FAKE_MODELS["m"])
    with ServerProcess(tmp_path_factory.mktemp("fake"), models, max_queue=1, api_keys=KEY) as started:
        yield started


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeClients:
    """Node with the packages of the lock."""
    return NodeClients(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session", params=[SyncClient, AsyncClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Client]:
    """openai-python, synchronous and asynchronous."""
    made = request.param(server)
    yield made
    made.close()
