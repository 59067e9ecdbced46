"""What fits in memory is known before anything is loaded, and what does not is refused in words, never by a crash."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from rpc_workers import RpcWorker
from tiny_gguf import BROKEN, TinyModel

from hoshikage_core import (
    ContextShape,
    Devices,
    InsufficientMemoryError,
    InvalidArgumentError,
    MeasuredMemory,
    Model,
    _gguf,
    memory,
)
from hoshikage_core.memory import require_memory
from hoshikage_core.params import model_params

SHAPES = [
    ContextShape(),
    ContextShape(n_ctx=20000, parallel=8, kv_type="q8_0"),
    ContextShape(n_ctx=65536, flash_attention=False),
    ContextShape(n_ctx=512, kv_type="f32", n_batch=64),
    ContextShape(n_ctx=300_000),
]


@pytest.fixture
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it an error to ask llama.cpp."""
    monkeypatch.delattr(memory, "estimate_memory")


@pytest.mark.usefixtures("no_estimate")
def test_what_obviously_fits_costs_nothing(smollm2_path: Path) -> None:
    """A small model on a machine with memory is let through without llama.cpp, in a millisecond or so of computing."""
    took_s = []
    for _ in range(20):
        began = time.thread_time()
        require_memory(smollm2_path, n_ctx=8192, parallel=4)
        took_s.append(time.thread_time() - began)
    assert min(took_s) < 0.02, "llama.cpp takes 50 ms and more"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["smollm2", "tiny", "mamba"])
def test_the_rough_figure_is_not_far_too_low(
    kind: str, shape: ContextShape, tmp_path: Path, smollm2_path: Path
) -> None:
    """What is let through on a rough figure, twice of which must be free, fits by llama.cpp's own figure too."""
    path = smollm2_path
    if kind != "smollm2":
        tiny = TinyModel(n_embd=256, n_layer=6)
        path = tiny.write(tmp_path / "a.gguf") if kind == "tiny" else tiny.write_mamba(tmp_path / "b.gguf")
    rough = memory.context_bytes_at_most(_gguf.read_scalars(path), shape)
    assert rough is not None
    host = memory.estimate_memory(str(path), model_params(0, shape), shape)[-1]
    # A tiny model's buffers are larger than all the rest of it; 16 MiB are free everywhere.
    assert host.needed_bytes < 2 * (memory.model_file_bytes(path) + rough) + 16 * 2**20


def test_a_context_that_cannot_fit(smollm2_path: Path) -> None:
    """It is refused before anything is loaded, with what it needs, what is free, and where."""
    n_ctx = 2**28
    with pytest.raises(InsufficientMemoryError) as caught:
        require_memory(smollm2_path, n_ctx=n_ctx)
    # SmolLM2: 30 layers, 3 KV heads, keys and values 64 wide each, 2 bytes (f16).
    assert 30 * 3 * (64 + 64) * 2 * n_ctx < caught.value.needed_bytes < 2 * 30 * 3 * (64 + 64) * 2 * n_ctx
    assert 0 < caught.value.free_bytes < caught.value.needed_bytes
    assert caught.value.device == "host"


