"""What a machine without a network needs to build and measure: wheels, and the pinned llama.cpp source.

`gpu.sh pack` calls `pack` where there is a network, `gpu.sh run` calls `unpack` where there is none.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

sys.path.append(str(Path(__file__).resolve().parent.parent))

from build_support.cache import cache_root, published_folder
from build_support.errors import BuildError
from build_support.requirements import build_requirements
from build_support.source import ROOT, SOURCE, ensure_source, matches, members_folder, read_patterns

TOOLS = ("pytest>=8.2", "hypothesis>=6.100", "gguf>=0.17", "numpy>=1.26")  # of the tests, and of random_model.py
# pip takes each of these as written: a wheel for an older glibc is not found by the name of a newer one.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (5, 12, 17, 24, 26, 27, 28, 31, 34)]
PLATFORMS += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
ARCHIVE = "source.tar.xz"
LIMIT_MIB = 64  # what is usually carried to such a machine


def project_requirements() -> list[str]:
    """Returns [project].dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(requirement) for requirement in project["dependencies"]]


def pack(folder: Path, python: str | None, left_out: list[str]) -> None:
    """Collects everything in a folder.

    Args:
        folder: Made where it is missing.
        python: The version of Python there; None: this one's.
        left_out: Packages that machine has already.
    """
    from oracle import MORE_MEMBERS

    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.iterdir():
        old.unlink()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--dest", str(wheels)]
    command += ["--only-binary=:all:"]
    if python:
        command += ["--implementation", "cp", "--python-version", python]
        command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    subprocess.run([*command, *build_requirements(), *project_requirements(), *TOOLS], check=True)
    for wheel in wheels.iterdir():
        if wheel.name.split("-")[0].replace("_", "-").lower() in left_out:
            wheel.unlink()
    ensure_source()
    members = members_folder(*read_patterns(), *MORE_MEMBERS)
    with tarfile.open(folder / ARCHIVE, "w:xz", preset=6) as tar:
        tar.add(SOURCE / "pin.json", "pin.json")
        tar.add(members, members.name, filter=_without_owner)
    sizes = {file: file.stat().st_size / 2**20 for file in folder.rglob("*") if file.is_file()}
    for file, mib in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
        print(f"{mib:6.1f} MiB  {file.relative_to(folder)}")
    total = sum(sizes.values())
    print(f"{total:6.1f} MiB  in all, {len(sizes)} files")
    if total > LIMIT_MIB:
        print(f"warning: more than {LIMIT_MIB} MiB: --leave-out what is installed there", file=sys.stderr)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(folder: Path) -> None:
    """Puts the source where builds look for it: the cache, and third_party/."""
    with tarfile.open(folder / ARCHIVE, "r:xz") as tar:
        pin = tar.extractfile("pin.json")
        names = {member.name.split("/")[0] for member in tar.getmembers()} - {"pin.json"}
        if pin is None or len(names) != 1 or not re.fullmatch(r"[0-9a-f-]+", name := names.pop()):
            raise BuildError(f"{ARCHIVE} は gpu.sh pack のものではありません。", f"{ARCHIVE} is none of gpu.sh pack's.")
        description = pin.read()
        members = cache_root() / "source" / name
        if not members.exists():
            members.parent.mkdir(parents=True, exist_ok=True)
            tar.extractall(members.parent, filter="data")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", metavar="VERSION", help="of Python there, such as 3.12 (default: this one's)")
    packing.add_argument("--leave-out", nargs="+", default=[], metavar="PACKAGE", help="what is installed there")
    commands.add_parser("unpack").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.folder, options.python, options.leave_out)
    else:
        unpack(options.folder)


if __name__ == "__main__":
    main()
