"""CUDA for the build: a toolkit that works here (the system's, else NVIDIA's packages), and the GPUs to compile for."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_root
from .compiler import Compiler, identified
from .cuda_packages import packages_toolkit, packages_version
from .driver import Driver
from .errors import BuildError, explained_os_errors, say

# NVIDIA's own place, with the toolkits beside the one that the link is for, and Arch's.
_USUAL_HOMES = ("/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda")
_LEAST_VERSION = (12, 4)
_LEAST_ARCH_OF_CUDA_13 = 75
# For a machine that nobody has said anything about; with code for 8.0 that a driver can translate for others.
_ARCHS_ELSEWHERE = ("80", "86-real", "89-real", "90-real", "120-real")
_ARCH = re.compile(r"(\d{2,3})[af]?(-real|-virtual)?")
# nvcc refuses a C++ compiler that came after it; distributions have older ones beside their own, with a number.
_REFUSED = re.compile(r"unsupported (?P<kind>\w+) version(!.*? later than (?P<newest>\d+) are not supported)?")
_OLDER_COMPILERS = tuple(f"g++-{version}" for version in range(16, 8, -1))
# All that llama.cpp needs of a toolkit: its compiler with this C++ compiler, headers, and libraries to link with.
_TRIAL = """
#include <cublasLt.h>
#include <cublas_v2.h>
__global__ void kernel() {}
int main() {
    cublasHandle_t handle;
    kernel<<<1, 1>>>();
    return cublasCreate(&handle) + static_cast<int>(cublasLtGetVersion());
}
"""


@dataclass(frozen=True)
class Cuda:
    """A CUDA toolkit, and what it compiles for.

    Attributes:
        root: The toolkit's folder.
        nvcc: Its compiler.
        version: Its version, such as (13, 0).
        archs: Compute capabilities as CMake has them: "89" is code and its portable form, "89-real" code alone.
        host: The C++ compiler that it calls; None: the one that it takes itself.
    """

    root: str
    nvcc: Compiler
    version: tuple[int, int]
    archs: tuple[str, ...]
    host: Compiler | None = None

    @property
    def dotted_version(self) -> str:
        """Its version, such as "13.0"."""
        return _dotted(self.version)

    def cmake_options(self) -> dict[str, str]:
        """Returns the CMake options that name the toolkit."""
        return {"CUDAToolkit_ROOT": self.root, "CMAKE_CUDA_ARCHITECTURES": ";".join(self.archs)}

    def environment(self) -> dict[str, str]:
        """Returns the variables by which CMake takes nvcc, and nvcc the C++ compiler."""
        chosen = {"CUDACXX": shlex.join(self.nvcc.command)}
        return chosen | ({"CUDAHOSTCXX": self.host.command[0]} if self.host else {})


def find_cuda(environ: Mapping[str, str], driver: Driver | None, cxx: Compiler) -> Cuda:
    """Returns a toolkit that works here, with the C++ compiler `cxx` if it can; fetches one where the system has none.

    Raises:
        BuildError: There is none; why, and what to do.
    """
    asked, hosts = _asked_archs(environ), _hosts(environ, cxx)
    if words := shlex.split(environ.get("CUDACXX", "")):  # honoured, never replaced by another one
        return usable(_named_nvcc(words, environ), asked, driver, hosts)
    system = BuildError(
        f"nvcc が CUDA_HOME、PATH、{_USUAL_HOMES[0]} のどこにもありません。",
        f"There is no nvcc in CUDA_HOME, on the PATH or in {_USUAL_HOMES[0]}.",
    )
    for number, nvcc in enumerate(_system_nvccs(environ)):
        try:
            return usable(identified((nvcc,)), asked, driver, hosts)
        except BuildError as error:
            system = system if number else error  # of several, what is wrong with the one that is meant first
    try:
        _require_use_of_packages(driver)
        return usable(identified((str(packages_toolkit() / "bin" / "nvcc"),)), asked, driver, hosts)
    except BuildError as error:
        if error.en == system.en:
            raise
        raise BuildError(system.ja + error.ja, f"{system.en} {error.en}") from error


def _asked_archs(environ: Mapping[str, str]) -> tuple[str, ...]:
    value = environ.get("HOSHIKAGE_CUDA_ARCHS", "")
    archs = tuple(word for word in re.split(r"[;,\s]+", value) if word)
    if wrong := next((arch for arch in archs if not _ARCH.fullmatch(arch)), None):
        raise BuildError(
            f"HOSHIKAGE_CUDA_ARCHS の {wrong} は使えません。89 や 80;86;90 のように書きます。",
            f"HOSHIKAGE_CUDA_ARCHS: {wrong} is not possible; it is written as 89, or 80;86;90.",
        )
    return archs


def _hosts(environ: Mapping[str, str], cxx: Compiler) -> tuple[Compiler | None, ...]:
    """Returns the C++ compilers that nvcc may call, in the order in which they are tried; None: its own choice."""
    for name in ("CUDAHOSTCXX", "NVCC_CCBIN"):  # CMake's and NVIDIA's name for it
        if asked := environ.get(name):
            program, path = ("g++", asked) if os.path.isdir(asked) else (asked, environ.get("PATH"))
            if found := shutil.which(program, path=path):
                return (identified((found,)),)
            raise BuildError(f"{name}={asked} が見つかりません。", f"{name}={asked} was not found.")
    older = (shutil.which(name, path=environ.get("PATH")) for name in _OLDER_COMPILERS)
    own = cxx if len(cxx.command) == 1 else None  # nvcc takes no more than a program
    return (own, *(identified((path,)) for path in older if path))


def _named_nvcc(words: list[str], environ: Mapping[str, str]) -> Compiler:
    if found := shutil.which(words[0], path=environ.get("PATH")):
        return identified((found, *words[1:]))
    raise BuildError(f"CUDACXX={words[0]} が見つかりません。", f"CUDACXX={words[0]} was not found.")


def _system_nvccs(environ: Mapping[str, str]) -> list[str]:
    """Returns all that are there, each once: the first may be a distribution's old one, or too new for the driver."""
    homes = [home for name in ("CUDA_HOME", "CUDA_PATH") if (home := environ.get(name))]
    folders = [*(f"{home}/bin" for home in homes), *environ.get("PATH", os.defpath).split(os.pathsep)]
    for pattern in _USUAL_HOMES:
        folders += (f"{home}/bin" for home in sorted(glob.glob(pattern), key=_version_in, reverse=True))
    found: dict[str, str] = {}
    for folder in folders:
        if path := shutil.which("nvcc", path=folder):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _version_in(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _require_use_of_packages(driver: Driver | None) -> None:
    """Raises where nothing that can be fetched would do: it is much to fetch in vain."""
    version = packages_version()
    if driver is not None and driver.cuda[0] < version[0]:
        raise _too_new(version, driver)
    if driver is not None and max(map(int, driver.archs)) < _LEAST_ARCH_OF_CUDA_13:
        raise BuildError(
            f"この GPU (compute capability {driver.archs[0]}) には CUDA 12 が必要です。"
            "CUDA Toolkit 12.4〜12.9 を入れてください。",
            f"This GPU (compute capability {driver.archs[0]}) needs CUDA 12: install a CUDA toolkit of 12.4 to 12.9.",
        )


def usable(nvcc: Compiler, asked: tuple[str, ...], driver: Driver | None, hosts: tuple[Compiler | None, ...]) -> Cuda:
    """Returns the toolkit of a compiler with what is compiled for.

    Args:
        nvcc: The compiler.
        asked: The architectures that are asked for; none are the machine's own.
        driver: This machine's driver, which must be able to run the result.
        hosts: The C++ compilers it may call: the first that it does not refuse.

    Raises:
        BuildError: It is too old, too new for the driver, lacks a part, or cannot compile for these GPUs.
    """
    root, version = _root(nvcc), _version(nvcc)
    if version < _LEAST_VERSION:
        raise BuildError(
            f"{root} の CUDA Toolkit は {_dotted(version)} です。{_dotted(_LEAST_VERSION)} 以降が必要です。",
            f"The CUDA toolkit in {root} is {_dotted(version)}: {_dotted(_LEAST_VERSION)} or newer is needed.",
        )
    if driver is not None and driver.cuda[0] < version[0]:
        raise _too_new(version, driver)
    archs = _archs(nvcc, version, asked, driver)
    reasons = []
    for host in hosts:
        reason = _tried(root, nvcc, archs[0], host)
        if reason is None:
            return Cuda(root, nvcc, version, archs, host)
        reasons.append(reason)
        if not _REFUSED.search(reason):
            break
    raise _does_not_compile(root, reasons[0])


def _does_not_compile(root: str, reason: str) -> BuildError:
    if refused := _REFUSED.search(reason):
        newest = f"g++-{refused['newest']}" if refused["newest"] and refused["kind"] == "GNU" else "g++"
        return BuildError(
            f"{root} の CUDA Toolkit は、この C++ コンパイラに対応していません ({refused[0]})。"
            f"{newest} を入れるか、対応するコンパイラを CUDAHOSTCXX に指定してください。",
            f"The CUDA toolkit in {root} does not know this C++ compiler ({refused[0]}): install {newest}, or name one "
            "that it knows in CUDAHOSTCXX.",
        )
    return BuildError(
        f"{root} の CUDA Toolkit では小さなプログラムもコンパイルできません ({reason})。",
        f"The CUDA toolkit in {root} cannot compile even a small program ({reason}).",
    )


def _tried(root: str, nvcc: Compiler, arch: str, host: Compiler | None) -> str | None:
    """Returns why the compiler cannot make a program that uses cuBLAS, or None."""
    # A trial takes seconds, and each `make` comes by here: what has worked works.
    tried = hashlib.sha256(repr((root, nvcc, arch, host, _TRIAL)).encode()).hexdigest()[:16]
    mark = cache_root() / "cuda" / f"tried-{tried}"
    if not mark.exists() and (reason := _fails(nvcc, arch, host)):
        return reason
    with explained_os_errors(mark.parent):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return None


def _too_new(version: tuple[int, int], driver: Driver) -> BuildError:
    return BuildError(
        f"CUDA {_dotted(version)} は、CUDA {_dotted(driver.cuda)} までの NVIDIA ドライバでは動きません。"
        f"ドライバを更新するか、CUDA Toolkit {driver.cuda[0]} を入れてください (12.4 以降)。",
        f"CUDA {_dotted(version)} does not run with an NVIDIA driver for CUDA up to {_dotted(driver.cuda)}: "
        f"update the driver, or install a CUDA toolkit {driver.cuda[0]} (12.4 or newer).",
    )


def _archs(nvcc: Compiler, version: tuple[int, int], asked: tuple[str, ...], driver: Driver | None) -> tuple[str, ...]:
    listed = subprocess.run([*nvcc.command, "--list-gpu-arch"], capture_output=True, text=True).stdout
    known = set(re.findall(r"compute_(\d+)", listed))
    own = tuple(f"{arch}-real" for arch in driver.archs) if driver else _ARCHS_ELSEWHERE
    wanted = asked or own
    unknown = [arch for arch in wanted if _number(arch) not in known]
    if unknown and (asked or len(unknown) == len(wanted)):
        is_too_old = int(_number(unknown[0])) > max(map(int, known), default=0)
        raise BuildError(
            f"CUDA {_dotted(version)} の nvcc は compute capability {_number(unknown[0])} に対応していません。"
            f"{'新しい' if is_too_old else '古い'} CUDA Toolkit が必要です。",
            f"nvcc of CUDA {_dotted(version)} cannot compile for compute capability {_number(unknown[0])}: "
            f"{'a newer' if is_too_old else 'an older'} CUDA toolkit can.",
        )
    if unknown:  # one of several GPUs, or of those that are only presumed
        names = ", ".join(map(_number, unknown))
        say(
            f"CUDA {_dotted(version)} は compute capability {names} に対応していないので除きます",
            f"CUDA {_dotted(version)} cannot compile for compute capability {names}, which is left out",
        )
    return tuple(arch for arch in wanted if arch not in unknown)


def _fails(nvcc: Compiler, arch: str, host: Compiler | None) -> str | None:
    # The module is linked with the shared libcudart, and CMake's own trial, as nvcc does it, with the static one.
    words = [f"-arch=sm_{arch.partition('-')[0]}", "-lcudart", "-lcublas", "-lcublasLt", "-o", "trial"]
    if host:
        words += ["-ccbin", host.command[0]]
    with tempfile.TemporaryDirectory(prefix="hoshikage-cuda-") as folder:
        Path(folder, "trial.cu").write_text(_TRIAL, encoding="ascii")
        command = [*nvcc.command, *words, "trial.cu"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|cannot find|unsupported|not found", line)]
    return (telling or lines or [f"exit status {done.returncode}"])[0]


def _root(nvcc: Compiler) -> str:
    """Returns the folder that a compiler takes for its toolkit's: it may be started by a script from elsewhere."""
    done = subprocess.run(
        [*nvcc.command, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True, errors="replace"
    )
    found = re.search(r"^#\$ TOP=(.+)$", done.stderr, re.MULTILINE)
    return os.path.realpath(found[1].strip() if found else Path(nvcc.command[0]).parents[1])


def _version(nvcc: Compiler) -> tuple[int, int]:
    found = re.search(r"release (\d+)\.(\d+)", nvcc.version)
    if not found:
        name = shlex.join(nvcc.command)
        raise BuildError(f"{name} の版が分かりません。", f"{name} does not say its version.")
    return int(found[1]), int(found[2])


def _number(arch: str) -> str:
    found = _ARCH.fullmatch(arch)
    assert found, arch
    return found[1]


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
