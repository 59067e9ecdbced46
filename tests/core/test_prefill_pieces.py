"""On a GPU a step goes to its end: a prompt is computed in pieces so short that cancelling need not wait long.

The layers are where they are, on the CPU; how long a step takes and what an interrupt does are a GPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage_core import CancelledError, Engine, Model, SamplingParams
from hoshikage_core import engine as engine_module

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
PROMPT = [5 + i % 200 for i in range(3000)]
N_BATCH = 512


class Device:
    """A clock that moves by what a step would take, and the steps it saw.

    Attributes:
        during_step: Called in the middle of each step.
    """

    def __init__(self, s_per_step: float, s_per_token: float) -> None:
        self._s_per_step, self._s_per_token = s_per_step, s_per_token
        self._now_s = 0.0
        self.during_step: Callable[[], None] = lambda: None
        self.n_tokens: list[int] = []

    def now(self) -> float:
        return self._now_s

    def seconds(self, n_tokens: int) -> float:
        return self._s_per_step + n_tokens * self._s_per_token

    def engine(self, model: Model) -> Engine:
        engine = model.engine(n_ctx=4096, parallel=2, n_batch=N_BATCH)
        run = engine.native_step.run

        def watched(context: Any, parts: Any) -> Any:
            self.n_tokens.append(sum(n_tokens for _, n_tokens, *_ in parts))
            self._now_s += self.seconds(self.n_tokens[-1])
            self.during_step()
            return run(context, parts)

        engine.native_step.run = watched  # type: ignore[method-assign]
        engine._interrupt = lambda: None  # type: ignore[method-assign]
        return engine


@pytest.fixture
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(*getattr(request, "param", (0.003, 0.001)))
    monkeypatch.setattr(Model, "n_gpu_layers", 3)
    monkeypatch.setattr(engine_module, "time", SimpleNamespace(monotonic=device.now, perf_counter=device.now))
    return device


@pytest.mark.parametrize("device", [(0.003, 0.0002), (0.01, 0.001), (0.001, 0.0001)], indirect=True)
def test_a_piece_takes_less_than_a_tenth_of_a_second(model: Model, device: Device) -> None:
    """The first is small, since nothing is known yet; soon they are as large as that allows, and so are few."""
    with device.engine(model) as engine, engine.open(PROMPT, reuse=False) as sequence:
        sequence.prefill()
    assert device.n_tokens[0] == 32
    assert sum(device.n_tokens) == len(PROMPT)
    assert max(map(device.seconds, device.n_tokens)) < 0.1
    most = max(n for n in range(1, N_BATCH + 1) if device.seconds(n) < 0.1)
    assert len(device.n_tokens) <= len(PROMPT) / (0.8 * most) + 3


def test_a_slow_device_gets_pieces_all_the_same(model: Model, device: Device) -> None:
    """They do not become smaller than what is computed hardly sooner."""
    device._s_per_token = 0.02
    with device.engine(model) as engine, engine.open(PROMPT[:300], reuse=False) as sequence:
        sequence.prefill()
    assert device.n_tokens == [32] * 9 + [12]


def test_prompts_of_several_share_a_piece(model: Model, device: Device) -> None:
    """How long the step takes counts, whoever is in it."""
    with device.engine(model) as engine:
        both = [engine.stream(PROMPT, GREEDY, max_tokens=1, reuse=False) for _ in range(2)]
        while engine.step():
            pass
        assert all(generation.finished for generation in both)
    assert max(map(device.seconds, device.n_tokens)) < 0.1


def test_what_was_cancelled_is_not_gone_on_with(model: Model, device: Device) -> None:
    """The piece that is being computed is the last; the next question is answered as ever."""
    with device.engine(model) as engine:
        expected = engine.generate([7, 8], GREEDY, max_tokens=4).tokens
        generation = engine.stream(PROMPT, GREEDY, reuse=False)
        engine.step()
        device.during_step = generation.cancel
        engine.step()
        n_steps = len(device.n_tokens)
        while engine.step():
            pass
        assert (generation.result().finish_reason, len(device.n_tokens)) == ("cancelled", n_steps)
        device.during_step = lambda: None
        assert engine.generate([7, 8], GREEDY, max_tokens=4).tokens == expected


def test_a_cancelled_sequence_ends_after_its_piece(model: Model, device: Device) -> None:
    """At the low level too."""
    with device.engine(model) as engine, engine.open(PROMPT, reuse=False) as sequence:
        device.during_step = sequence.cancel
        with pytest.raises(CancelledError):
            sequence.prefill()
        assert device.n_tokens == [32]
        assert sequence.n_computed == 32


def test_on_the_cpu_a_batch_is_whole(tiny_model_path: Path) -> None:
    """There, a step that is running can be interrupted, and small pieces would only cost time."""
    device = Device(0, 0)
    with Model(tiny_model_path, gpu_layers=0) as model, device.engine(model) as engine:
        engine.open(PROMPT, reuse=False).prefill()
    assert device.n_tokens == [N_BATCH] * 5 + [440]
