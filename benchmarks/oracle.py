"""The reference programs, llama-bench and llama-server, built from the pinned source exactly as our module is.

They are kept in the user's cache under a key that holds everything that can change them. Nothing is downloaded but the
pinned sdist, which the build of the module has already left there; llama-server comes without its web page.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from common import fail
from report import ROOT

# At the end: build_support is found in the checkout, everything that is installed as it was installed.
sys.path.append(str(ROOT))

from build_support.cache import cache_root, locked, published_folder
from build_support.cmake import run_cmake
from build_support.errors import BuildError, require_free_space, say
from build_support.llama import llama_options
from build_support.module import describe_build
from build_support.options import read_options
from build_support.source import ensure_source, members_folder, read_patterns, source_commit

PROGRAMS = ("llama-bench", "llama-server")
MORE_MEMBERS = ("tools/", "vendor/", "scripts/ui-assets.cmake")
MORE_OPTIONS = {
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
NEEDED_MIB = 700


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
    flags = llama_options(options, source_commit(source)) | MORE_OPTIONS
    parts = {"source": members.name, "cmake": flags, "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    target = cache_root() / "build" / f"oracle-{options.backend}-{digest[:16]}"
    with locked(target):
        if not target.exists():
            require_free_space(target.parent, NEEDED_MIB)
            say(
                f"比較用の llama-bench と llama-server をビルドしています (初回のみ、2 コアで約 5 分): {target}",
                f"building llama-bench and llama-server to compare with (once, about 5 minutes on 2 cores): {target}",
            )
            with published_folder(target) as draft:
                work = draft / "work"
                run_cmake(members, work, flags, options.environment(), targets=PROGRAMS)
                for program in PROGRAMS:
                    shutil.copy2(work / "bin" / program, draft / program)
                shutil.rmtree(work)
    description = describe_build(options, source) | {"cmake_options": flags}
    return Tools(target / PROGRAMS[0], target / PROGRAMS[1], description)
