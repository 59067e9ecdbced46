"""Which GPUs a model goes to: what is said of it is checked, and reaches llama.cpp; without a GPU, the CPU computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hoshikage_core import (
    ContextShape,
    Devices,
    InvalidArgumentError,
    Model,
    SamplingParams,
    devices,
    memory_needed,
    params,
)
from hoshikage_core.memory import require_memory
from hoshikage_core.params import model_params

SPREADS = [
    {},
    {"tensor_split": (3, 1)},
    {"split_mode": "none", "main_gpu": 1},
    {"split_mode": "tensor", "tensor_split": (1, 1)},
]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"split_mode": "row"}, "split_mode"),
        ({"split_mode": None}, "split_mode"),
        ({"tensor_split": "3,1"}, "tensor_split"),
        ({"tensor_split": 3}, "tensor_split"),
        ({"tensor_split": (3, -1)}, "tensor_split"),
        ({"tensor_split": (0, 0)}, "tensor_split"),
        ({"tensor_split": (float("nan"), 1)}, "tensor_split"),
        ({"tensor_split": (float("inf"), 1)}, "tensor_split"),
        ({"tensor_split": (True, 1)}, "tensor_split"),
        ({"tensor_split": ("3", 1)}, "tensor_split"),
        ({"tensor_split": (1,) * 17}, "tensor_split"),
        ({"tensor_split": (3, 1), "split_mode": "none"}, "tensor_split"),
        ({"main_gpu": -1, "split_mode": "none"}, "main_gpu"),
        ({"main_gpu": 16, "split_mode": "none"}, "main_gpu"),
        ({"main_gpu": True, "split_mode": "none"}, "main_gpu"),
        ({"main_gpu": 1}, "main_gpu"),
        ({"rpc_servers": ("host",)}, "rpc_servers"),
        ({"rpc_servers": ("host:0",)}, "rpc_servers"),
        ({"rpc_servers": ("host:65536",)}, "rpc_servers"),
        ({"rpc_servers": ("http://host:1",)}, "rpc_servers"),
        ({"rpc_servers": ("user@host:1",)}, "rpc_servers"),
        ({"rpc_servers": (1,)}, "rpc_servers"),
    ],
)
def test_what_cannot_be_is_named(values: dict[str, Any], field: str) -> None:
    """Also what would have no effect beside the rest."""
    with pytest.raises(InvalidArgumentError) as caught:
        Devices(**values)
    assert caught.value.field == field


def test_a_kv_cache_that_no_gpu_computes_with(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where there is a GPU, before the weights are read: the CPU would compute each layer's attention."""
    shape = ContextShape(n_ctx=256, kv_type="iq4_nl")
    model_params("all", shape)
    monkeypatch.setattr(params, "gpu_free_bytes", lambda: {"CUDA0": 2**30})
    model_params(0, shape)
    model_params("all", ContextShape(n_ctx=256, kv_type="q4_0"))
    for opens in (
        lambda: model_params("auto", shape),
        lambda: Model(tiny_model_path, gpu_layers=1, fit=shape),
        lambda: require_memory(tiny_model_path, gpu_layers="all", n_ctx=256, kv_type="iq4_nl"),
    ):
        with pytest.raises(InvalidArgumentError, match="q4_0") as caught:
            opens()
        assert caught.value.field == "kv_type"
    with Model(tiny_model_path) as model:
        monkeypatch.setattr(Model, "n_gpu_layers", 1)
        with pytest.raises(InvalidArgumentError, match="q4_0"):
            model.engine(256, kv_type="iq4_nl")


def test_lists_will_do() -> None:
    """They are kept as tuples, so that two of them can be compared."""
    given: Any = {"tensor_split": [3, 1], "rpc_servers": ["10.0.0.2:50052", "host:1"]}
    made = Devices(**given)
    assert made == Devices(tensor_split=(3.0, 1.0), rpc_servers=("10.0.0.2:50052", "host:1"))
    assert hash(made)


def test_it_reaches_the_native_side() -> None:
    """Under llama.cpp's numbers."""
    params = model_params("all", ContextShape(), Devices(split_mode="tensor", tensor_split=(3, 1)))
    assert (params.split_mode, params.main_gpu) == (3, 0)
    assert list(params.tensor_split) == [3, 1] + [0] * 14
    params = model_params(7, ContextShape(), Devices(split_mode="none", main_gpu=5))
    assert (params.split_mode, params.main_gpu, params.n_gpu_layers) == (0, 5, 7)
    assert model_params("auto", ContextShape()).split_mode == 1


@pytest.mark.parametrize("values", SPREADS, ids=str)
@pytest.mark.parametrize("gpu_layers", ["auto", "all", 2])
def test_without_a_gpu_the_cpu_computes(tiny_model_path: Path, values: dict[str, Any], gpu_layers: Any) -> None:
    """What is estimated, loaded and answered is the same; the layers in GPU memory are told."""
    if devices.gpu_memory():
        pytest.skip("there is a GPU")
    spread = Devices(**values)
    sampling = SamplingParams(temperature=0)
    require_memory(tiny_model_path, gpu_layers=gpu_layers, devices=spread)
    assert memory_needed(tiny_model_path, gpu_layers=gpu_layers, devices=spread) == memory_needed(
        tiny_model_path, gpu_layers=0
    )
    with Model(tiny_model_path, gpu_layers=0) as model, model.engine(64, n_threads=1) as engine:
        expected = engine.generate("hello", sampling, max_tokens=8).text
    with Model(tiny_model_path, gpu_layers=gpu_layers, devices=spread) as model:
        assert model.n_gpu_layers == 0
        with model.engine(64, n_threads=1) as engine:
            assert engine.generate("hello", sampling, max_tokens=8).text == expected


@pytest.mark.parametrize(
    ("values", "field"),
    [({"tensor_split": (1, 1, 1)}, "tensor_split"), ({"split_mode": "none", "main_gpu": 2}, "main_gpu")],
)
def test_gpus_that_there_are_not(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], field: str
) -> None:
    """Where there are others: refused before anything is loaded, unless the GPUs are left alone anyway."""
    gib = 2**30
    monkeypatch.setattr(devices, "gpu_memory", lambda: {"CUDA0": (gib, gib), "CUDA1": (gib, gib)})
    with pytest.raises(InvalidArgumentError) as caught:
        Model(tiny_model_path, devices=Devices(**values))
    assert caught.value.field == field
    assert "2" in caught.value.reason or "1" in caught.value.reason
    with pytest.raises(InvalidArgumentError):
        require_memory(tiny_model_path, devices=Devices(**values))
    with Model(tiny_model_path, gpu_layers=0, devices=Devices(**values)):
        pass


def test_devices_are_checked(tiny_model_path: Path) -> None:
    """Nothing else is taken for them."""
    with pytest.raises(InvalidArgumentError) as caught:
        Model(tiny_model_path, devices={"main_gpu": 1})  # type: ignore[arg-type]
    assert caught.value.field == "devices"
