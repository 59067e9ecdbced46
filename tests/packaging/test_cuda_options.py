"""When the build is for CUDA, with what, and what it says when it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_cuda import environment, write_driver, write_toolkit

from build_support import cuda, cuda_packages
from build_support import driver as driver_module
from build_support.driver import Driver, find_driver
from build_support.errors import BuildError
from build_support.llama import llama_options
from build_support.options import read_options


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(autouse=True)
def nothing_but_the_fakes(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What happens to be installed here is not found, and nothing is fetched."""
    monkeypatch.setattr(cuda, "_USUAL_HOMES", (str(tmp_path / "cuda"), str(tmp_path / "cuda-*")))
    monkeypatch.setattr(cuda, "packages_toolkit", lambda: pytest.fail("fetched"))
    for name in ("_KERNEL_FILE", "_DEVICE_FILE"):
        monkeypatch.setattr(driver_module, name, tmp_path / name)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"FAKE_ARCHS": "89", "FAKE_CUDA": "12040"}, Driver((12, 4), ("89",))),
        ({"FAKE_ARCHS": "89,120,89", "FAKE_CUDA": "13010"}, Driver((13, 1), ("89", "120"))),
    ],
)
def test_the_driver(driver: Path, variables: dict[str, str], expected: Driver | None) -> None:
    """A driver without a GPU is none; of several GPUs each kind counts once."""
    assert find_driver(environment(driver, **variables)) == expected


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"FAKE_INIT": "803"}, "CUDA_ERROR_FAKE (803)"),
        ({"FAKE_CRASH": "1"}, "exit status -6"),
        ({"FAKE_HANG": "1"}, "no answer in 0.5 s"),
    ],
)
def test_a_broken_driver(
    driver: Path, variables: dict[str, str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It neither ends nor delays the build, which says what it found."""
    limit_s = 0.5 if "FAKE_HANG" in variables else 20.0
    assert find_driver(environment(driver, FAKE_ARCHS="89", **variables), limit_s) is None
    assert f"driver does not work ({reason}): see what `nvidia-smi` says" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("files", "variables", "words"),
    [
        (["_KERNEL_FILE", "_DEVICE_FILE"], {"LD_LIBRARY_PATH": ""}, "install libcuda1 (Debian)"),
        (["_KERNEL_FILE"], {"LD_LIBRARY_PATH": ""}, "a container has to be started with `--gpus all`"),
        (["_KERNEL_FILE", "_DEVICE_FILE"], {}, "no GPU that can be used: see what `nvidia-smi` says (with MIG"),
        (["_KERNEL_FILE", "_DEVICE_FILE"], {"CUDA_VISIBLE_DEVICES": ""}, ""),
        ([], {"LD_LIBRARY_PATH": ""}, ""),
    ],
)
def test_a_driver_that_is_not_all_there(
    driver: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    files: list[str],
    variables: dict[str, str],
    words: str,
) -> None:
    """Whoever has a GPU is told in one line why the build is for the CPU; nobody who has none, or hides it."""
    for name in files:
        (tmp_path / name).touch()
    assert read_options({**environment(driver), **variables}).backend == "cpu"
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == (1 if words else 0)
    assert words in "".join(lines)


def test_auto_without_a_gpu_is_the_cpu(driver: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An nvcc alone is no reason to build for CUDA, and nothing is said."""
    nvcc = write_toolkit(tmp_path / "toolkit")
    options = read_options(environment(driver, CUDA_HOME=str(nvcc.parents[1])))
    assert (options.backend, options.cuda) == ("cpu", None)
    assert capfd.readouterr().err == ""


def test_auto_with_a_gpu_is_cuda_for_that_gpu(driver: Path, tmp_path: Path) -> None:
    """The system's toolkit and the machine's own architectures reach CMake."""
    nvcc = write_toolkit(tmp_path / "toolkit", "12.8")
    options = read_options(environment(driver, FAKE_ARCHS="89,90", FAKE_CUDA="12080", CUDA_HOME=str(nvcc.parents[1])))
    assert options.backend == "cuda"
    flags = llama_options(options, "abc")
    assert (flags["GGML_CUDA"], flags["GGML_CUDA_NO_VMM"], flags["GGML_CUDA_NCCL"]) == ("ON", "ON", "OFF")
    assert flags["CMAKE_CUDA_ARCHITECTURES"] == "89-real;90-real"
    assert flags["CUDAToolkit_ROOT"] == str(tmp_path / "toolkit")
    chosen = options.environment()
    assert (chosen["CUDACXX"], chosen["CUDAHOSTCXX"]) == (str(nvcc), options.cxx.command[0])


def test_flags_that_reach_nvcc_tell_builds_apart(driver: Path, tmp_path: Path) -> None:
    """CUDAARCHS does not: HOSHIKAGE_CUDA_ARCHS or the GPUs say what is compiled for."""
    nvcc = write_toolkit(tmp_path / "toolkit", "12.8")
    machine = environment(driver, FAKE_ARCHS="89", FAKE_CUDA="12080", CUDA_HOME=str(nvcc.parents[1]))
    plain = read_options(machine)
    assert read_options({**machine, "NVCC_APPEND_FLAGS": "-lineinfo"}) != plain
    assert plain.cuda
    assert read_options({**machine, "CUDAARCHS": "75"}) == plain


def test_cpu_is_the_cpu(driver: Path, tmp_path: Path) -> None:
    """HOSHIKAGE_BACKEND=cpu does not even look, and sanitizers are for the CPU."""
    nvcc = write_toolkit(tmp_path / "toolkit")
    machine = environment(driver, FAKE_ARCHS="89", FAKE_CUDA="13000", CUDA_HOME=str(nvcc.parents[1]))
    assert read_options({**machine, "HOSHIKAGE_BACKEND": "cpu", "FAKE_HANG": "1"}).backend == "cpu"
    sanitized = {**machine, "HOSHIKAGE_SANITIZE": "address,undefined"}
    assert read_options(sanitized).backend == "cpu"
    with pytest.raises(BuildError, match="HOSHIKAGE_SANITIZE is possible with HOSHIKAGE_BACKEND=cpu only"):
        read_options({**sanitized, "HOSHIKAGE_BACKEND": "cuda"})


@pytest.mark.parametrize(
    ("asked", "archs"),
    [
        ("80;86;89", ("80", "86", "89")),
        ("89-real 90a-virtual", ("89-real", "90a-virtual")),
        ("", ("80", "86-real", "89-real", "90-real", "120-real")),
    ],
)
def test_asked_for_without_a_gpu(driver: Path, tmp_path: Path, asked: str, archs: tuple[str, ...]) -> None:
    """A wheel may be built anywhere: for what is asked for, else for a list of usual GPUs."""
    nvcc = write_toolkit(tmp_path / "toolkit")
    machine = environment(driver, CUDA_HOME=str(nvcc.parents[1]), HOSHIKAGE_BACKEND="cuda", HOSHIKAGE_CUDA_ARCHS=asked)
    found = read_options(machine).cuda
    assert found is not None
    assert found.archs == archs


def test_a_gpu_that_the_toolkit_is_too_old_for(driver: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One of several is left out, and named; presumed ones too."""
    nvcc = write_toolkit(tmp_path / "toolkit", "12.4", archs="75 89")
    machine = environment(driver, FAKE_ARCHS="89,120", FAKE_CUDA="12080", CUDA_HOME=str(nvcc.parents[1]))
    found = read_options(machine).cuda
    assert found is not None
    assert found.archs == ("89-real",)
    assert "CUDA 12.4 cannot compile for compute capability 120, which is left out" in capfd.readouterr().err


def refusal(machine: dict[str, str]) -> str:
    with pytest.raises(BuildError) as caught:
        read_options({**machine, "HOSHIKAGE_BACKEND": "cuda"})
    assert "\n" not in str(caught.value)
    return caught.value.en


@pytest.mark.parametrize("asked", ["8.9", "sm_89", "native", "89;;x"])
def test_an_architecture_that_is_none(driver: Path, asked: str) -> None:
    """The sentence shows how it is written."""
    assert "it is written as 89, or 80;86;90" in refusal(environment(driver, HOSHIKAGE_CUDA_ARCHS=asked))


@pytest.mark.parametrize(
    ("toolkit", "variables", "reason"),
    [
        ({"version": "12.3"}, {}, "is 12.3: 12.4 or newer is needed."),
        (
            {"lacks": "cublas_v2.h"},
            {},
            "cannot compile even a small program (trial.cu:2: fatal error: cublas_v2.h",
        ),
        ({}, {"HOSHIKAGE_CUDA_ARCHS": "50"}, "cannot compile for compute capability 50: an older CUDA toolkit can."),
        ({}, {"FAKE_ARCHS": "200"}, "nvcc of CUDA 13.0 cannot compile for compute capability 200: a newer"),
        (
            {"knows": "g++-13"},
            {},
            "does not know this C++ compiler (unsupported GNU version! gcc versions later than 13 are not supported): "
            "install g++-13, or name one that it knows in CUDAHOSTCXX.",
        ),
        (
            {},
            {"FAKE_CUDA": "12040"},
            "CUDA 13.0 does not run with an NVIDIA driver for CUDA up to 12.4: update the",
        ),
    ],
)
def test_a_toolkit_that_will_not_do(
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    toolkit: dict[str, str],
    variables: dict[str, str],
    reason: str,
) -> None:
    """Asked for, the build stops and says why; auto says it in one line and builds for the CPU."""

    def offline() -> Path:
        raise BuildError("取得できません。", "Cannot fetch the packages: check the network.")

    monkeypatch.setattr(cuda, "packages_toolkit", offline)
    nvcc = write_toolkit(tmp_path / "toolkit", **toolkit)
    usual = {"FAKE_ARCHS": "89", "FAKE_CUDA": "13000", "CUDA_HOME": str(nvcc.parents[1])}
    machine = environment(driver, **{**usual, **variables})
    told = refusal(machine)
    assert reason in told
    assert told.endswith("HOSHIKAGE_BACKEND=cpu builds for the CPU.")
    capfd.readouterr()
    assert read_options(machine).backend == "cpu"
    (line,) = capfd.readouterr().err.splitlines()
    assert "there is a GPU, but this builds for the CPU" in line
    assert reason in line


def test_what_the_system_lacks_comes_from_the_packages(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No nvcc, or one without cuBLAS: NVIDIA's packages are used."""
    fetched = write_toolkit(tmp_path / "fetched").parents[1]
    monkeypatch.setattr(cuda, "packages_toolkit", lambda: fetched)
    machine = environment(driver, FAKE_ARCHS="89", FAKE_CUDA="13000")
    incomplete = write_toolkit(tmp_path / "incomplete", lacks="cublas_v2.h").parents[1]
    for variables in ({}, {"CUDA_HOME": str(incomplete)}):
        found = read_options({**machine, **variables}).cuda
        assert found is not None
        assert found.root == str(fetched)


def test_an_older_compiler_beside_a_new_one(driver: Path, tmp_path: Path) -> None:
    """nvcc gets the newest that it knows, all else is compiled as before; one that is named is taken alone."""
    nvcc = write_toolkit(tmp_path / "toolkit", knows="g++-13")
    machine = environment(driver, FAKE_ARCHS="89", FAKE_CUDA="13000", CUDA_HOME=str(nvcc.parents[1]))
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("g++-14", "g++-13", "g++-11"):
        (beside / name).symlink_to(shutil.which("g++") or "")
    machine["PATH"] += f":{beside}"
    options = read_options(machine)
    assert options.backend == "cuda"
    assert options.environment()["CUDAHOSTCXX"] == str(beside / "g++-13")
    assert options.environment()["CXX"] == options.cxx.command[0] != str(beside / "g++-13")
    for variable in ("CUDAHOSTCXX", "NVCC_CCBIN"):
        assert read_options({**machine, variable: str(beside / "g++-13")}) == options
        refused = {**machine, "CUDACXX": str(nvcc), variable: "g++-14"}
        assert "does not know this C++ compiler" in refusal(refused)
        assert f"{variable}=g++-99 was not found" in refusal({**machine, variable: "g++-99"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "g++").symlink_to(shutil.which("g++") or "")
    in_folder = read_options(
        {**machine, "CUDACXX": str(write_toolkit(tmp_path / "any")), "NVCC_CCBIN": str(tmp_path / "folder")}
    )
    assert in_folder.environment()["CUDAHOSTCXX"] == str(tmp_path / "folder" / "g++")


def test_of_several_toolkits_the_first_that_will_do(driver: Path, tmp_path: Path) -> None:
    """A distribution's old one on the PATH, and a link to one too new for the driver, do not hide another."""
    old = write_toolkit(tmp_path / "distribution", "12.0")
    for version in ("12.6", "12.10", "13.1"):
        write_toolkit(tmp_path / f"cuda-{version}", version)
    (tmp_path / "cuda").symlink_to("cuda-13.1")
    machine = environment(driver, FAKE_ARCHS="89", FAKE_CUDA="12080")
    machine["PATH"] += f":{old.parent}"
    found = read_options(machine).cuda
    assert found is not None
    assert found.root == str(tmp_path / "cuda-12.10")
    chosen = read_options({**machine, "CUDA_HOME": str(tmp_path / "cuda-12.6")}).cuda
    assert chosen is not None
    assert chosen.root == str(tmp_path / "cuda-12.6")
    assert "is 12.0: 12.4 or newer is needed" in refusal({**machine, "FAKE_CUDA": "11080"})


def test_a_toolkit_is_tried_once(driver: Path, tmp_path: Path) -> None:
    """What has compiled is not made to again; another toolkit is."""
    nvcc = write_toolkit(tmp_path / "toolkit")
    machine = environment(driver, HOSHIKAGE_BACKEND="cuda", CUDA_HOME=str(nvcc.parents[1]))
    first = read_options(machine)
    nvcc.write_text(nvcc.read_text().replace("exit 0", "exit 1"))
    assert read_options(machine) == first
    nvcc.write_text(nvcc.read_text().replace("V13.0.1", "V13.0.2"))
    with pytest.raises(BaseException, match="fetched"):
        read_options(machine)


def test_a_named_nvcc_is_never_replaced(driver: Path, tmp_path: Path) -> None:
    """CUDACXX is honoured: it works or the build stops."""
    good, bad = write_toolkit(tmp_path / "good"), write_toolkit(tmp_path / "bad", "11.8")
    machine = environment(driver, CUDA_HOME=str(good.parents[1]))
    machine["PATH"] += f":{bad.parent}"
    assert "is 11.8" in refusal({**machine, "CUDACXX": "nvcc"})
    assert "CUDACXX=nvcc-99 was not found" in refusal({**machine, "CUDACXX": "nvcc-99"})


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"FAKE_ARCHS": "61", "FAKE_CUDA": "13000"}, "needs CUDA 12: install a CUDA toolkit of 12.4 to 12.9"),
        ({"FAKE_ARCHS": "89", "FAKE_CUDA": "12020"}, "update the driver, or install a CUDA toolkit 12 (12.4 or newer)"),
    ],
)
def test_nothing_is_fetched_that_could_not_be_used(driver: Path, variables: dict[str, str], reason: str) -> None:
    """A GPU or a driver too old for the packages: said before half a gigabyte is downloaded."""
    told = refusal(environment(driver, **variables))
    assert told.startswith("Cannot build for CUDA. There is no nvcc in CUDA_HOME, on the PATH or in ")
    assert reason in told


def test_the_packages_and_the_extra_are_of_one_major_version() -> None:
    """What `hoshikage[cuda]` installs is what a module built with the packages needs."""
    # Before 13.2 nothing compiles with the headers of glibc 2.42 and newer, which have an rsqrt() of their own.
    assert cuda_packages.packages_version() >= (13, 2)
    text = (cuda_packages.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    major = cuda_packages.packages_version()[0]
    assert f'"nvidia-cuda-runtime>={major},<{major + 1}", "nvidia-cublas>={major},<{major + 1}"' in text
