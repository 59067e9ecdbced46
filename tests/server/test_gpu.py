"""Looks at the GPU: nothing is held between them, nothing blocks, and no answer is an answer too."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import gevent
import pytest
from fake_nvml import (
    DRIVER_NOT_LOADED,
    FUNCTION_NOT_FOUND,
    GPU_IS_LOST,
    LIBRARY_NOT_FOUND,
    NO_PERMISSION,
    NOT_SUPPORTED,
    FakeNvml,
)

from hoshikage_server.engines import gpu as gpu_module
from hoshikage_server.engines import nvml as nvml_module
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.nvml import Device, GpuUse
from hoshikage_server.machine import gpu_names


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(gpu_module, "log", logging.getLogger("gpu under test"))  # the real one may not propagate
    return caplog


def memory(use: GpuUse | None) -> tuple[int | None, object] | None:
    """What all devices have in use, in total and by process."""
    return None if use is None else (use.used_bytes, use.by_pid)


def begun_look(nvml: FakeNvml, gpu: Gpu) -> gevent.Greenlet:
    """The first look, which the driver thinks about."""
    look = gevent.spawn(gpu.look)
    with gevent.Timeout(60):
        while nvml.n_looks == 0:
            gevent.sleep(0.001)
    return look


def test_what_is_in_use(nvml: FakeNvml) -> None:
    """The sums over all devices, in total and by process; afterwards NVML is shut down."""
    nvml.say("device 7000 0 0", "process 11 4000", "process 12 2000", "device 500 0 0", "process 11 300")
    assert memory(nvml.gpu().look()) == (7500, {11: 4300, 12: 2000})
    assert nvml.n_open == 0


def test_names(nvml: FakeNvml) -> None:
    """What reports of measurements call the GPUs: as the driver does, if it is there."""
    nvml.say("device 7000 0 0", "device 500 0 0")
    assert gpu_names() == ["NVIDIA Fake", "NVIDIA Fake"]
    nvml.say(f"init {DRIVER_NOT_LOADED}")
    assert gpu_names() == []


def test_figures(nvml: FakeNvml) -> None:
    """In watts, degrees and joules, of each device; those that one does not tell are unknown, and of no other."""
    nvml.say("device 7000 0 0", "process 11 4000", "figures 37 212500 61 123456", "device 500 0 0")
    use = nvml.gpu().look()
    assert use is not None
    told = Device(0, "NVIDIA Fake", 7000, 2**40, {11: 4000}, 0.37, 212.5, 61, 123.456)
    assert use.devices == (told, Device(1, "NVIDIA Fake", 500, 2**40, {}))


def test_shares_that_are_not_told(nvml: FakeNvml) -> None:
    """A sum with an unknown part is unknown; the processes are listed all the same."""
    nvml.say("device 7000 0 0", "process 11 4000", "process 12 -1", "device 500 0 0", "process 12 300")
    assert memory(nvml.gpu().look()) == (7500, {11: 4000, 12: None})


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND])
def test_questions_that_are_not_answered(nvml: FakeNvml, code: int) -> None:
    """What one device does not tell is not known of all; what all tell is."""
    nvml.say("device 7000 0 0", "process 11 4000", f"device 500 0 {code}")
    assert memory(nvml.gpu().look()) == (7500, None)
    nvml.say("device 7000 0 0", "process 11 4000", f"device 500 {code} 0")
    assert memory(nvml.gpu().look()) == (None, {11: 4000})
    assert nvml.n_open == 0


def test_a_gpu_of_others(nvml: FakeNvml) -> None:
    """One that a container is told of and may not use is none of ours; the others keep their numbers."""
    nvml.say("device 7000 0 0", f"refused {NO_PERMISSION}", "device 500 0 0", "process 11 300")
    use = nvml.gpu().look()
    assert memory(use) == (500, {11: 300})
    assert use is not None
    assert [device.index for device in use.devices] == [1]


def test_without_a_driver(nvml: FakeNvml, tmp_path: Path) -> None:
    """Nobody is asked."""
    assert Gpu(driver_files=(str(tmp_path / "nothing"),)).look() is None
    assert nvml.n_looks == 0


def test_without_its_library(
    nvml: FakeNvml, warnings: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked once. That is news where there is an NVIDIA driver, and none where WSL has another maker's GPU."""
    nvml.say(f"init {LIBRARY_NOT_FOUND}")
    for n_warnings in (1, 0):
        gpu = nvml.gpu()
        assert [gpu.look() for _ in range(2)] == [None] * 2
        assert not gpu.is_there
        assert len(warnings.records) == n_warnings
        warnings.clear()
        monkeypatch.setattr(nvml_module, "WSL_DEVICE_FILE", str(nvml.state))


