"""Prints what pyproject.toml requires to build, so that the Makefile need not repeat it."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def build_requirements() -> list[str]:
    """Returns [build-system].requires."""
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    requirements = tomllib.loads(pyproject.read_text(encoding="utf-8"))["build-system"]["requires"]
    return [str(requirement) for requirement in requirements]


if __name__ == "__main__":
    print("\n".join(build_requirements()))
