"""The reference programs, llama-bench and llama-server, linked with the very libraries that our module is linked with.

They are kept in the user's cache under a key that holds everything that can change them. Nothing is downloaded but the
pinned sdist, which the build of the module has already left there; llama-server comes without its web page.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import fail
from report import ROOT

# At the end: build_support is found in the checkout, everything that is installed as it was installed.
sys.path.append(str(ROOT))

from build_support.cache import cache_root, locked, published_folder
from build_support.cmake import run_cmake
from build_support.errors import BuildError, require_free_space, say
from build_support.llama import build_llama
from build_support.module import describe_build
from build_support.options import read_options
from build_support.source import ensure_source, members_folder, read_patterns

PROGRAMS = ("llama-bench", "llama-server")
MORE_MEMBERS = (
    "tools/ui/",
    "tools/mtmd/",
    "tools/llama-bench/",
    "tools/server/",
    "vendor/",
    "scripts/ui-assets.cmake",
)
OPTIONS = {
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_SUBPROCESS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_NUMBER": "0",
}
CMAKE_FOLDER = ROOT / "benchmarks" / "peers"
NEEDED_MIB = 400


@dataclass(frozen=True)
class Tools:
    """The built programs, and what they were built from."""

    llama_bench: Path
    llama_server: Path
    description: Mapping[str, object]


def build() -> Tools:
    """Returns the programs, building them unless they are in the cache."""
    try:
        return _build()
    except BuildError as error:
        fail(str(error))


def _build() -> Tools:
    options = read_options()
    source = ensure_source()
    members = members_folder(*read_patterns(), *MORE_MEMBERS)
    llama = build_llama(source, options)
    flags = options.cmake_options() | OPTIONS
    script = hashlib.sha256((CMAKE_FOLDER / "CMakeLists.txt").read_bytes()).hexdigest()
    parts = {"source": members.name, "llama": llama.name, "cmake": flags, "script": script}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    target = cache_root() / "build" / f"oracle-{options.backend}-{digest[:16]}"
    with locked(target):
        if not target.exists():
            require_free_space(target.parent, NEEDED_MIB)
            say(
                f"比較用の llama-bench と llama-server をビルドしています (初回のみ、2 コアで約 3 分): {target}",
                f"building llama-bench and llama-server to compare with (once, about 3 minutes on 2 cores): {target}",
            )
            cuda = "ON" if options.cuda else "OFF"
            places = {"HSK_SOURCE": str(members), "HSK_LLAMA": str(llama), "HSK_CUDA": cuda}
            with published_folder(target) as draft:
                work = draft / "work"
                run_cmake(CMAKE_FOLDER, work, flags | places, options.environment(), targets=PROGRAMS)
                for program in PROGRAMS:
                    shutil.copy2(work / "bin" / program, draft / program)
                shutil.rmtree(work)
    description = describe_build(options, source) | {"llama": llama.name, "cmake_options": flags}
    return Tools(target / PROGRAMS[0], target / PROGRAMS[1], description)
