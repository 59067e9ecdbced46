"""What the build's own tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that the code under test takes for the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HOSHIKAGE_CACHE_DIR", str(folder))
    return folder
