"""The NVIDIA driver and its GPUs: whether CUDA is worth building for, and what to compile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import say

_PROBE = Path(__file__).with_name("driver_probe.py")
_LIMIT_S = 20.0
# The kernel's part of the driver: whether it is loaded, which a container sees too, and how to get at its GPUs.
_KERNEL_FILE, _DEVICE_FILE = Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Driver:
    """An NVIDIA driver with at least one GPU.

    Attributes:
        cuda: The newest CUDA it runs, such as (13, 0).
        archs: The compute capabilities of its GPUs, each once, such as ("89",).
    """

    cuda: tuple[int, int]
    archs: tuple[str, ...]


def find_driver(environ: Mapping[str, str], limit_s: float = _LIMIT_S) -> Driver | None:
    """Returns the driver, or None where there is none, it has no GPU, or it does not work, which is said."""
    told = _ask(environ, limit_s)
    if problem := told.get("problem"):
        say(
            f"NVIDIA ドライバが正しく動いていません ({problem})。`nvidia-smi` で確かめてください",
            f"the NVIDIA driver does not work ({problem}): see what `nvidia-smi` says",
        )
    if not told.get("archs"):
        if not problem:
            _say_what_is_missing(told, environ)
        return None
    return Driver((told["cuda"] // 1000, told["cuda"] % 1000 // 10), tuple(dict.fromkeys(told["archs"])))


def _say_what_is_missing(told: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Tells whoever has a GPU, by the looks of it, why none is found."""
    if not _DEVICE_FILE.exists():
        if _KERNEL_FILE.exists() and not told["has_library"]:
            say(
                "このマシンには NVIDIA ドライバがありますが、ここからは使えません。コンテナは `--gpus all` を付けて"
                "起動してください",
                "this machine has an NVIDIA driver, which cannot be used from here: a container has to be started with "
                "`--gpus all`",
            )
    elif not told["has_library"]:
        say(
            "NVIDIA ドライバはありますが、libcuda.so.1 がないので CUDA を使えません。Debian なら libcuda1、"
            "Fedora なら xorg-x11-drv-nvidia-cuda を入れ、コンテナなら NVIDIA_DRIVER_CAPABILITIES=compute,utility を"
            "指定してください",
            "there is an NVIDIA driver, but no libcuda.so.1, so no CUDA: install libcuda1 (Debian) or "
            "xorg-x11-drv-nvidia-cuda (Fedora); a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    elif "CUDA_VISIBLE_DEVICES" not in environ:  # who has set it may mean it
        say(
            "NVIDIA ドライバはありますが、使える GPU がありません。`nvidia-smi` で確かめてください"
            " (MIG を使うならインスタンスが必要です)",
            "there is an NVIDIA driver, but no GPU that can be used: see what `nvidia-smi` says (with MIG there have "
            "to be instances)",
        )


def _ask(environ: Mapping[str, str], limit_s: float) -> dict[str, Any]:
    """Has the driver asked in a process of its own, since a broken one may crash or hang whoever asks."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PROBE)],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: what hangs inside the driver does not die of it
        return {"problem": f"no answer in {limit_s:g} s"}
    if process.returncode != 0:
        return {"problem": f"exit status {process.returncode}"}
    told: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return told
