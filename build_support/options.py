"""What a person can choose about the native build, and what the machine adds to it.

HOSHIKAGE_BACKEND     auto (default), cpu or cuda; auto is cuda where there is an NVIDIA driver with a GPU
HOSHIKAGE_CUDA_ARCHS  what CUDA compiles for, such as 80;86;89; by default this machine's GPUs
HOSHIKAGE_NATIVE      1 (default): for this very machine; 0: for any x86-64-v3 one (or the architecture's baseline)
HOSHIKAGE_SANITIZE    empty (default) or address,undefined; the CPU only
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .compiler import Compiler, c_compiler, cxx_compiler
from .cuda import Cuda, find_cuda
from .driver import find_driver
from .errors import BuildError, say

_X86_64_V3 = ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C")
_CPU_FIELDS = {"model name", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part"}
_COMPILER_FLAGS = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDAFLAGS", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")


@dataclass(frozen=True)
class Options:
    """Everything outside the sources that changes the native build."""

    native: bool
    sanitize: tuple[str, ...]
    c: Compiler
    cxx: Compiler
    cuda: Cuda | None
    flags: tuple[tuple[str, str], ...]
    cpu: str

    @property
    def backend(self) -> str:
        """What computes: "cpu", or "cuda" (and the CPU)."""
        return "cuda" if self.cuda else "cpu"

    @property
    def build_type(self) -> str:
        """CMake's build type."""
        return "RelWithDebInfo" if self.sanitize else "Release"

    def cmake_options(self) -> dict[str, str]:
        """Returns the CMake options that both llama.cpp and csrc are configured with."""
        options = {
            "CMAKE_BUILD_TYPE": self.build_type,
            "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
            "CMAKE_C_VISIBILITY_PRESET": "hidden",
            "CMAKE_CXX_VISIBILITY_PRESET": "hidden",
            "CMAKE_VISIBILITY_INLINES_HIDDEN": "ON",
        }
        if self.cuda:
            options |= self.cuda.cmake_options()
        if self.sanitize:
            flags = f"-fsanitize={','.join(self.sanitize)} -fno-omit-frame-pointer"
            options |= {"CMAKE_C_FLAGS_INIT": flags, "CMAKE_CXX_FLAGS_INIT": flags}
            options |= {f"CMAKE_{language}_FLAGS_RELWITHDEBINFO": "-O1 -g1" for language in ("C", "CXX")}
        return options

    def instruction_options(self) -> dict[str, str]:
        """Returns ggml's options for the instructions the CPU backend may use."""
        options = {"GGML_NATIVE": "ON" if self.native else "OFF"}
        if platform.machine() in {"x86_64", "AMD64"}:
            value = "OFF" if self.native else "ON"
            options |= {f"GGML_{name}": value for name in _X86_64_V3}
        return options

    def environment(self) -> dict[str, str]:
        """Returns the environment for CMake: the chosen compilers, and no git repository to mistake for llama.cpp's."""
        chosen = {"CC": shlex.join(self.c.command), "CXX": shlex.join(self.cxx.command), "GIT_DIR": os.devnull}
        if self.cuda:
            chosen |= self.cuda.environment()
        return {**os.environ, **chosen}


def read_options(environ: Mapping[str, str] | None = None) -> Options:
    """Returns the options that the environment and this machine ask for.

    Raises:
        BuildError: A variable has a value that does not exist, or a compiler is missing.
    """
    environ = os.environ if environ is None else environ
    backend = _choice(environ, "HOSHIKAGE_BACKEND", ("auto", "cpu", "cuda"))
    native = _choice(environ, "HOSHIKAGE_NATIVE", ("1", "0")) == "1"
    sanitize = _choice(environ, "HOSHIKAGE_SANITIZE", ("", "address,undefined"))
    if sanitize and backend == "cuda":
        raise BuildError(
            "HOSHIKAGE_SANITIZE は HOSHIKAGE_BACKEND=cpu でだけ使えます。",
            "HOSHIKAGE_SANITIZE is possible with HOSHIKAGE_BACKEND=cpu only.",
        )
    cxx = cxx_compiler(environ)
    return Options(
        native=native,
        sanitize=tuple(sanitize.split(",")) if sanitize else (),
        c=c_compiler(environ),
        cxx=cxx,
        cuda=_cuda(environ, "cpu" if sanitize else backend, cxx),
        flags=tuple((name, environ[name]) for name in _COMPILER_FLAGS if environ.get(name)),
        cpu=_cpu_identity() if native else "",
    )


def _cuda(environ: Mapping[str, str], backend: str, cxx: Compiler) -> Cuda | None:
    driver = None if backend == "cpu" else find_driver(environ)
    if backend == "cpu" or (backend == "auto" and driver is None):
        return None
    try:
        return find_cuda(environ, driver, cxx)
    except BuildError as error:
        if backend == "cuda":
            raise BuildError(
                f"CUDA 用にはビルドできません。{error.ja}HOSHIKAGE_BACKEND=cpu なら CPU 用にビルドします。",
                f"Cannot build for CUDA. {error.en} HOSHIKAGE_BACKEND=cpu builds for the CPU.",
            ) from error
        say(
            f"GPU がありますが CPU 用にビルドします。{error.ja}",
            f"there is a GPU, but this builds for the CPU. {error.en}",
        )
        return None


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environ.get(name, "").strip() or allowed[0]
    if value not in allowed:
        names = ", ".join(word for word in allowed if word)
        raise BuildError(
            f"{name}={value} は使えません。使えるのは {names} です。",
            f"{name}={value} is not possible: choose one of {names}.",
        )
    return value


def _cpu_identity() -> str:
    """Returns what the kernel says about the first CPU: model and instruction sets."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in first.splitlines())
    return "\n".join(f"{name.strip()}: {value.strip()}" for name, _, value in lines if name.strip() in _CPU_FIELDS)
