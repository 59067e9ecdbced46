"""Why no GPU computes: each cause has its words and its remedy, and nobody is warned who expects none."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_client import Api, MakeApi
from fake_nvml import DRIVER_NOT_LOADED, FakeNvml
from tiny_gguf import TinyModel

from hoshikage_core import Model
from hoshikage_server.engines import loading, no_gpu, nvml
from hoshikage_server.engines.engine_spec import Devices, EngineSpec
from hoshikage_server.engines.failures import failed_load
from hoshikage_server.engines.loading import load
from hoshikage_server.engines.no_gpu import NoGpuError, Surroundings, cause, is_container, look, why_no_gpu, why_none
from hoshikage_server.errors import KINDS, EngineError
from hoshikage_server.messages import said

GIB = 2**30
# What makes a sentence of use: in both languages, something to type or to set.
REMEDIES = {
    "build": "HOSHIKAGE_BACKEND=cuda make build",
    "machine": "HOSHIKAGE_BACKEND=cuda make build",
    "container": "--gpus all",
    "driver": "gpu_layers",
    "old_driver": "HOSHIKAGE_BACKEND=cuda make build",
    "hidden": "CUDA_VISIBLE_DEVICES",
    "device": "nvidia-smi",
}


def spec(**values: Any) -> EngineSpec:
    return EngineSpec("/m.gguf", 256, **values)


def surroundings(
    monkeypatch: pytest.MonkeyPatch, memory: dict[str, tuple[int, int]] | None = None, **facts: bool
) -> None:
    found = Surroundings(**{name: facts.get(name, False) for name in Surroundings.__dataclass_fields__})
    monkeypatch.setattr(no_gpu, "gpu_memory", lambda: memory or {})
    monkeypatch.setattr(no_gpu, "look", lambda: found)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"has_device": True}, "build"),
        ({"has_device": True, "is_hidden": True, "is_container": True}, "build"),
        ({}, "machine"),
        ({"is_container": True}, "machine"),
        ({"is_built_for_it": True}, "driver"),
        ({"is_built_for_it": True, "is_hidden": True}, "driver"),
        ({"is_built_for_it": True, "is_container": True}, "container"),
        ({"is_built_for_it": True, "is_container": True, "has_library": True}, "container"),
        ({"is_built_for_it": True, "is_container": True, "has_library": True, "has_device": True}, "device"),
        ({"is_built_for_it": True, "has_library": True, "has_device": True, "is_hidden": True}, "hidden"),
        ({"is_built_for_it": True, "has_library": True, "has_device": True}, "device"),
        ({"is_built_for_it": True, "has_library": True, "has_device": True, "is_too_old": True}, "old_driver"),
        ({"is_built_for_it": True, "has_device": True, "is_too_old": True}, "driver"),
    ],
)
def test_the_cause_comes_first_that_is_put_right_first(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, bool], expected: str
) -> None:
    """What would still be missing after the others; the sentence tells what helps, in both languages."""
    surroundings(monkeypatch, **facts)
    assert cause(no_gpu.look()) == expected
    told = why_no_gpu(spec(gpu_layers="all"), 0)
    assert told is not None
    for language in ("ja", "en"):
        assert REMEDIES[expected] in told.text(language)
        assert "{" not in told.text(language)


INIT = "ggml_cuda_init: failed to initialize CUDA: "
# cudaGetErrorString of cudaErrorInsufficientDriver, cudaErrorNoDevice and cudaErrorSystemDriverMismatch
OLD = f"{INIT}CUDA driver version is insufficient for CUDA runtime version"
NONE = f"{INIT}no CUDA-capable device is detected"
MISMATCH = f"{INIT}system has unsupported display driver / cuda driver combination"


@pytest.mark.parametrize(
    ("problem", "environ", "words"),
    [
        (OLD, {}, "too old for this Hoshikage, which was built with CUDA 13.0. Update the driver"),
        (NONE, {}, "no GPU that can be used (no CUDA-capable device is detected)"),
        (NONE, {"CUDA_VISIBLE_DEVICES": "7"}, "CUDA_VISIBLE_DEVICES hides all GPUs"),
        (OLD, {"CUDA_VISIBLE_DEVICES": "0"}, "too old"),
        (MISMATCH, {"CUDA_VISIBLE_DEVICES": "0"}, "(system has unsupported display driver / cuda driver combination)"),
        ("", {}, "(none)"),
    ],
)
def test_what_cuda_says(monkeypatch: pytest.MonkeyPatch, problem: str, environ: dict[str, str], words: str) -> None:
    """It tells a driver that is too old from one that is broken, and a number that there is not."""
    info = SimpleNamespace(backend="cuda", cuda_version="13.0", gpu_problem=problem)
    monkeypatch.setattr(no_gpu, "build_info", lambda: info)
    monkeypatch.setattr(no_gpu, "_can_load", lambda library: True)
    monkeypatch.setattr(no_gpu, "_DEVICE_FILE", "/proc/self")
    monkeypatch.setattr(no_gpu, "look", lambda: look(environ))
    told = why_none(expects=False)
    assert told is not None
    assert words in told.text("en")


@pytest.mark.parametrize("is_nvidias", [True, False])
def test_other_makers_gpus_under_wsl(monkeypatch: pytest.MonkeyPatch, is_nvidias: bool) -> None:
    """Windows has one file for all of them: nobody is warned of a GPU that CUDA could not use."""
    monkeypatch.setattr(nvml, "WSL_DEVICE_FILE", "/proc/self")
    monkeypatch.setattr(no_gpu, "_DEVICE_FILE", "/proc/self/none")
    monkeypatch.setattr(no_gpu, "_can_load", lambda library: is_nvidias)
    assert look({}).has_device is is_nvidias


@pytest.mark.parametrize(
    ("values", "facts", "is_told"),
    [
        ({}, {}, False),
        ({}, {"is_container": True}, False),
        ({}, {"has_device": True}, True),
        ({}, {"is_built_for_it": True}, True),
        ({"gpu_layers": 0}, {"is_built_for_it": True, "has_device": True}, False),
        ({"gpu_layers": 0, "requires_gpu": True}, {"has_device": True}, False),
        ({"gpu_layers": 1}, {}, True),
        ({"gpu_layers": "all"}, {}, True),
        ({"devices": Devices(tensor_split=(3, 1))}, {}, True),
        ({"devices": Devices(split_mode="none")}, {}, True),
        ({"devices": Devices(rpc_servers=("a:1",))}, {}, False),
        ({"requires_gpu": True}, {}, True),
    ],
)
def test_who_is_told(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], facts: dict[str, bool], is_told: bool
) -> None:
    """Who has said that there is a GPU, or has one; nobody who wants the CPU, or has nothing else."""
    surroundings(monkeypatch, **facts)
    assert (why_no_gpu(spec(**values), 0) is not None) is is_told
    assert why_no_gpu(spec(**values), 1) is None


def test_a_gpu_that_others_have_filled(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> None:
    """How much is free of how much, and who holds the most; where the driver does not tell, that is said."""
    surroundings(monkeypatch, {"CUDA0": (GIB // 4, 8 * GIB), "CUDA1": (GIB // 4, 8 * GIB)})
    shares = {11: GIB, 12: 5 * GIB, 13: 2 * GIB, 14: GIB // 2, os.getpid(): 6 * GIB}
    nvml.say("device 0 0 0", *(f"process {pid} {size}" for pid, size in shares.items()), "process 15 -1")
    told = why_no_gpu(spec(), 0)
    assert told is not None
    for part in ("512.0 MiB", "16.00 GiB", "PID 12 (5.00 GiB), PID 13 (2.00 GiB), PID 11 (1.00 GiB)"):
        assert part in told.text("ja")
        assert part in told.text("en")
    assert nvml.n_open == 0
    monkeypatch.setattr(no_gpu, "is_container", lambda: False)
    nvml.say("device 0 0 0", "process 1 5")
    named = why_no_gpu(spec(), 0)
    assert named is not None
    assert f"{Path('/proc/1/comm').read_text().strip()} PID 1 (" in named.text("en")
    nvml.say(f"init {DRIVER_NOT_LOADED}")
    told = why_no_gpu(spec(), 0)
    assert told is not None
    assert "unknown" in told.text("en")
    assert "不明" in told.text("ja")


@pytest.mark.parametrize(("value", "is_hidden"), [(None, False), ("", True), (" ", True), ("-1", True), ("0,1", False)])
def test_hidden_gpus(value: str | None, is_hidden: bool) -> None:
    """As CUDA reads the variable."""
    assert look({} if value is None else {"CUDA_VISIBLE_DEVICES": value}).is_hidden is is_hidden


def test_containers(tmp_path: Path) -> None:
    """Docker and Podman leave a file, others the name of their control group."""
    root = tmp_path / "root"
    (root / "proc" / "1").mkdir(parents=True)
    assert not is_container(str(root))
    group = root / "proc" / "1" / "cgroup"
    group.write_text("0::/init.scope\n")
    assert not is_container(str(root))
    group.write_text("12:memory:/kubepods/burstable/pod1\n")
    assert is_container(str(root))
    group.unlink()
    (root / ".dockerenv").touch()
    assert is_container(str(root))


def test_it_is_refused_before_the_weights_are_read(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU is required; the error crosses to the server with its reason, as 503."""
    surroundings(monkeypatch, has_device=True)
    monkeypatch.setattr(loading, "Model", None)
    wanted = EngineSpec(str(tiny_model_path), 256, requires_gpu=True)
    with pytest.raises(NoGpuError) as caught:
        load(wanted, lambda progress: None)
    frame = failed_load(caught.value)
    told = EngineError.reported(frame.code, frame.message, {"model": "m", **frame.fields})
    assert (told.code, KINDS[told.code].status) == ("gpu_required", 503)
    for language in ("ja", "en"):
        assert REMEDIES["build"] in told.text(language)
        assert "HOSHIKAGE_REQUIRE_GPU" in told.text(language)


