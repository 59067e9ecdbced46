"""CMake and Ninja from PyPI: configure, build with visible progress, and say what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .errors import BuildError, raise_if_disk_full


def run_cmake(
    source: Path, work: Path, flags: Mapping[str, str], environment: dict[str, str], targets: tuple[str, ...]
) -> None:
    """Configures `source` into `work` and builds the targets, showing Ninja's progress.

    Raises:
        BuildError: A step failed; what the tools said is on the terminal.
    """
    cmake, ninja = build_tools()
    configure = [str(cmake), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", str(source), "-B", str(work)]
    configure += [f"-D{name}={value}" for name, value in flags.items()]
    build = [str(cmake), "--build", str(work), "--parallel", str(n_jobs()), "--target", *targets]
    work.mkdir(parents=True, exist_ok=True)
    log = work / "configure.log"
    with log.open("wb") as file:
        failed = subprocess.run(configure, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode
    if failed:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
        sys.stderr.flush()
    failed = failed or subprocess.run(build, env=environment).returncode
    if failed:
        for folder in (work, Path(tempfile.gettempdir())):  # compilers put their drafts into the latter
            raise_if_disk_full(folder)
        raise BuildError(
            f"{source.name} のビルドに失敗しました。理由はすぐ上の出力にあります。",
            f"Building {source.name} failed: the output just above says why.",
        )


def build_tools() -> tuple[Path, Path]:
    """Returns the cmake and ninja programs of the PyPI packages of these names."""
    try:
        import cmake
        import ninja
    except ImportError as error:
        raise BuildError(
            f"ビルドに必要な Python パッケージ {error.name} がありません。`make build` を使ってください。",
            f"The Python package {error.name}, needed to build, is missing: use `make build`.",
        ) from error
    # Where pip builds in isolation, ninja does not know its own folder, but it is on the PATH.
    found = shutil.which("ninja", path=f"{ninja.BIN_DIR}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    return Path(cmake.CMAKE_BIN_DIR, "cmake"), Path(found or "ninja")


def n_jobs() -> int:
    """Returns how many compilers may run at once: one a core, and a GiB of free memory for each."""
    if chosen := os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", ""):
        return max(1, int(chosen))
    n_cores = len(os.sched_getaffinity(0))
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return n_cores
    available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return max(1, min(n_cores, int(available.group(1)) // 2**20)) if available else n_cores
