"""What a machine without a network needs to build and measure: packages, and the pinned llama.cpp source.

`gpu.sh pack` calls `pack` where there is a network, `gpu.sh run` calls `unpack` where there is none.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

sys.path.append(str(Path(__file__).resolve().parent.parent))

from build_support.cache import cache_root, published_folder
from build_support.requirements import build_requirements
from build_support.source import ROOT, SOURCE, ensure_source, matches, members_folder, read_patterns

TOOLS = ("pytest>=8.2", "hypothesis>=6.100", "gguf>=0.17", "numpy>=1.26")  # of the tests, and of random_model.py
# pip takes each of these as written: a wheel for an older glibc is not found by the name of a newer one.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (5, 12, 17, 24, 26, 27, 28, 31, 34)]
PLATFORMS += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
# Large, and called by nobody here.
UNUSED = ("cmake/data/doc", "cmake/data/bin/c[!m]*", "numpy/**/tests", "pip", "share", "**/__pycache__")
PACKAGES, LLAMA_CPP = "packages.tar.xz", "llama.cpp.tar.xz"
LIMIT_MIB = 60  # some machines take 64 MiB, with the checkout


def project_requirements() -> list[str]:
    """Returns [project].dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(requirement) for requirement in project["dependencies"]]


def pack(folder: Path, python: str | None) -> None:
    """Collects everything in a folder.

    Args:
        folder: Made where it is missing.
        python: The version of Python there; None: this one's.
    """
    from oracle import MORE_MEMBERS

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        site = Path(temporary, "site")
        _install(site, python)
        _write_archive(folder / PACKAGES, {".": site})
    ensure_source()
    members = members_folder(*read_patterns(), *MORE_MEMBERS)
    _write_archive(folder / LLAMA_CPP, {"pin.json": SOURCE / "pin.json", members.name: members})
    sizes = {name: (folder / name).stat().st_size / 2**20 for name in (PACKAGES, LLAMA_CPP)}
    print(*(f"{mib:.1f} MiB: {name}" for name, mib in sizes.items()), sep="\n")
    if sum(sizes.values()) > LIMIT_MIB:
        print(f"warning: that is more than {LIMIT_MIB} MiB", file=sys.stderr)


def _install(site: Path, python: str | None) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    command += ["--target", str(site), "--only-binary=:all:"]
    if python:
        command += ["--implementation", "cp", "--python-version", python]
        command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    subprocess.run([*command, *build_requirements(), *project_requirements(), *TOOLS], check=True)
    for pattern in UNUSED:
        for path in list(site.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_archive(file: Path, contents: Mapping[str, Path]) -> None:
    with tarfile.open(file, "w:xz", preset=6) as tar:
        for name, path in contents.items():
            tar.add(path, name, filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(folder: Path, site: Path) -> None:
    """Puts the packages into `site`, and the source where builds look for it: the cache, and third_party/."""
    if not site.exists():
        with tarfile.open(folder / PACKAGES, "r:xz") as tar, published_folder(site) as draft:
            _extract(tar, draft)
    with tarfile.open(folder / LLAMA_CPP, "r:xz") as tar:
        pin = tar.extractfile("pin.json")
        assert pin is not None  # it is a file
        description = pin.read()
        members = cache_root() / "source" / tar.getnames()[1]
        if not members.exists():
            _extract(tar, members.parent)
    if SOURCE.exists() and (SOURCE / "pin.json").read_bytes() == description:
        return
    patterns = read_patterns()
    with published_folder(SOURCE) as draft:
        for file in members.rglob("*"):
            path = file.relative_to(members)
            if file.is_file() and any(matches(path.as_posix(), pattern) for pattern in patterns):
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).write_bytes(file.read_bytes())
        (draft / "pin.json").write_bytes(description)


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    # As Python's documentation has it for releases that know no filters.
    tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
    folder.mkdir(parents=True, exist_ok=True)
    tar.extractall(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", metavar="VERSION", help="of Python there, such as 3.12 (default: this one's)")
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("folder", type=Path)
    unpacking.add_argument("site", type=Path)
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.folder, options.python)
    else:
        unpack(options.folder, options.site)


if __name__ == "__main__":
    main()
