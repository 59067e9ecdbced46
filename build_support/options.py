"""What a person can choose about the native build, and what the machine adds to it.

HOSHIKAGE_BACKEND   auto (default), cpu or cuda; auto is the CPU until CUDA is supported
HOSHIKAGE_NATIVE    1 (default): for this very CPU; 0: for any x86-64-v3 machine (or the architecture's baseline)
HOSHIKAGE_SANITIZE  empty (default) or address,undefined
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError

_X86_64_V3 = ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C")
_CPU_FIELDS = {"model name", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part"}
_CUDA_HOME = "/usr/local/cuda"
_COMPILER_FLAGS = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDAFLAGS", "CUDAARCHS")


@dataclass(frozen=True)
class Compiler:
    """A C or C++ compiler as CMake will call it.

    Attributes:
        command: The words that start it, the program as a full path.
        version: All that it prints for --version.
    """

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """The first line of its version, for people."""
        return self.version.splitlines()[0]


@dataclass(frozen=True)
class Options:
    """Everything outside the sources that changes the native build."""

    backend: str
    native: bool
    sanitize: tuple[str, ...]
    c: Compiler
    cxx: Compiler
    nvcc: Compiler | None
    flags: tuple[tuple[str, str], ...]
    cpu: str

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
        if self.nvcc:
            chosen["CUDACXX"] = shlex.join(self.nvcc.command)
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
    cxx = _compiler(environ, "CXX", ("g++", "c++", "clang++"))
    return Options(
        backend="cuda" if backend == "cuda" else "cpu",
        native=native,
        sanitize=tuple(sanitize.split(",")) if sanitize else (),
        c=_compiler(environ, "CC", ("gcc", "cc", "clang")),
        cxx=cxx,
        nvcc=_nvcc(environ) if backend == "cuda" else None,
        flags=tuple((name, environ[name]) for name in _COMPILER_FLAGS if environ.get(name)),
        cpu=_cpu_identity() if native else "",
    )


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environ.get(name, "").strip() or allowed[0]
    if value not in allowed:
        names = ", ".join(word for word in allowed if word)
        raise BuildError(
            f"{name}={value} は使えません。使えるのは {names} です。",
            f"{name}={value} is not possible: choose one of {names}.",
        )
    return value


def _compiler(environ: Mapping[str, str], variable: str, usual: tuple[str, ...]) -> Compiler:
    words = tuple(shlex.split(environ.get(variable, "")))
    for name, *rest in [words] if words else [(name,) for name in usual]:
        if found := shutil.which(name, path=environ.get("PATH")):
            return _identified((found, *rest))
    asked = f"{variable}={' '.join(words)}" if words else " / ".join(usual)
    raise BuildError(
        f"C/C++ コンパイラ ({asked}) が見つかりません。Debian・Ubuntu なら `sudo apt install g++` で入ります。",
        f"No C/C++ compiler found ({asked}): on Debian and Ubuntu `sudo apt install g++` installs one.",
    )


def _nvcc(environ: Mapping[str, str]) -> Compiler:
    words = tuple(shlex.split(environ.get("CUDACXX", ""))) or ("nvcc",)
    homes = (environ.get("CUDA_HOME"), environ.get("CUDA_PATH"), _CUDA_HOME)
    folders = [environ.get("PATH", os.defpath), *(f"{home}/bin" for home in homes if home)]
    found = shutil.which(words[0], path=os.pathsep.join(folders))
    if not found:
        raise BuildError(
            f"HOSHIKAGE_BACKEND=cuda には CUDA Toolkit が必要ですが、{words[0]} が見つかりません。"
            "入れるか、HOSHIKAGE_BACKEND=cpu を指定してください。",
            f"HOSHIKAGE_BACKEND=cuda needs the CUDA toolkit, but {words[0]} was not found: "
            "install it, or choose HOSHIKAGE_BACKEND=cpu.",
        )
    return _identified((found, *words[1:]))


def _identified(command: tuple[str, ...]) -> Compiler:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    except OSError as error:
        problem = str(error)
    else:
        if done.returncode == 0 and done.stdout.strip():
            return Compiler(command, done.stdout.strip())
        problem = done.stderr.strip() or f"exit status {done.returncode}"
    raise BuildError(
        f"コンパイラ {shlex.join(command)} が動きません ({problem})。",
        f"The compiler {shlex.join(command)} does not run ({problem}).",
    )


def _cpu_identity() -> str:
    """Returns what the kernel says about the first CPU: model and instruction sets."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in first.splitlines())
    return "\n".join(f"{name.strip()}: {value.strip()}" for name, _, value in lines if name.strip() in _CPU_FIELDS)