def test_weights_count_in_full(tmp_path: Path) -> None:
    """A file larger than memory is refused, though mapping it would succeed; all files of a split model count."""
    first = TinyModel().write(tmp_path / "m-00001-of-00002.gguf")
    second = tmp_path / "m-00002-of-00002.gguf"
    second.touch()
    require_memory(first)
    with second.open("wb") as file:
        file.truncate(2**42)  # takes no room on the disk
    with pytest.raises(InsufficientMemoryError) as caught:
        require_memory(first)
    assert caught.value.needed_bytes > 2**42


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_for_the_loader_to_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no usable model, or not there, passes here also when llama.cpp is asked: loading says what is wrong."""
    monkeypatch.setattr(memory, "_surely_fits", lambda *_: False)
    require_memory(BROKEN[kind](tmp_path / "broken.gguf"))
    require_memory(tmp_path / "missing.gguf")


@pytest.mark.usefixtures("no_estimate")
def test_what_goes_to_gpus_needs_little_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too little is free to ask llama.cpp, the host is to hold what the GPUs cannot, and what loading takes."""
    gib, mib = 2**30, 2**20
    path = TinyModel().write(tmp_path / "a-00001-of-00002.gguf")
    with (tmp_path / "a-00002-of-00002.gguf").open("wb") as file:
        file.truncate(10 * gib)
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 8 * gib, "CUDA1": 8 * gib})
    needed = {}
    for gpu_layers in ("all", "auto", 0):
        monkeypatch.setattr(memory, "available_bytes", lambda: 200 * mib)
        with pytest.raises(InsufficientMemoryError) as caught:
            require_memory(path, gpu_layers=gpu_layers)  # type: ignore[arg-type]
        needed[gpu_layers] = caught.value.needed_bytes
    assert needed["all"] == needed["auto"] == 256 * mib, "what loading takes"
    assert needed[0] > 10 * gib
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 8 * gib})
    with pytest.raises(InsufficientMemoryError) as caught:
        require_memory(path, gpu_layers="all")
    assert 2 * gib < caught.value.needed_bytes < 3 * gib, "what the GPU has no room for"
    monkeypatch.setattr(memory, "gpu_free_bytes", dict)
    require_memory(TinyModel().write(tmp_path / "b.gguf"), gpu_layers="all")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n_ctx": 0}, "n_ctx"),
        ({"parallel": 257}, "parallel"),
        ({"n_batch": "many"}, "n_batch"),
        ({"flash_attention": 1}, "flash_attention"),
        ({"kv_type": "a name far too long"}, "kv_type"),
        ({"gpu_layers": -1}, "gpu_layers"),
        ({"gpu_layers": "some"}, "gpu_layers"),
    ],
)
def test_bad_arguments_are_named(tiny_model_path: Path, arguments: dict[str, object], field: str) -> None:
    """A bad argument is an error of its own."""
    with pytest.raises(InvalidArgumentError) as caught:
        require_memory(tiny_model_path, **arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_gpu_that_lacks_memory_is_named(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With figures of two GPUs, the one that would overflow is named; where nothing would, the host's part decides."""
    gpu = memory.DeviceMemory("CUDA0", 1000, 4000, model_bytes=600, context_bytes=200, compute_bytes=100)
    host = memory.DeviceMemory("host", 0, 0, model_bytes=0, context_bytes=0, compute_bytes=5)
    full = dataclasses.replace(gpu, name="CUDA1", free_bytes=899)
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 1000, "CUDA1": 899})
    monkeypatch.setattr(memory, "estimate_memory", lambda *_: (gpu, full, host))
    with pytest.raises(InsufficientMemoryError, match="CUDA1") as caught:
        require_memory(tiny_model_path)
    assert (caught.value.needed_bytes, caught.value.free_bytes, caught.value.device) == (900, 899, "CUDA1")
    monkeypatch.setattr(memory, "estimate_memory", lambda *_: (gpu, host))
    require_memory(tiny_model_path)


def needs(path: Path, **options: Any) -> tuple[int, str]:
    """What it is refused for, and where."""
    with pytest.raises(InsufficientMemoryError) as caught:
        require_memory(path, **options)
    return caught.value.needed_bytes, caught.value.device


