"""Asks the NVIDIA driver for its GPUs and prints JSON; a program of its own (see driver.py), standard library only."""

from __future__ import annotations

import ctypes
import json

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def look() -> dict[str, object]:
    """Returns `cuda` (13000 is 13.0) and `archs` of the GPUs, whether it `has_library`, or what the `problem` is."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"has_library": False}
    if status := driver.cuInit(0):
        return {"has_library": True} if status == _NO_DEVICE else {"problem": _error_name(driver, status)}
    cuda, n_devices = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(cuda))
    driver.cuDeviceGetCount(ctypes.byref(n_devices))
    return {
        "has_library": True,
        "cuda": cuda.value,
        "archs": [_arch(driver, index) for index in range(n_devices.value)],
    }


def _arch(driver: ctypes.CDLL, index: int) -> str:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return f"{major.value}{minor.value}"


def _error_name(driver: ctypes.CDLL, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    return (name.value or b"cuInit").decode("ascii", "replace") + f" ({status})"


if __name__ == "__main__":
    print(json.dumps(look()))
