"""pip, as the build uses it: no questions, nothing written outside the given folder, and one line of why it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence


def run_pip(words: Sequence[str], temporary: str, on_line: Callable[[str], None] | None = None) -> str | None:
    """Runs pip and returns why it failed, in its own words, or None.

    Args:
        words: The command and its arguments.
        temporary: Where it may unpack: a folder on the file system whose space was checked.
        on_line: Gets each line that it prints, as it is printed.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    environ = {**os.environ, "TMPDIR": temporary, "PYTHONUNBUFFERED": "1"}
    lines = []
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            if line:
                lines.append(line)
                if on_line is not None:
                    on_line(line)
    if process.returncode == 0:
        return None
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1]
