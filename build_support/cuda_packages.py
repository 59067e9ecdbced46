"""NVIDIA's packages on PyPI as a CUDA toolkit in the user's cache: compiler, headers and libraries, all of one version.

third_party/cuda/requirements.txt says which. They unpack into one folder that is laid out as a toolkit is; what they
lack are the names by which a linker looks for libraries, and lib64. There is no stub of the driver's library either.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from .cache import cache_root, file_sha256, locked, published_folder
from .errors import BuildError, raise_if_disk_full, require_free_space, say
from .pip import run_pip
from .source import ROOT

REQUIREMENTS = ROOT / "third_party" / "cuda" / "requirements.txt"
_NEEDED_MIB = 3000
_DOWNLOADING = re.compile(r"Downloading (\S+\.whl.*)")


def packages_version(requirements: Path = REQUIREMENTS) -> tuple[int, int]:
    """Returns the CUDA version of the pinned packages."""
    found = re.search(r"^nvidia-cuda-nvcc==(\d+)\.(\d+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, requirements
    return int(found[1]), int(found[2])


def packages_toolkit(requirements: Path = REQUIREMENTS) -> Path:
    """Returns the toolkit's folder, downloading it unless it is in the cache.

    Raises:
        BuildError: It cannot be had; the reason and a remedy.
    """
    major, minor = packages_version(requirements)
    target = cache_root() / "cuda" / f"{major}.{minor}-{file_sha256(requirements)[:12]}"
    inside = Path("nvidia", f"cu{major}")
    with locked(target):
        if target.exists():
            return target / inside
        require_free_space(target.parent, _NEEDED_MIB)
        say(
            f"CUDA {major}.{minor} のコンパイラとライブラリを PyPI から取得しています (初回のみ、約 0.6 GB)",
            f"fetching the compiler and libraries of CUDA {major}.{minor} from PyPI (this once, about 0.6 GB)",
        )
        with published_folder(target) as draft:
            _install(requirements, draft)
            add_link_names(draft / inside)
    return target / inside


def _install(requirements: Path, target: Path) -> None:
    def show(line: str) -> None:
        if found := _DOWNLOADING.match(line):
            print(f"  {found[1]}", file=sys.stderr, flush=True)

    words = ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off"]
    words += ["--no-compile", "--target", str(target), "--requirement", str(requirements)]
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as temporary:
        reason = run_pip(words, temporary, show)
    if reason is not None:
        raise_if_disk_full(target.parent)
        raise BuildError(
            f"CUDA Toolkit を PyPI から取得できません ({reason})。ネットワークを確かめるか、"
            "CUDA Toolkit 12.4 以降を入れてください。",
            f"The CUDA toolkit cannot be fetched from PyPI ({reason}): check the network, or install "
            "a CUDA toolkit of 12.4 or newer.",
        )


def add_link_names(toolkit: Path) -> None:
    """Adds lib64, and libx.so for each libx.so.13, to what the packages unpacked."""
    for library in sorted(toolkit.glob("lib/lib*.so.*")):
        name = library.with_name(library.name.partition(".so.")[0] + ".so")
        if not name.exists():
            name.symlink_to(library.name)
    if not (toolkit / "lib64").exists():
        (toolkit / "lib64").symlink_to("lib")
