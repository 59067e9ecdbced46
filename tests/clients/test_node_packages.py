"""The Node clients come from a lock that names no registry, and their absence is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import node_clients
import pytest
from node_clients import FOLDER, NpmError


def test_the_lock() -> None:
    """Exact versions and a hash for each package, and no address that it would have to come from."""
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert all(packages[f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not [name for name, package in packages.items() if "resolved" in package]


def test_a_registry_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What npm says is told, and a half-made folder is not taken for a whole one."""
    monkeypatch.setenv("HOSHIKAGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    for _ in range(2):
        with pytest.raises(NpmError, match=r"npm ci failed .* within reach\?(.|\n)*ECONNREFUSED"):
            node_clients.packages()


def test_a_lock_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """package.json and the lock must say the same."""
    folder = tmp_path / "node"
    shutil.copytree(FOLDER, folder)
    package = json.loads((folder / "package.json").read_text())
    package["dependencies"]["openai"] = "7.0.0"
    (folder / "package.json").write_text(json.dumps(package))
    monkeypatch.setattr(node_clients, "FOLDER", folder)
    monkeypatch.setenv("HOSHIKAGE_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(NpmError, match="in sync"):
        node_clients.packages()
