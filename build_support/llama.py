"""llama.cpp as static libraries in the user's cache: configured, built and published once per key.

The key holds everything that can change the result, so a folder that is there is the right one and whole:
`<cache>/build/<key>/` with lib/*.a, include/ and build.json.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from .cache import cache_root, files_sha256, locked, published_folder
from .cmake import run_cmake
from .errors import explained_os_errors, require_free_space, say
from .options import Options
from .source import source_commit

_TARGETS = ("llama-common", "llama", "ggml")
_HEADER_FOLDERS = {"include": "", "ggml/include": "", "common": "", "vendor/nlohmann": "nlohmann"}
_NEEDED_MIB = {"cpu": 300, "cuda": 3000}
_SANITIZED_MIB = 2000
_MINUTES, _CUDA_MINUTES = 3, 14  # on 2 cores; the latter for each GPU architecture


def llama_options(options: Options, commit: str) -> dict[str, str]:
    """Returns the CMake options of the llama.cpp build."""
    off = ("BUILD_TESTS", "BUILD_TOOLS", "BUILD_EXAMPLES", "BUILD_SERVER", "BUILD_APP", "OPENSSL", "SUBPROCESS")
    return {
        **options.cmake_options(),
        **options.instruction_options(),
        **{f"LLAMA_{name}": "OFF" for name in off},
        "LLAMA_BUILD_COMMON": "ON",
        "BUILD_SHARED_LIBS": "OFF",
        "GGML_OPENMP": "OFF",
        "GGML_CCACHE": "OFF",
        "GGML_CUDA": "ON" if options.cuda else "OFF",
        "GGML_CUDA_NO_VMM": "ON",  # its pools of virtual memory would need libcuda, and so a driver, to load the module
        "GGML_CUDA_NCCL": "OFF",  # another library, if it happens to be installed
        "GGML_RPC": "ON",
        "GGML_RPC_RDMA": "OFF",  # else the module would need libibverbs wherever the building machine has it
        # Said here, so that CMake never asks the git repository that happens to enclose the source.
        "LLAMA_BUILD_COMMIT": commit,
        "LLAMA_BUILD_NUMBER": "0",
        "CMAKE_DISABLE_FIND_PACKAGE_Git": "ON",
        "GIT_EXE": "",
    }


def llama_key(source: Path, options: Options) -> str:
    """Returns the name of the build: a digest of the sources, the options, the compilers, the CPU and this script."""
    parts = {
        "source": files_sha256(source, (path for path in source.rglob("*") if path.is_file())),
        "cmake": llama_options(options, source_commit(source)),
        "options": asdict(options),
        "script": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    words = [options.backend, "native" if options.native else "portable", *(["sanitized"] if options.sanitize else [])]
    return "-".join(["llama", *words, digest[:16]])


def build_llama(source: Path, options: Options) -> Path:
    """Returns the folder with the built libraries, building them unless they are in the cache."""
    target = cache_root() / "build" / llama_key(source, options)
    with locked(target):
        if target.exists():
            return target
        require_free_space(target.parent, _SANITIZED_MIB if options.sanitize else _NEEDED_MIB[options.backend])
        _say_what_is_built(options, target)
        # Beside the result and under the same key: what was compiled before a failure or Ctrl-C is not compiled again.
        work = target.with_name(f"{target.name}.work")
        flags = llama_options(options, source_commit(source))
        # Failed assertions name their file: the part that is the same for everyone.
        renamed = f"-ffile-prefix-map={source}=llama.cpp"
        initial = {name: f"{flags.get(name, '')} {renamed}" for name in ("CMAKE_C_FLAGS_INIT", "CMAKE_CXX_FLAGS_INIT")}
        initial["CMAKE_CUDA_FLAGS_INIT"] = f"-Xcompiler={renamed}"
        with explained_os_errors(target.parent):
            run_cmake(source, work, {**flags, **initial}, options.environment(), targets=_TARGETS)
        with published_folder(target) as draft:
            _collect(source, work, draft)
            text = json.dumps({"cmake_options": flags, "commit": source_commit(source)}, indent=2)
            (draft / "build.json").write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(work)
    return target


def _say_what_is_built(options: Options, target: Path) -> None:
    if options.cuda is None:
        say(
            f"llama.cpp をビルドしています (初回のみ、2 コアで約 3 分): {target}",
            f"building llama.cpp (this once, about 3 minutes on 2 cores): {target}",
        )
        return
    minutes = _MINUTES + _CUDA_MINUTES * len(options.cuda.archs)
    what = f"CUDA {options.cuda.dotted_version} ({options.cuda.root}), {';'.join(options.cuda.archs)}"
    say(
        f"llama.cpp を CUDA 用にビルドしています (初回のみ、2 コアで約 {minutes} 分。"
        f"HOSHIKAGE_BACKEND=cpu なら CPU 用): {what}: {target}",
        f"building llama.cpp for CUDA (this once, about {minutes} minutes on 2 cores; HOSHIKAGE_BACKEND=cpu builds for "
        f"the CPU): {what}: {target}",
    )


def _collect(source: Path, work: Path, target: Path) -> None:
    """Takes what csrc needs, so that neither source nor work folder is looked at again."""
    (target / "lib").mkdir()
    for archive in work.rglob("*.a"):
        archive.rename(target / "lib" / archive.name)
    for folder, name in _HEADER_FOLDERS.items():
        for header in (source / folder).rglob("*.h*"):
            place = target / "include" / name / header.relative_to(source / folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(header, place)
