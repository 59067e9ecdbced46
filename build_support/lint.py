"""Runs clang-tidy over csrc, with the headers of the cached llama.cpp build; several files at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cmake import n_jobs
from .errors import BuildError
from .llama import build_llama
from .module import CSRC
from .options import read_options
from .source import ensure_source


def main() -> int:
    """Returns 1 when clang-tidy found something, after printing it."""
    include = build_llama(ensure_source(), read_options()) / "include"
    flags = ["--", "-std=c++17", f"-I{CSRC}", "-isystem", str(include)]
    tidy = Path(sys.executable).with_name("clang-tidy")

    def check(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(tidy), "--quiet", str(file), *flags], capture_output=True, text=True)

    with ThreadPoolExecutor(n_jobs()) as pool:
        results = list(pool.map(check, sorted(CSRC.glob("*.cpp"))))
    for result in results:
        if result.returncode != 0:
            print(result.stdout + result.stderr)
    return int(any(result.returncode for result in results))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BuildError as error:
        sys.exit(f"error: {error}")
