"""A driver and toolkits that are none: what the build asks of NVIDIA's, with the answers a test wants."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_DRIVER = r"""
#include <stdlib.h>
#include <unistd.h>

static int from_environment(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : 0;
}
static int arch(int device) {
    const char *rest = getenv("FAKE_ARCHS");
    for (; rest && *rest; device--) {
        char *end;
        const int value = (int)strtol(rest, &end, 10);
        if (device == 0) return value;
        rest = *end ? end + 1 : end;
    }
    return 0;
}

extern "C" {
int cuInit(unsigned) {
    if (getenv("FAKE_CRASH")) abort();
    while (getenv("FAKE_HANG")) pause();
    return getenv("FAKE_ARCHS") ? from_environment("FAKE_INIT") : 100;
}
int cuGetErrorName(int, const char **name) { *name = "CUDA_ERROR_FAKE"; return 0; }
int cuDriverGetVersion(int *version) { *version = from_environment("FAKE_CUDA"); return 0; }
int cuDeviceGetCount(int *count) { for (*count = 0; arch(*count); ) ++*count; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? arch(device) / 10 : arch(device) % 10;
    return 0;
}
}
"""

_NVCC = """#!/bin/sh
case "$*" in
    --version) echo "Cuda compilation tools, release {version}, V{version}.1" ;;
    --list-gpu-arch) printf 'compute_{archs}\\n' ;;
    --dryrun*) echo '#$ TOP={root}' >&2 ;;
    *) {trial} ;;
esac
"""


# As nvcc 12.4 says it, in crt/host_config.h.
_REFUSAL = (
    "host_config.h:143:2: error: #error -- unsupported GNU version! gcc versions later than 13 are not supported! "
    "The nvcc flag '-allow-unsupported-compiler' can be used to override this version check; Use at your own risk."
)


def write_driver(folder: Path) -> Path:
    """Builds libcuda.so.1. Without FAKE_ARCHS ("89,120") it has no device; FAKE_CUDA (13000) is what it runs.

    FAKE_INIT is the status of cuInit; with FAKE_HANG it does not come back, with FAKE_CRASH it ends the process.
    """
    return write_library(folder / "libcuda.so.1", _DRIVER)


def write_library(path: Path, source: str, *words: str) -> Path:
    """Builds a shared library whose soname is its file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["g++", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path), "-x", "c++", "-", "-x", "none"]
    subprocess.run([*command, *words], input=source, text=True, check=True)
    return path


def write_toolkit(
    root: Path, version: str = "13.0", archs: str = "75 80 86 89 90 120", lacks: str = "", knows: str = ""
) -> Path:
    """Writes a toolkit, and returns its nvcc.

    Args:
        root: Where.
        version: Its own.
        archs: What it compiles for.
        lacks: What it needs to compile anything at all, and has not.
        knows: Of which name a C++ compiler has to be that it shall call; "": any.
    """
    nvcc = root / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    trial = "exit 0"
    if lacks:
        trial = f"echo 'trial.cu:2: fatal error: {lacks}: No such file or directory' >&2; exit 1"
    if knows:
        trial = f'case "$*" in *"-ccbin "*/{knows}" "*) exit 0 ;; *) echo "{_REFUSAL}" >&2; exit 1 ;; esac'
    listed = "\\ncompute_".join(archs.split())
    nvcc.write_text(_NVCC.format(version=version, archs=listed, root=root, trial=trial))
    nvcc.chmod(0o755)
    return nvcc


def environment(driver: Path, **variables: str) -> dict[str, str]:
    """What `read_options` is asked with: this machine's compilers, and no driver and no toolkit but the fake ones."""
    compilers = driver.parent / "bin"
    compilers.mkdir(exist_ok=True)
    for name in ("gcc", "g++"):
        if not (compilers / name).exists():
            (compilers / name).symlink_to(shutil.which(name) or "")
    return {"PATH": str(compilers), "LD_LIBRARY_PATH": str(driver.parent), **variables}
