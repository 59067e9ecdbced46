"""What a person can ask for, and the sentence for what cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from build_support.compiler import Compiler
from build_support.cuda import Cuda
from build_support.errors import BuildError
from build_support.llama import llama_key, llama_options
from build_support.options import Options, read_options

ROOT = Path(__file__).resolve().parents[2]
CUDA = Cuda("/opt/cuda", Compiler(("/opt/cuda/bin/nvcc",), "release 13.0"), (13, 0), ("89-real",))


@pytest.fixture
def options() -> Options:
    """The options of a plain build here."""
    return read_options({"PATH": os.environ["PATH"]})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source of two files."""
    (tmp_path / "pin.json").write_text('{"llama_cpp_commit": "abc"}')
    (tmp_path / "a.cpp").write_text("int a;")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("HOSHIKAGE_BACKEND", "rocm", "auto, cpu, cuda"),
        ("HOSHIKAGE_NATIVE", "yes", "1, 0"),
        ("HOSHIKAGE_SANITIZE", "thread", "address,undefined"),
    ],
)
def test_an_unknown_value_names_the_variable_and_the_choices(name: str, value: str, allowed: str) -> None:
    """Nothing is guessed from a misspelt value."""
    with pytest.raises(BuildError, match=f"{name}={value} is not possible: choose one of {allowed}"):
        read_options({"PATH": os.environ["PATH"], name: value})


def test_no_compiler() -> None:
    """The sentence says what to install."""
    with pytest.raises(BuildError, match=r"No C/C\+\+ compiler found .* `sudo apt install g\+\+`"):
        read_options({"PATH": "/nowhere"})


def test_a_compiler_that_was_asked_for_and_is_not_there() -> None:
    """CXX is honoured, never replaced by another one."""
    with pytest.raises(BuildError, match="CXX=g\\+\\+-99"):
        read_options({"PATH": os.environ["PATH"], "CXX": "g++-99"})


def test_cuda_reaches_cmake(options: Options) -> None:
    """GGML_CUDA is on for it alone."""
    assert llama_options(replace(options, cuda=None), "abc")["GGML_CUDA"] == "OFF"
    assert llama_options(replace(options, cuda=CUDA), "abc")["GGML_CUDA"] == "ON"


def test_a_portable_build_names_its_instructions(options: Options) -> None:
    """HOSHIKAGE_NATIVE=0 is x86-64-v3, whatever the building CPU can do, and its key does not depend on that CPU."""
    portable = read_options({"PATH": os.environ["PATH"], "HOSHIKAGE_NATIVE": "0"})
    flags = llama_options(portable, "abc")
    assert flags["GGML_NATIVE"] == "OFF"
    assert portable.cpu == ""
    if os.uname().machine == "x86_64":
        assert {flags[f"GGML_{name}"] for name in ("AVX", "AVX2", "BMI2", "FMA", "F16C", "SSE42")} == {"ON"}
    assert llama_options(options, "abc")["GGML_NATIVE"] == "ON"


def test_llama_cpp_never_asks_the_enclosing_git(options: Options) -> None:
    """Commit and number are said, and git is pointed at nothing."""
    flags = llama_options(options, "abc")
    assert (flags["LLAMA_BUILD_COMMIT"], flags["LLAMA_BUILD_NUMBER"], flags["GIT_EXE"]) == ("abc", "0", "")
    assert options.environment()["GIT_DIR"] == os.devnull


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "another CPU"},
        {"native": False},
        {"cuda": CUDA},
        {"cuda": replace(CUDA, archs=("90-real",))},
        {"sanitize": ("address", "undefined")},
        {"flags": (("CXXFLAGS", "-O1"),)},
        {"cxx": Compiler(("/usr/bin/g++",), "g++ 99.1")},
        {"c": Compiler(("/opt/gcc",), "gcc 12")},
    ],
)
def test_whatever_changes_the_build_changes_its_key(tree: Path, options: Options, change: dict[str, object]) -> None:
    """A cached build is never used for other options, another compiler or another CPU."""
    assert llama_key(tree, replace(options, **change)) != llama_key(tree, options)


def test_the_source_is_part_of_the_key(tree: Path, options: Options) -> None:
    """A changed, an added and a renamed file each change the key; file times do not."""
    keys = [llama_key(tree, options)]
    os.utime(tree / "a.cpp", (0, 0))
    assert llama_key(tree, options) == keys[0]
    (tree / "a.cpp").write_text("int b;")
    keys.append(llama_key(tree, options))
    (tree / "b.cpp").write_text("")
    keys.append(llama_key(tree, options))
    (tree / "b.cpp").rename(tree / "c.cpp")
    keys.append(llama_key(tree, options))
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("environ", "reason"),
    [({"PATH": "/nowhere"}, "No C/C++ compiler found"), ({"HOSHIKAGE_BACKEND": "gpu"}, "HOSHIKAGE_BACKEND=gpu")],
)
def test_setup_says_it_in_one_line(tmp_path: Path, environ: dict[str, str], reason: str) -> None:
    """The real setup.py: one line on stderr and a failing status, no traceback, nothing written."""
    environ = {**os.environ, "HOSHIKAGE_CACHE_DIR": str(tmp_path / "cache"), **environ}
    command = [sys.executable, "setup.py", "--quiet", "build_ext"]
    command += ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
