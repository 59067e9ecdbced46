"""Where the module finds CUDA's libraries, and what is said when it does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_cuda import write_library, write_toolkit

from build_support.cmake import run_cmake
from build_support.options import read_options
from hoshikage_core._cuda import explained
from hoshikage_server.doctor import machine

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("libcudart", "libcublas", "libcublasLt")
PROJECT = f"""
cmake_minimum_required(VERSION 3.22)
project(module LANGUAGES C CXX)
option(HSK_NATIVE "" ON)
file(WRITE ${{CMAKE_BINARY_DIR}}/module.c "int module(void) {{ return 0; }}")
add_library(_native MODULE ${{CMAKE_BINARY_DIR}}/module.c)
include({ROOT}/csrc/cuda.cmake)
"""


def toolkit(root: Path, version: str) -> Path:
    """A toolkit as CMake wants to see one, with libraries that are empty."""
    major = version.partition(".")[0]
    write_toolkit(root, version)
    (root / "include").mkdir()
    for header in ("cuda.h", "cuda_runtime.h", "cublas_v2.h"):
        (root / "include" / header).write_text(f"#define CUDA_VERSION {major}000\n")
    for name in LIBRARIES:
        write_library(root / "lib64" / f"{name}.so.{major}", "")
        (root / "lib64" / f"{name}.so").symlink_to(f"{name}.so.{major}")
    return root


def loads(module: Path) -> bool:
    environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    command = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(module)!r})"]
    return subprocess.run(command, env=environ, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("version", "folders"),
    [
        ("98.0", dict.fromkeys(LIBRARIES, "cu98/lib")),
        ("9.0", {"libcudart": "cuda_runtime/lib", "libcublas": "cublas/lib", "libcublasLt": "cublas/lib"}),
    ],
)
def test_where_libraries_are_found(tmp_path: Path, version: str, folders: dict[str, str]) -> None:
    """A build for this machine takes the toolkit's, any build NVIDIA's packages beside it; it names no other place."""
    major = version.partition(".")[0]
    root = toolkit(tmp_path / "toolkit", version)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "CMakeLists.txt").write_text(PROJECT)
    packages = tmp_path / "site-packages"
    built = {}
    for native in ("ON", "OFF"):
        flags = {"CUDAToolkit_ROOT": str(root), "HSK_NATIVE": native, "CMAKE_BUILD_TYPE": "Release"}
        work = tmp_path / f"work-{native}"
        environ = read_options({"PATH": os.environ["PATH"], "HOSHIKAGE_BACKEND": "cpu"}).environment()
        run_cmake(tmp_path / "project", work, flags, environ, ("_native",))
        built[native] = packages / "hoshikage_core" / f"{native}.so"
        built[native].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(work.glob("*_native.so")), built[native])
    assert (loads(built["ON"]), loads(built["OFF"])) == (True, False)
    for name, folder in folders.items():
        place = packages / "nvidia" / folder
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "lib64" / f"{name}.so.{major}", place)
    assert loads(built["OFF"])
    shutil.rmtree(root)
    assert loads(built["ON"])
    assert str(tmp_path).encode() not in built["OFF"].read_bytes()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """hoshikage_core with a module that wants a library which is not there any more."""
    folder = tmp_path / "hoshikage_core"
    shutil.copytree(ROOT / "hoshikage_core", folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    library = write_library(tmp_path / "libcublas.so.99", "")
    write_library(folder / "_native.abi3.so", "", "-Wl,--no-as-needed", str(library))
    library.unlink()
    return tmp_path


def test_a_missing_library_has_a_remedy(package: Path) -> None:
    """import hoshikage_core says which library, and what to type in a checkout and elsewhere."""
    command = [sys.executable, "-c", "import hoshikage_core"]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: libcublas.so.99 was not found: hoshikage was built for CUDA 99. In a checkout, `make build` gets "
        "what is missing; for an installed package, `pip install 'nvidia-cuda-runtime==99.*' 'nvidia-cublas==99.*'` "
        "does. HOSHIKAGE_BACKEND=cpu builds without CUDA."
    )
    assert "During handling" not in done.stderr


def test_the_doctor_recognises_it(package: Path) -> None:
    """The real probe with that package: an error that names the library, with the command that mends it."""

    def ask(what: str) -> dict[str, object]:
        command = [sys.executable, "-m", "hoshikage_server.doctor.probe", what]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=package, env=environ, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    (finding,) = machine.backend(ask)
    assert (finding.status, finding.fix) == ("error", "make build")
    assert "libcublas.so.99" in finding.what.text("en")


def test_other_failures_stay_as_they_are() -> None:
    """Only a missing library of CUDA is explained; before CUDA 13 its packages have other names."""
    other = ImportError("_native.abi3.so: undefined symbol: x")
    assert explained(other) is other
    old = explained(ImportError("libcudart.so.12: cannot open shared object file: No such file or directory"))
    assert "pip install nvidia-cuda-runtime-cu12 nvidia-cublas-cu12" in str(old)


def test_a_command_says_it_in_one_sentence(package: Path) -> None:
    """hoshikage run without a server needs the module: no traceback."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HOSHIKAGE_LANG": "en", "HOSHIKAGE_CONFIG_DIR": str(package)}
    command = [sys.executable, "-m", "hoshikage_server", "run", "--local", "hello"]
    done = subprocess.run(command, cwd=package, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("hoshikage: The backend cannot be loaded: libcublas.so.99 was not found")
    assert done.stderr.count("\n") == 1
