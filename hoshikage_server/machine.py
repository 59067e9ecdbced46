"""What machine this is, as far as it decides how fast a model is."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from hoshikage_server.engines import nvml


def cpu_model() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def physical_cores() -> int:
    """Physical cores among the processors this process may use: what the engines use unless told otherwise."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text(encoding="ascii") if siblings.exists() else str(cpu))
    return len(cores)


def busy_cpus(watch_s: float = 1.0) -> float:
    """How many processors others keep busy just now; 0 where that cannot be told."""

    def idle_and_all() -> tuple[int, int]:
        jiffies = [int(number) for number in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]]
        return sum(jiffies[3:5]), sum(jiffies[:8])

    try:
        idle, total = idle_and_all()
        time.sleep(watch_s)
        idle_after, total_after = idle_and_all()
    except OSError:
        return 0.0
    return (os.cpu_count() or 1) * (1 - (idle_after - idle) / max(1, total_after - total))


def gpu_names() -> list[str]:
    """The NVIDIA GPUs, as their driver calls them; asking wakes them up. Empty where there is no driver."""
    use = nvml.look()
    return [device.name for device in use.devices] if isinstance(use, nvml.GpuUse) else []
