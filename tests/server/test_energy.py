"""The energy of answers, of fake engines, by the counters of a fake driver."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from api_client import FAKE_ENGINE, wait_for
from fake_nvml import FakeNvml
from memory_engines import no_memory_log, settings_of

from hoshikage_server.api.engine_status import energy_status, gpu_status
from hoshikage_server.engines import energy
from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.energy import Spent
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.journal import Journal
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.settings import LiveSettings

N_CTX = 4096


class Machine:
    """An engine on a GPU."""

    def __init__(self, nvml: FakeNvml, gpu: Gpu, folder: Path) -> None:
        self.nvml = nvml
        self._folder = folder
        live = LiveSettings(settings_of())
        spawn = functools.partial(EngineProcess, FAKE_ENGINE, gpu, Dormitory(live), no_memory_log())
        self.supervisor = Supervisor(spawn, live, lambda model: 300.0)
        self.lease = Lease("m", EngineSpec("/nowhere/m.gguf", N_CTX))
        self.engine = self.supervisor.lease(self.lease)

    def draws(self, *energies_mj: int, pid: int | None = None) -> None:
        """The devices' counters from now on; the engine is on the first."""
        lines = [(f"device 0 0 0\nfigures 50 100000 60 {energy_mj}") for energy_mj in energies_mj]
        self.nvml.say(lines[0], f"process {pid or self.engine.pid} 1000", *lines[1:])

    def ask(self, text: str) -> Channel:
        question: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "sampling": Sampling(seed=1)}
        channel = Channel("req", Journal(question), 1000)
        self.engine.generate(channel, question)
        return channel

    def end(self, channel: Channel, gate: str) -> None:
        """Lets an answer of `gate` go on to its end."""
        (self._folder / gate).touch()
        end(channel)

    def spent(self) -> Spent | None:
        return self.supervisor.settled().energy.get("m")

    def close(self) -> None:
        """Returns when nobody looks at the GPU any more."""
        self.nvml.say("device 0 0 0")
        self.supervisor.close(60)
        wait_for(lambda: self.supervisor.snapshot().last_unload, "it is known what was freed")


@pytest.fixture
def machine(nvml: FakeNvml, engine_log: Path) -> Iterator[Machine]:
    made = Machine(nvml, nvml.gpu(), engine_log.parent)
    yield made
    made.close()


def gated(gate: str, n_tokens: int) -> str:
    """Asks for so many tokens, of which all but the first wait."""
    return f"gate {gate} 1 {' '.join('x' * n_tokens)}"


def looked(machine: Machine) -> None:
    """The counters as they were when the answer began are known."""
    looking = machine.engine._meter._before
    assert looking is not None
    with gevent.Timeout(60):
        assert looking.get() is not None


def end(channel: Channel) -> None:
    with gevent.Timeout(60):
        assert channel.wait_for_engine() is None


def test_an_answer(machine: Machine) -> None:
    """What the engine's device has drawn from its beginning to its end, and no other device; the next one is added."""
    machine.draws(5000, 0)
    channel = machine.ask(gated("first", 20))
    looked(machine)
    machine.draws(17000, 99000)
    machine.end(channel, "first")
    assert wait_for(machine.spent) == Spent(12.0, 20, 12.0)
    channel = machine.ask(gated("second", 10))
    looked(machine)
    machine.draws(20000, 99000)
    machine.end(channel, "second")
    wait_for(lambda: machine.spent() == Spent(15.0, 30, 3.0), "both are told")


def test_answers_at_once(machine: Machine) -> None:
    """They are measured together; each has a share by its tokens."""
    machine.draws(0)
    long, short = machine.ask(gated("long", 30)), machine.ask(gated("short", 10))
    looked(machine)
    machine.draws(40000)
    machine.end(short, "short")
    machine.end(long, "long")
    assert wait_for(machine.spent) == Spent(40.0, 40, 30.0)


def test_a_driver_that_answers_late(machine: Machine, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays no answer, and what it says then is left out."""
    monkeypatch.setattr(energy, "_LATE_S", 0.05)
    nvml.say("stuck")
    began = nvml.n_looks
    end(machine.ask("count 3"))
    gevent.sleep(0.1)
    machine.draws(0)
    wait_for(lambda: nvml.n_looks >= began + 2 and not nvml.n_open, "both looks are over")
    assert machine.spent() is None


def test_one_look_for_both_ends(machine: Machine, nvml: FakeNvml) -> None:
    """Says nothing of an answer that has come and gone while the driver was thinking of something else."""
    nvml.say("stuck")
    n_looks = nvml.n_looks
    gevent.spawn(machine.engine._footprint.look_at_gpu)
    wait_for(lambda: nvml.n_looks > n_looks, "the driver thinks")
    end(machine.ask("count 3"))
    machine.draws(0)
    wait_for(lambda: nvml.n_looks == n_looks + 2 and not nvml.n_open, "both ends are looked at")
    machine.draws(5000)
    channel = machine.ask(gated("go", 20))
    looked(machine)
    machine.draws(17000)
    machine.end(channel, "go")
    assert wait_for(machine.spent) == Spent(12.0, 20, 12.0)


def test_a_gpu_that_does_not_count(machine: Machine, nvml: FakeNvml) -> None:
    """Nothing is told, rather than nought."""
    nvml.say("device 0 0 0")
    n_looks = nvml.n_looks
    end(machine.ask("count 3"))
    wait_for(lambda: nvml.n_looks >= n_looks + 2 and not nvml.n_open, "both looks are over")
    assert machine.spent() is None


def test_figures_while_an_engine_runs(machine: Machine, nvml: FakeNvml) -> None:
    """Each device's, with what it has drawn since the engine began; none is looked at when it has ended."""
    machine.draws(7000)
    wait_for(lambda: machine.supervisor.devices() and machine.supervisor.devices()[0][0].power_w == 100.0)
    machine.supervisor.give_back(machine.lease)
    machine.supervisor.close_lease(machine.lease)
    machine.supervisor.unload("m", 10)
    n_looks = nvml.n_looks
    assert machine.supervisor.devices() == []
    assert nvml.n_looks == n_looks


def test_energy_since_the_load(nvml: FakeNvml, tmp_path: Path) -> None:
    """Of each GPU, from before the engine's start; as the status tells it."""
    nvml.say("device 0 0 0", "figures 1 1 1 5000")
    machine = Machine(nvml, nvml.gpu(), tmp_path)
    try:
        machine.draws(9250)
        wait_for(lambda: machine.supervisor.devices()[0][1] == 4.25, "it is told")
        [(device, energy_j)] = machine.supervisor.devices()
    finally:
        machine.close()
    assert msgspec.to_builtins(gpu_status(device, energy_j)) == {
        "index": 0,
        "name": "NVIDIA Fake",
        "used_bytes": 0,
        "total_bytes": 2**40,
        "utilisation": 0.5,
        "power_w": 100.0,
        "temperature_c": 60,
        "energy_j": 4.25,
    }


def test_the_energy_of_a_token() -> None:
    """As the status tells it; of answers without one there is none."""
    told = msgspec.to_builtins(energy_status(Spent(100.0, 40, 25.0) + Spent(20.0, 10, 20.0)))
    assert told == {"total_j": 120.0, "n_tokens": 50, "j_per_token": 2.4, "last_answer_j": 20.0}
    assert energy_status(Spent(1.0, 0, 1.0)).j_per_token is None
