"""The built module: what it shows, what it needs, what it knows about itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hoshikage_core
from build_support import module
from build_support.llama import build_llama
from build_support.options import read_options
from build_support.source import SOURCE, ensure_source, read_pin, source_commit

ROOT = Path(__file__).resolve().parents[2]
MODULE = Path(hoshikage_core.__file__).with_name("_native.abi3.so")


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_one_exported_symbol() -> None:
    """Another llama.cpp or ggml in the same process can neither use ours nor be used by it."""
    exported = [line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", str(MODULE)).splitlines()]
    assert exported == ["PyInit__native"]


def test_linked_libraries() -> None:
    """Only the C and C++ runtimes, and CUDA's where it is built for it, never its driver's: no OpenMP, no OpenSSL."""
    needed = re.findall(r"NEEDED\s+(\S+?)\.so", run("objdump", "--private-headers", str(MODULE)))
    runtimes = {"libstdc++", "libm", "libgcc_s", "libc", "libpthread", "libdl", "librt"}
    of_cuda = {"libcudart", "libcublas", "libcublasLt"} if hoshikage_core.build_info().backend == "cuda" else set()
    assert set(needed) - runtimes - {"ld-linux-x86-64", "ld-linux-aarch64"} == of_cuda


def test_stripped_and_complete() -> None:
    """No debugging symbols, and every hsk_* function that the wrapper calls is inside."""
    listed = subprocess.run(["nm", str(MODULE)], capture_output=True, text=True)
    assert "no symbols" in listed.stderr
    assert not re.search(r"hsk_|llama_|ggml_", run("nm", "--dynamic", "--undefined-only", str(MODULE)))


def test_the_module_knows_its_pin() -> None:
    """build_info() is the pin: a stale module after a bump fails here. The commit comes through llama.cpp itself."""
    info, pin = hoshikage_core.build_info(), read_pin()
    assert (info.llama_cpp_sdist, info.llama_cpp_sdist_sha256) == (pin.file_name, pin.sha256)
    assert info.llama_cpp_commit == source_commit()
    assert re.fullmatch("[0-9a-f]{40}", info.llama_cpp_commit)


def test_build_info_says_how_it_was_built() -> None:
    """Backend, CPU features and compiler are those of this build."""
    info, options = hoshikage_core.build_info(), read_options()
    assert info.version == version("hoshikage")
    assert info.backend == options.backend
    assert "CPU" in info.backends
    assert info.compiler == options.cxx.name
    assert info.native is options.native
    if info.native:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        assert ("AVX2" in info.cpu_features) is bool(re.search(r"\bavx2\b", cpuinfo))


def test_the_version_is_in_one_place() -> None:
    """hoshikage_server/__init__.py has it, nothing else."""
    home = ROOT / "hoshikage_server" / "__init__.py"
    declared = re.search(r'^__version__ = "(.+?)"', home.read_text(encoding="utf-8"), re.MULTILINE)
    assert declared
    assert declared.group(1) == version("hoshikage")
    files = {*ROOT.glob("hoshikage_*/**/*.py"), *ROOT.glob("csrc/*"), ROOT / "setup.py", ROOT / "pyproject.toml"}
    assert [file for file in files - {home} if f'"{declared.group(1)}"' in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("LICENSE", "LICENSE"),
        ("licenses/nlohmann-json", "licenses/LICENSE-jsonhpp"),
        ("licenses/cpp-httplib", "vendor/cpp-httplib/LICENSE"),
    ],
)
def test_the_licences_we_ship_are_those_of_the_pin(ours: str, theirs: str) -> None:
    """A pin that changes a licence text changes ours."""
    assert (SOURCE.parent / ours).read_bytes() == (ensure_source() / theirs).read_bytes()


def test_every_function_of_the_header_is_safe_to_call() -> None:
    """Each hsk_* is noexcept, and whatever can fail returns a status and takes the error last."""
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "csrc" / "hoshikage.h").read_text(encoding="utf-8"), flags=re.DOTALL)
    functions = re.findall(r"^([a-z][^;{}#]*?)\b(hsk_\w+)\(([^)]*)\)([^;]*);", header, re.MULTILINE)
    assert len(functions) > 20
    for returned, name, arguments, suffix in functions:
        assert suffix.strip() == "HSK_NOEXCEPT", name
        if "hsk_error *" in arguments:
            assert returned.strip() == "int32_t", name
            assert arguments.endswith("hsk_error *error"), name


@pytest.mark.slow
def test_the_module_builds_without_pythons_headers(tmp_path: Path) -> None:
    """Debian and Ubuntu keep Python.h in python3-dev; our few declarations of the stable ABI do in its place."""
    include = module.python_include(tmp_path)
    assert include == ROOT / "build_support" / "python_abi3"
    options, source = read_options(), ensure_source()
    wrapper = module.wrapper_text(options, source)
    built = tmp_path / "_native.abi3.so"
    module.compile_module(options, build_llama(source, options), include, wrapper, tmp_path / "work", built)
    script = "from _native import ffi, lib; print(ffi.string(lib.HSK_BUILD).decode(), lib.hsk_thread_count_default())"
    described, n_threads = run_in(tmp_path, script).rsplit(maxsplit=1)
    assert json.loads(described)["backend"] == options.backend
    assert int(n_threads) >= 1


def run_in(folder: Path, script: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {script}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
