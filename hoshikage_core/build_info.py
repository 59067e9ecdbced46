"""What this build is: its version, the llama.cpp inside it, and how it was compiled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from hoshikage_core._ffi import call_text, ffi, lib


@dataclass(frozen=True)
class BuildInfo:
    """How the installed library was built, and what its llama.cpp finds on this machine.

    Attributes:
        llama_cpp_commit: The commit of llama.cpp that is linked in.
        llama_cpp_sdist: The file on PyPI its source came out of.
        llama_cpp_sdist_sha256: The hash of that file.
        backend: What it was built for: "cpu" or "cuda".
        backends: The backends compiled in, such as ("CPU",) or ("CUDA", "CPU"); one may find no device here.
        gpus: The GPUs that these backends find here, by their names.
        gpu_problem: Why a backend finds no GPU, in its own words; "" if nothing went wrong.
        cuda_version: The version of CUDA it was compiled with, such as "13.0"; None without CUDA.
        cuda_archs: The compute capabilities it was compiled for, such as ("89-real",).
        cpu_features: The instruction sets the CPU backend uses, such as ("AVX2", "FMA").
        native: Whether it was compiled for the building machine's own CPU (it may then not run on another).
        compiler: The C++ compiler and its version.
        compiler_flags: The flags the environment added, by variable, such as {"CXXFLAGS": "-g"}.
        sanitizers: The sanitizers compiled in; empty in every build for use.
    """

    llama_cpp_commit: str
    llama_cpp_sdist: str
    llama_cpp_sdist_sha256: str
    backend: str
    backends: tuple[str, ...]
    gpus: tuple[str, ...]
    gpu_problem: str
    cuda_version: str | None
    cuda_archs: tuple[str, ...]
    cpu_features: tuple[str, ...]
    native: bool
    compiler: str
    compiler_flags: dict[str, str]
    sanitizers: tuple[str, ...]

    @property
    def version(self) -> str:
        """Hoshikage's version."""
        from importlib.metadata import version  # importing it takes as long as all the rest of the library

        return version("hoshikage")


@cache
def build_info() -> BuildInfo:
    """Returns how this build was made; the answer never changes within a process."""
    baked = json.loads(ffi.string(lib.HSK_BUILD))
    cuda = baked["cuda"] or {"version": None, "archs": ()}
    native = json.loads(call_text(lib.hsk_system_info_get))
    return BuildInfo(
        llama_cpp_commit=native["llama_cpp"]["commit"],
        llama_cpp_sdist=baked["llama_cpp"]["sdist"],
        llama_cpp_sdist_sha256=baked["llama_cpp"]["sha256"],
        backend=baked["backend"],
        backends=tuple(native["backends"]),
        gpus=tuple(native["gpus"]),
        gpu_problem=native["gpu_problem"],
        cuda_version=cuda["version"],
        cuda_archs=tuple(cuda["archs"]),
        cpu_features=tuple(native["cpu_features"]),
        native=baked["native"],
        compiler=baked["compiler"],
        compiler_flags=baked["flags"],
        sanitizers=tuple(baked["sanitize"]),
    )
