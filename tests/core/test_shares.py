"""Shares of real second devices: RPC workers on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from rpc_workers import RpcWorker
from tiny_gguf import TinyModel

from hoshikage_core import Devices, Model, SamplingParams, memory_needed
from hoshikage_core.rpc import offered_devices

GIB = 2**30
N_EMBD, N_CTX = 512, 1_000_000
LAYER_BYTES = 2 * N_EMBD * 4 * N_CTX  # of the KV cache, in f32


def test_shares(tmp_path: Path) -> None:
    """Layers go where the shares say; the answer is the same."""
    path = TinyModel(n_embd=256, n_layer=8).write(tmp_path / "m.gguf")
    greedy = SamplingParams(temperature=0)
    with Model(path, gpu_layers=0) as model, model.engine(128, n_threads=1) as engine:
        expected = engine.generate("hello there", greedy, max_tokens=12).text
    with RpcWorker(tmp_path) as one, RpcWorker(tmp_path) as other:
        for split, n_layers, more in (((3, 1), 9, 0), ((1, 3), 9, 1), ((3, 1), 4, 0)):
            devices = Devices(tensor_split=split, rpc_servers=(one.server, other.server))
            needed = memory_needed(path, gpu_layers=n_layers, devices=devices, n_ctx=128)
            assert needed[more].context_bytes > needed[1 - more].context_bytes
            with Model(path, gpu_layers=n_layers, devices=devices) as model, model.engine(128, n_threads=1) as engine:
                assert model.n_gpu_layers == n_layers
                assert engine.generate("hello there", greedy, max_tokens=12).text == expected


@pytest.mark.parametrize("split", [(3, 1), (1, 1)])
def test_as_many_layers_as_fit_in_the_shares(tmp_path: Path, split: tuple[int, int]) -> None:
    """llama.cpp's own fitting refuses where shares are given; ours leaves as much free as it does."""
    [device] = offered_devices()
    n_layer = 4 + 2 * device.total_bytes // LAYER_BYTES  # half of them are too many for this machine
    path = TinyModel(n_embd=N_EMBD, n_head_kv=4, n_layer=n_layer).write(tmp_path / "m.gguf")
    with RpcWorker(tmp_path) as one, RpcWorker(tmp_path) as other:
        devices = Devices(tensor_split=split, rpc_servers=(one.server, other.server))
        everything = memory_needed(path, gpu_layers="all", devices=devices, n_ctx=N_CTX, kv_type="f32")
        assert everything[0].needed_bytes > everything[0].free_bytes
        first, second, host = memory_needed(path, gpu_layers="auto", devices=devices, n_ctx=N_CTX, kv_type="f32")
        layer_bytes = everything[0].context_bytes * sum(split) // split[0] // n_layer
        assert 0 < first.free_bytes - first.needed_bytes - GIB < 2 * layer_bytes, "not one more layer"
        assert second.needed_bytes < second.free_bytes - GIB
        assert host.context_bytes > 0