def test_it_is_refused_where_no_layer_fits(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a GPU, and it is full; the model that was loaded is closed."""
    surroundings(monkeypatch, {"CUDA0": (0, 8 * GIB)})
    closed: list[Model] = []
    monkeypatch.setattr(Model, "close", lambda model: closed.append(model))
    with pytest.raises(NoGpuError, match="no room"):
        load(EngineSpec(str(tiny_model_path), 256, requires_gpu=True), lambda progress: None)
    [model] = closed
    monkeypatch.undo()
    model.close()


def test_a_layer_that_fits_beside_a_smaller_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps that leave the GPU more room are taken where they may be."""
    surroundings(monkeypatch, {"CUDA0": (GIB, 8 * GIB)})
    answers = [said("no_gpu_memory", free="1", total="8", users="x")] * 2 + [None]
    monkeypatch.setattr(loading, "why_no_gpu", lambda spec, n_gpu_layers: answers.pop(0))
    path = TinyModel(n_embd=128, n_layer=1).write(tmp_path / "m.gguf")
    loaded = load(EngineSpec(str(path), 256, requires_gpu=True, may_degrade=True), lambda progress: None)
    assert loaded.degraded == ("n_batch=128", "kv_type=q8_0")
    loaded.model.close()


def test_the_last_step_of_the_ladder_is_not_taken_then(tiny_model_path: Path) -> None:
    """It would leave the GPU."""
    change = {"gpu_layers": 0}
    assert loading._saves(EngineSpec(str(tiny_model_path), 256), change)
    assert not loading._saves(EngineSpec(str(tiny_model_path), 256, requires_gpu=True), change)


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    return make_api({name: {"path": "/nowhere", "model": f"{name}.gguf"} for name in ("m", "crawls", "lean")})


def test_status_and_health_tell(api: Api) -> None:
    """In the language of whoever asks; health says so only while it is so."""
    assert api.get("/health").json == {"status": "ok"}
    loaded = api.post(b"", "/v1/models/crawls/load", headers={"Accept-Language": "en"}).json["engine"]
    assert loaded["degraded"] == ["no_gpu"]
    assert REMEDIES["container"] in loaded["no_gpu"]
    [engine] = api.get("/v1/status", headers={"Accept-Language": "ja"}).json["engines"]
    assert (engine["degraded"], engine["gpu_layers"], engine["n_layers"]) == (["no_gpu"], 0, 33)
    assert "コンテナ" in engine["no_gpu"]
    assert api.get("/health").json == {"status": "ok", "degraded": ["no_gpu"]}
    assert api.post(b"", "/v1/models/lean/load").json["engine"]["no_gpu"] is None
    assert api.get("/health").json == {"status": "ok", "degraded": ["n_batch=128"]}
