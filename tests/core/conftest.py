"""The tiny model and an engine of it, for the tests that need no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoshikage_core import Engine, Model


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Iterator[Model]:
    """Shared by the tests of a file."""
    with Model(tiny_model_path) as model:
        yield model


@pytest.fixture(scope="module")
def engine(model: Model) -> Iterator[Engine]:
    """The same."""
    with model.engine(n_ctx=512) as engine:
        yield engine
