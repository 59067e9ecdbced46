"""Compilers: which one is meant, and what it says of itself."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import BuildError


@dataclass(frozen=True)
class Compiler:
    """A C, C++ or CUDA compiler as CMake will call it.

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


def c_compiler(environ: Mapping[str, str]) -> Compiler:
    """Returns the C compiler that CC names, else the first of the usual ones."""
    return _found(environ, "CC", ("gcc", "cc", "clang"))


def cxx_compiler(environ: Mapping[str, str]) -> Compiler:
    """Returns the C++ compiler that CXX names, else the first of the usual ones."""
    return _found(environ, "CXX", ("g++", "c++", "clang++"))


def _found(environ: Mapping[str, str], variable: str, usual: tuple[str, ...]) -> Compiler:
    words = tuple(shlex.split(environ.get(variable, "")))
    for name, *rest in [words] if words else [(name,) for name in usual]:
        if found := shutil.which(name, path=environ.get("PATH")):
            return identified((found, *rest))
    asked = f"{variable}={' '.join(words)}" if words else " / ".join(usual)
    raise BuildError(
        f"C/C++ コンパイラ ({asked}) が見つかりません。Debian・Ubuntu なら `sudo apt install g++` で入ります。",
        f"No C/C++ compiler found ({asked}): on Debian and Ubuntu `sudo apt install g++` installs one.",
    )


def identified(command: tuple[str, ...]) -> Compiler:
    """Returns the compiler that a command starts, having asked it for its version."""
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
