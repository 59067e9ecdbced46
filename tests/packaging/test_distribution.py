"""What we hand out: the sdist that needs no second download, and the wheel made from it, alone in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from build_support.cache import cache_root
from build_support.llama import build_llama
from build_support.options import read_options
from build_support.source import ensure_source

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def build(kind: str, project: Path, out: Path, environ: dict[str, str], *prefix: str) -> Path:
    command = [
        *prefix,
        sys.executable,
        "-m",
        "build",
        f"--{kind}",
        "--no-isolation",
        "--outdir",
        str(out),
        str(project),
    ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


def without_network() -> list[str]:
    """Returns the words that run a command in a namespace without network, where this machine allows it."""
    words = ["unshare", "--user", "--map-root-user", "--net"]
    possible = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0
    return words if possible else []


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this checkout."""
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"), dict(os.environ))


@pytest.fixture(scope="module")
def wheel(source_distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the unpacked sdist: no git, no network, no downloads; only the compiled libraries are reused."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(source_distribution) as tar:
        tar.extractall(folder, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    (project,) = folder.iterdir()
    build_llama(ensure_source(), read_options())
    cache = folder / "cache"
    cache.mkdir()
    for name in ("build", "cuda"):
        (cache / name).symlink_to(cache_root() / name)
    environ = {**os.environ, "HOSHIKAGE_CACHE_DIR": str(cache), "PIP_NO_INDEX": "1"}
    made = build("wheel", project, folder / "dist", environ, *without_network())
    assert not (cache / "downloads").exists()
    return made


def test_the_sdist_brings_the_source_and_nothing_else(source_distribution: Path) -> None:
    """llama.cpp's source and its description are inside; built modules, caches and models are not."""
    with tarfile.open(source_distribution) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    source = "third_party/llama.cpp/source"
    assert {f"{source}/pin.json", f"{source}/CMakeLists.txt", "csrc/hoshikage.h", "build_support/source.py"} <= names
    expected = {
        f"{source}/{path.relative_to(ensure_source())}" for path in ensure_source().rglob("*") if path.is_file()
    }
    assert expected <= names
    assert [name for name in names if name.endswith((".so", ".pyc", ".gguf", ".lock")) or ".venv" in name] == []
    assert source_distribution.stat().st_size < 10 * 1024 * 1024


def test_what_is_in_the_wheel(wheel: Path) -> None:
    """The packages, the module, the types and every licence; no sources, tests or build scripts."""
    assert "-cp310-abi3-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = next(name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
    licenses = {f"{info}/licenses/LICENSE", f"{info}/licenses/third_party/llama.cpp/LICENSE"}
    licenses |= {f"{info}/licenses/third_party/llama.cpp/licenses/{name}" for name in ("cpp-httplib", "nlohmann-json")}
    assert licenses <= names
    assert {"hoshikage_core/_native.abi3.so", "hoshikage_core/py.typed", "hoshikage_core/_native.pyi"} <= names
    assert {name.partition("/")[0] for name in names} == {"hoshikage_core", "hoshikage_server", info}
    for package in ("hoshikage_core", "hoshikage_server"):
        files = (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        assert {str(path.relative_to(ROOT)) for path in files} <= names | {"hoshikage_core/_native.abi3.so"}


def test_the_wheel_works_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    """Unpacked alone, it is imported from there and says the same commit."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = "import hoshikage_core as h; print(h.__file__, h.build_info().llama_cpp_commit, h.build_info().version)"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    file, commit, version = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert len(commit) == 40
    assert f"-{version}-" in wheel.name
