"""The real pynvml over a library of ours in place of the driver's: tests/fakes/nvml.cpp."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from pathlib import Path

from hoshikage_server.engines.gpu import Gpu

SOURCE = Path(__file__).resolve().parent / "fakes" / "nvml.cpp"
IDLE = ("device 0 0 0",)
# nvmlReturn_t, nvml.h
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED = 3, 4, 9
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST = 12, 13, 15


def build(folder: Path) -> Path:
    """Builds the library."""
    library = folder / "libnvidia-ml.so.1"
    flags = ("-std=c++17", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{library.name}")
    subprocess.run([*shlex.split(os.environ.get("CXX", "g++")), *flags, "-o", library, SOURCE], check=True)
    return library


class FakeNvml:
    """A driver.

    Args:
        library: Loaded here, so that pynvml, which asks for it by its soname, gets this one.
        state: The file that tells it what to say, and stands for the driver's device.
    """

    def __init__(self, library: Path, state: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.state = state
        self._n_calls_before = self._count("fake_nvml_calls")
        self.say(*IDLE)

    def say(self, *lines: str) -> None:
        """What it shall say from now on; nobody who looks just now sees a part of it."""
        draft = self.state.with_name(f"{self.state.name}.new")
        draft.write_text("\n".join(lines))
        draft.replace(self.state)

    def gpu(self, pids_are_ours: bool = True, limit_s: float = 30) -> Gpu:
        return Gpu(driver_files=(str(self.state),), pids_are_ours=pids_are_ours, limit_s=limit_s)

    @property
    def n_open(self) -> int:
        """Initialisations that were not shut down."""
        return self._count("fake_nvml_open")

    @property
    def n_looks(self) -> int:
        return self._count("fake_nvml_calls") - self._n_calls_before

    def _count(self, name: str) -> int:
        return ctypes.c_int.in_dll(self._library, name).value
