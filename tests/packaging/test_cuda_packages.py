"""NVIDIA's packages as a toolkit: fetched once, verified, complete or not there."""

from __future__ import annotations

import base64
import os
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from folders import left_overs

from build_support.cuda_packages import REQUIREMENTS, packages_toolkit, packages_version
from build_support.errors import BuildError

CONTENTS = {
    "nvidia-cuda-nvcc": ("13.0.88", {"bin/nvcc": b"#!/bin/sh\n"}),
    "nvidia-cuda-runtime": (
        "13.0.96",
        {"lib/libcudart.so.13": b"", "lib/libcudart_static.a": b""},
    ),
    "nvidia-cublas": ("13.1.0", {"lib/libcublas.so.13": b"", "lib/libcublasLt.so.13": b"", "include/cublas_v2.h": b""}),
}


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members = {f"nvidia/cu13/{path}": data for path, data in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: py3-none-any\n"
    digests = {path: base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=") for path, data in members.items()}
    record = [f"{path},sha256={digest.decode()},{len(members[path])}" for path, digest in digests.items()]
    members[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]).encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = (0o100755 if "/bin/" in path else 0o100644) << 16
            archive.writestr(member, data)
    return wheel


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of these names in a folder that is all pip may look into, and the file that pins them."""
    folder = tmp_path / "index"
    folder.mkdir()
    lines = []
    for name, (version, files) in CONTENTS.items():
        digest = sha256(write_wheel(folder, name, version, files).read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    file = tmp_path / "requirements.txt"
    file.write_text("".join(lines))
    return file


def test_a_toolkit_is_put_together(cache: Path, requirements: Path) -> None:
    """Programs run, and a linker finds libraries by -l and in lib64."""
    toolkit = packages_toolkit(requirements)
    assert toolkit.is_relative_to(cache / "cuda")
    assert os.access(toolkit / "bin" / "nvcc", os.X_OK)
    for name in ("libcudart", "libcublas", "libcublasLt"):
        assert (toolkit / "lib64" / f"{name}.so").samefile(toolkit / "lib" / f"{name}.so.13")
    assert not list(toolkit.rglob("libcudart_static.so"))


def test_it_is_fetched_once(cache: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second build needs no network; other pins are another toolkit."""
    first = packages_toolkit(requirements)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert packages_toolkit(requirements) == first
    requirements.write_text(requirements.read_text() + "# moved\n")
    with pytest.raises(BuildError):
        packages_toolkit(requirements)


@pytest.mark.parametrize("change", ["hash", "missing"])
def test_all_or_nothing(cache: Path, requirements: Path, change: str) -> None:
    """A package with other contents, or none: one sentence with pip's reason and the remedy, and nothing is kept."""
    if change == "hash":
        write_wheel(requirements.parent / "index", "nvidia-cublas", "13.1.0", {"lib/libcublas.so.13": b"other"})
    else:
        requirements.write_text(requirements.read_text().replace("13.1.0", "13.9.9"))
    with pytest.raises(BuildError, match=r"cannot be fetched from PyPI \(ERROR: .*\): check the network") as caught:
        packages_toolkit(requirements)
    assert "\n" not in str(caught.value)
    assert left_overs(cache) == []


def test_what_is_pinned() -> None:
    """Every package has hashes, for both kinds of processor; all are of one CUDA."""
    pins = [pin for pin in REQUIREMENTS.read_text(encoding="utf-8").replace("\\\n", "").splitlines() if "==" in pin]
    names = {pin.partition("==")[0] for pin in pins}
    tools = {"nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-cccl"}
    assert names == tools | {"nvidia-cuda-runtime", "nvidia-cublas"}
    assert all(pin.count("--hash=sha256:") == 2 for pin in pins)
    major, minor = packages_version()
    versions = {pin.partition("==")[2].split()[0] for pin in pins if pin.partition("==")[0] in tools}
    assert all(version.startswith(f"{major}.{minor}.") for version in versions)