@pytest.mark.parametrize(
    ("error", "text"),
    [(f"init {DRIVER_NOT_LOADED}", "Driver Not Loaded"), (f"device 10 {GPU_IS_LOST} 0", "GPU is lost")],
)
def test_an_error_is_no_gpu(nvml: FakeNvml, warnings: pytest.LogCaptureFixture, error: str, text: str) -> None:
    """It is logged once, not once a look; the GPU is back when the driver is; then the same error is news again."""
    gpu = nvml.gpu()
    for n_times in (1, 2):
        nvml.say(error)
        assert [gpu.look() for _ in range(3)] == [None] * 3
        assert [record.message for record in warnings.records] == [f"the GPU's memory is not known: {text}"] * n_times
        nvml.say("device 10 0 0")
        assert memory(gpu.look()) == (10, {})
    assert nvml.n_open == 0


def test_a_young_look_will_do(nvml: FakeNvml) -> None:
    """Those who accept an older answer share one, even when they come at the same moment; the others get their own."""
    gpu = nvml.gpu()
    nvml.say("delay 50", "device 10 0 0")
    looks = [gevent.spawn(gpu.look, 60) for _ in range(5)]
    gevent.joinall(looks, raise_error=True)
    assert [memory(look.value) for look in looks] == [(10, {})] * 5
    assert nvml.n_looks == 1
    nvml.say("device 20 0 0")
    assert memory(gpu.look(60)) == (10, {})
    assert memory(gpu.look()) == (20, {})
    assert nvml.n_looks == 2


def test_looks_do_not_queue_up(nvml: FakeNvml) -> None:
    """However many come while the driver thinks, one look that begins after they came is for all of them."""
    gpu = nvml.gpu()
    nvml.say("delay 100", "device 10 0 0")
    first = begun_look(nvml, gpu)
    others = [gevent.spawn(gpu.look) for _ in range(50)]
    gevent.sleep(0)
    nvml.say("device 20 0 0")
    gevent.joinall([first, *others], raise_error=True)
    assert [memory(look.value) for look in others] == [(20, {})] * 50
    assert nvml.n_looks == 2


def test_a_slow_driver_holds_nobody_up(nvml: FakeNvml) -> None:
    """Other greenlets run while it thinks."""
    nvml.say("stuck")
    look = begun_look(nvml, nvml.gpu())
    for _ in range(20):
        gevent.sleep(0.001)
    assert not look.ready()
    nvml.say("device 10 0 0")
    assert memory(look.get()) == (10, {})


def test_a_stuck_driver(nvml: FakeNvml, warnings: pytest.LogCaptureFixture) -> None:
    """The look gives up; later ones do not queue up behind it; when the driver is back, so is the GPU."""
    gpu = nvml.gpu(limit_s=0.05)
    nvml.say("stuck")
    began = time.monotonic()
    assert [gpu.look() for _ in range(1000)] == [None] * 1000
    assert time.monotonic() - began < 25  # not 1000 times the limit
    assert nvml.n_looks == 1
    assert [record.message for record in warnings.records] == ["the GPU's memory is not known: no answer within 0.05 s"]
    nvml.say("device 10 0 0")
    with gevent.Timeout(60):
        while (use := gpu.look()) is None:
            gevent.sleep(0.01)
    assert memory(use) == (10, {})
    assert nvml.n_looks == 2


def test_who_looks_may_be_killed(nvml: FakeNvml) -> None:
    """The next look waits for the driver to finish with the last, and is answered."""
    gpu = nvml.gpu()
    nvml.say("delay 100", "device 10 0 0")
    first = begun_look(nvml, gpu)
    first.kill()
    nvml.say("device 20 0 0")
    assert memory(gpu.look()) == (20, {})
    assert nvml.n_open == 0


PATCHED = """
from gevent import monkey; monkey.patch_all()
import os, sys
from hoshikage_server.engines.gpu import Gpu
assert "pynvml" not in sys.modules and "ctypes" not in sys.modules
gpu = Gpu(driver_files=(os.environ["FAKE_NVML"],), pids_are_ours=True)
use = gpu.look()
print(use and (use.used_bytes, use.by_pid))
if len(sys.argv) > 1:
    os.rename(sys.argv[1], sys.argv[2])
    print(gpu.look())
"""


def run_patched(library: Path, *arguments: Path) -> list[str]:
    """The lines of a process like the server's, monkey-patched, with a library in place of the driver's."""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    command = (sys.executable, "-c", PATCHED, *map(str, arguments))
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    return (result.stdout + result.stderr).splitlines()


def test_in_a_patched_process(nvml: FakeNvml, nvml_library: Path) -> None:
    """As the server is; nothing of NVML is imported before the first look."""
    nvml.say("device 10 0 0", "process 11 5")
    assert run_patched(nvml_library) == ["(10, {11: 5})"]


def test_a_library_that_does_not_load_is_not_tried_again(nvml: FakeNvml, nvml_library: Path, tmp_path: Path) -> None:
    """Not even where it would load now: to look for it again and again costs a search of the disk each time."""
    broken = tmp_path / nvml_library.name
    broken.write_text("this is no library")
    good = tmp_path / "good.so"
    good.write_bytes(nvml_library.read_bytes())
    first, *others = run_patched(broken, good, broken)
    assert first == "None"
    assert others == ["None", "the GPU's memory is not known: NVML Shared Library Not Found"]
