"""Adds to setuptools what pyproject.toml cannot say: how the native module is made. See build_support/."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_support.errors import BuildError
from build_support.module import build_module
from build_support.source import ensure_source


class BuildNative(build_ext):
    """Builds llama.cpp and csrc in place of a list of C files."""

    def build_extension(self, ext: Extension) -> None:
        """Makes hoshikage_core/_native.abi3.so."""
        build_module(Path(self.get_ext_fullpath(ext.name)), Path(self.build_temp))


class SourceDistribution(sdist):
    """An sdist that brings llama.cpp's source along."""

    def run(self) -> None:
        """Unpacks the source first; MANIFEST.in includes it."""
        ensure_source()
        super().run()


try:
    setup(
        ext_modules=[Extension("hoshikage_core._native", sources=[], py_limited_api=True)],
        cmdclass={"build_ext": BuildNative, "sdist": SourceDistribution},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
except BuildError as error:
    sys.exit(f"error: {error}")
