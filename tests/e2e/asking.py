"""Commands that ask a model, run as a person does: against a server with the fake engine, or on their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from server_process import ServerProcess

COMMAND = (sys.executable, "-m", "hoshikage_server")


def environment(folder: Path, **environ: str) -> dict[str, str]:
    """That of a person whose files are in a folder; no server is at port 1."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "LC_", "LANG"))}
    clean |= {
        "HOSHIKAGE_CONFIG_DIR": str(folder),
        "HOSHIKAGE_CACHE_DIR": str(folder / "cache"),
        "HOSHIKAGE_PORT": "1",
        "HOSHIKAGE_LANG": "en",
        "HOSHIKAGE_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return clean | environ


def at(server: ServerProcess) -> dict[str, str]:
    return {"HOSHIKAGE_PORT": str(server.port)}


def register(folder: Path, **models: Path | dict[str, Any]) -> None:
    """Writes a model map: a file for each name, or a whole entry."""
    entries = {
        name: value if isinstance(value, dict) else {"path": str(value.parent), "model": value.name}
        for name, value in models.items()
    }
    (folder / "model_map.json").write_text(json.dumps(entries))


def hoshikage(
    folder: Path, *arguments: str, piped: str | bytes = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    data = piped.encode() if isinstance(piped, str) else piped
    run = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(folder, **environ),
        input=data,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(run.args, run.returncode, run.stdout.decode(), run.stderr.decode())


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(folder, **environ),
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
    )