def test_what_was_measured_counts(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For more than what is worked out: with the mapped weights it decides, in either direction."""
    file_bytes, mib = smollm2_path.stat().st_size, 2**20
    estimate = memory.memory_needed(smollm2_path, n_ctx=8192)[-1].needed_bytes
    monkeypatch.setattr(memory, "available_bytes", lambda: estimate - mib)
    assert needs(smollm2_path, n_ctx=8192) == (estimate, "host")
    require_memory(smollm2_path, n_ctx=8192, measured=MeasuredMemory(10 * mib))
    monkeypatch.setattr(memory, "available_bytes", lambda: estimate + 1000 * mib)
    require_memory(smollm2_path, n_ctx=8192)
    measured = MeasuredMemory(estimate + 990 * mib)
    mapped_bytes = memory.estimate_memory(str(smollm2_path), model_params("auto", ContextShape()), ContextShape())[
        -1
    ].model_bytes
    assert 10 * mib < mapped_bytes <= file_bytes
    assert needs(smollm2_path, n_ctx=8192, measured=measured) == (measured.private_bytes + mapped_bytes, "host")


def test_what_was_measured_on_gpus_counts(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the layers are as many as then; "auto" may put others there; the one GPU that is chosen is looked at."""
    gib = 2**30
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 4 * gib, "CUDA1": 2 * gib})
    measured = MeasuredMemory(gib // 8, 3 * gib)
    require_memory(tiny_model_path, gpu_layers="all", measured=measured)
    require_memory(tiny_model_path, gpu_layers="auto", measured=measured)
    more = MeasuredMemory(gib // 8, 7 * gib)
    assert needs(tiny_model_path, gpu_layers="all", measured=more) == (7 * gib, "CUDA0, CUDA1")
    require_memory(tiny_model_path, gpu_layers="auto", measured=more)
    in_ram = MeasuredMemory(10**15, gib)
    assert needs(tiny_model_path, gpu_layers=9, measured=in_ram) == (10**15, "host")
    require_memory(tiny_model_path, gpu_layers="auto", measured=in_ram)
    second = Devices(split_mode="none", main_gpu=1)
    assert needs(tiny_model_path, gpu_layers=9, devices=second, measured=measured) == (3 * gib, "CUDA1")
    second = Devices(tensor_split=(0, 1))
    assert needs(tiny_model_path, gpu_layers=9, devices=second, measured=measured) == (3 * gib, "CUDA1")


@pytest.mark.parametrize(
    ("gpus", "vram_bytes"),
    [
        ({"CUDA0": 2**40}, None),  # as in a container
        ({}, 2**30),  # the GPU is gone
    ],
)
def test_what_was_measured_elsewhere(
    gpus: dict[str, int], vram_bytes: int | None, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says nothing of this load: it is worked out."""
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: gpus)
    require_memory(tiny_model_path, gpu_layers="all", measured=MeasuredMemory(10**15, vram_bytes))


def test_what_was_measured_beside_other_machines(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As little: what these hold is not measured."""
    monkeypatch.setattr(memory, "gpu_free_bytes", lambda: {"CUDA0": 2**40})
    with RpcWorker(tmp_path) as worker:
        devices = Devices(rpc_servers=(worker.server,))
        measured = MeasuredMemory(10**15, 2**30)
        require_memory(tiny_model_path, gpu_layers="all", devices=devices, measured=measured)


def test_layers_are_fitted_only_where_they_may_not_fit(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, and where everything fits in it, "auto" reads nothing twice; a full GPU asks for the fit."""
    monkeypatch.setattr(memory, "gpu_free_bytes", dict)
    monkeypatch.delattr(_gguf, "read_scalars")
    assert memory.fits_every_gpu(str(tiny_model_path), ContextShape())
    monkeypatch.undo()
    for free_bytes, fits in ((10**12, True), (10**5, False)):
        monkeypatch.setattr(
            memory, "gpu_free_bytes", lambda free_bytes=free_bytes: {"CUDA0": 10**12, "CUDA1": free_bytes}
        )
        assert memory.fits_every_gpu(str(tiny_model_path), ContextShape()) is fits


def test_the_fit_is_checked(tiny_model_path: Path) -> None:
    """Layers are fitted beside a ContextShape and nothing else."""
    with pytest.raises(InvalidArgumentError) as caught:
        Model(tiny_model_path, fit=4096)  # type: ignore[arg-type]
    assert caught.value.field == "fit"
    with Model(tiny_model_path, fit=ContextShape(n_ctx=512)) as model:
        assert model.info.n_layer == 2


def run_limited(code: str, *arguments: object) -> str:
    """Runs a script that may set limits on itself; it must end well."""
    script = """
        import resource, sys
        from pathlib import Path
        from hoshikage_core import HoshikageError, InsufficientMemoryError, Model, NativeError, OutOfMemoryError, memory

        def limit(kind, free_mib):
            field = {"AS": "VmSize", "DATA": "VmData"}[kind]
            used = memory._field_bytes(Path("/proc/self/status"), field)
            limit = used + free_mib * 2**20
            resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (limit, limit))
    """
    command = [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(code), *map(str, arguments)]
    # AddressSanitizer could not live under a limit: its module is left out.
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_available_memory_heeds_the_process_s_limit(kind: str) -> None:
    """What ``ulimit -v`` or ``-d`` leaves is all there is, but for a reserve."""
    code = "limit(sys.argv[1], 300); print(memory.available_bytes())"
    assert 200 * 2**20 < int(run_limited(code, kind)) <= 300 * 2**20


@pytest.mark.parametrize("kind", ["AS", "DATA"])
@pytest.mark.parametrize("free_mib", [5, 50, 120, 230, 270, 400])
def test_a_limited_process_is_refused_in_words(kind: str, free_mib: int, smollm2_path: Path) -> None:
    """However little a limit leaves, a model is used or refused with figures; the process never ends over it."""
    code = """
        limit(sys.argv[1], int(sys.argv[2]))
        try:
            memory.require_memory(sys.argv[3])
            Model(sys.argv[3]).engine().generate("a", max_tokens=2)
            print("used")
        except InsufficientMemoryError as error:
            print(error.device, error.needed_bytes > error.free_bytes)
    """
    outcome = run_limited(code, kind, free_mib, smollm2_path)
    assert outcome == ("used\n" if free_mib == 400 else "host True\n") or 200 < free_mib < 400


@pytest.mark.parametrize("options", ["", ", use_mmap=False"])
def test_a_vocabulary_takes_no_room_for_weights(options: str, smollm2_path: Path) -> None:
    """Loaded for its vocabulary only, a model neither maps its file nor reads its weights."""
    code = f"""
        def peak():
            return memory._field_bytes(Path("/proc/self/status"), "VmHWM")

        before = peak()
        with Model(sys.argv[1], vocab_only=True{options}) as model:
            tokens = model.tokenize(model.chat().render([{{"role": "user", "content": "a"}}]).prompt)
            assert sys.argv[1] not in Path("/proc/self/maps").read_text()
        print(peak() - before)
    """
    assert int(run_limited(code, smollm2_path)) < 0.5 * smollm2_path.stat().st_size


def test_large_buffers_get_huge_pages(smollm2_path: Path) -> None:
    """Where the kernel offers huge pages, the KV cache asks for them: opening an engine is a matter of page faults."""
    code = """
        engine = Model(sys.argv[1]).engine()
        lines = Path("/proc/self/smaps").read_text().splitlines()
        print(any("hg" in line.split() for line in lines if line.startswith("VmFlags")))
    """
    is_offered = Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
    assert run_limited(code, smollm2_path) == f"{is_offered}\n"


@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_an_allocation_that_fails_all_the_same(kind: str, smollm2_path: Path) -> None:
    """Where the figures were wrong and the cache cannot be allocated, that is an error with llama.cpp's reason."""
    code = """
        model = Model(sys.argv[2])
        memory.available_bytes = lambda: 10**15
        limit(sys.argv[1], 400)
        try:
            model.engine(n_ctx=65536)
        except OutOfMemoryError as error:
            print(error)
        assert model.tokenize("still of use")
    """
    assert "insufficient memory" in run_limited(code, kind, smollm2_path)


def test_what_was_logged_before_an_abort(tiny_model_path: Path, tmp_path: Path) -> None:
    """Is told on stderr before the abort's own message, which with CUDA only says that there was an error.

    Here ggml asserts that it got memory for a context, after it has logged how much it wanted.
    """
    source, library = tmp_path / "none.cpp", tmp_path / "none.so"
    source.write_text('extern "C" int posix_memalign(void **, unsigned long, unsigned long) { return 12; }')
    subprocess.run([*shlex.split(os.environ.get("CXX", "g++")), "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"from hoshikage_core import Model; Model({str(tiny_model_path)!r})"
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {code}"],
        env={**environment, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    logged, message = done.stderr.splitlines()[-2:]
    assert done.returncode == -signal.SIGABRT
    assert "insufficient memory (attempted to allocate" in logged
    assert "GGML_ASSERT" in message


def test_threads_that_cannot_be_started(tiny_model_path: Path) -> None:
    """Where the process may not have more threads, an engine is refused; ggml alone would abort."""
    code = """
        model = Model(sys.argv[1])
        limit("AS", 200)  # 8 MiB of stack each
        memory.available_bytes = lambda: 10**15
        try:
            model.engine(n_threads=512)
        except NativeError as error:
            print(error)
        model.engine(n_threads=2).generate("a", max_tokens=2)
    """
    assert run_limited(code, tiny_model_path) == "cannot start 512 threads\n"
