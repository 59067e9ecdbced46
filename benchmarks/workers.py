"""Candidates without a server: programs that print what they measured, as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import fail
from servers import N_BATCH, N_CTX, Task
from streams import StreamTiming


def work(script: str, job: Mapping[str, object]) -> Any:
    """What one of the worker scripts here tells of a job."""
    return _told([sys.executable, str(Path(__file__).with_name(script)), json.dumps(job)])


def time_worker(script: str, task: Task, repetition: int) -> StreamTiming:
    """One answer by a library."""
    job = {
        "model": str(task.model),
        "messages": task.messages(repetition),
        "n_tokens": task.n_tokens,
        "n_threads": task.n_threads,
        "n_ctx": N_CTX,
        "n_batch": N_BATCH,
    }
    return StreamTiming(**work(script, job))


def llama_bench(tool: Path, model: Path, n_threads: int, *tests: str) -> list[dict[str, Any]]:
    """What llama-bench tells of its tests, each done once; their speeds are `avg_ts`."""
    common = ["-m", str(model), "-t", str(n_threads), "-r", "1", "-o", "json"]
    told: list[dict[str, Any]] = _told([str(tool), *common, *tests])
    return told


def _told(command: Sequence[str]) -> Any:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        fail(f"{command[0]} ended with status {run.returncode}:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout)
