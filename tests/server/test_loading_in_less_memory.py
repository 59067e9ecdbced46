"""Loading in less memory: real models in processes whose memory is limited."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from memory_engines import no_memory_log, settings_of
from tiny_gguf import TinyModel

from hoshikage_core import (
    ContextShape,
    InsufficientMemoryError,
    Model,
    OutOfMemoryError,
    memory,
)
from hoshikage_core.params import model_params
from hoshikage_server.engines import loading
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import (
    failed_load,
)
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.loading import LADDER, load
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Measured
from hoshikage_server.errors import EngineError
from hoshikage_server.settings import LiveSettings

N_CTX = 196_608
MIB = 2**20
# AddressSanitizer could not live under a limit: its module is left out.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
LIMIT = """
    import resource, sys
    from hoshikage_core import memory

    def limit(free_mib):
        limit = memory._field_bytes("/proc/self/status", "VmData") + memory._BESIDES_BYTES + free_mib * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose KV cache and buffers are much larger than its weights."""
    return TinyModel(n_embd=256, n_layer=4).write(tmp_path_factory.mktemp("models") / "wide.gguf")


@pytest.fixture(scope="module")
def needed_mib(model_path: Path) -> list[int]:
    """What llama.cpp says that it takes: as asked for, with a smaller batch, with a quantised KV cache as well."""

    def needed(**options: Any) -> int:
        shape = ContextShape(n_ctx=N_CTX, **options)
        return memory.estimate_memory(str(model_path), model_params(0, shape), shape)[-1].needed_bytes // MIB

    steps = [needed(), needed(n_batch=128), needed(n_batch=128, kv_type="q8_0")]
    assert steps[0] > steps[1] + 80 > steps[2] + 160, "limits between them are clear of both"
    return steps


def loaded_within(free_mib: int, model_path: Path, *, may_degrade: bool) -> tuple[str, str]:
    """What became of a load: the steps that were taken or the error; and what the log says."""
    code = """
        import logging
        logging.basicConfig()
        from hoshikage_core import InsufficientMemoryError
        from hoshikage_server.engines.loading import load
        from hoshikage_server.engines.engine_spec import EngineSpec

        limit(int(sys.argv[1]))
        spec = EngineSpec(sys.argv[2], int(sys.argv[3]), may_degrade=bool(int(sys.argv[4])), n_threads=1)
        try:
            loaded = load(spec, lambda progress: None)
        except InsufficientMemoryError as error:
            print(f"needs more than it has: {error.needed_bytes > error.free_bytes}")
        else:
            assert loaded.engine.n_ctx == spec.n_ctx, "never smaller than asked for"
            loaded.engine.generate("a", max_tokens=2)
            print(*loaded.degraded)
    """
    arguments = [str(free_mib), str(model_path), str(N_CTX), str(int(may_degrade))]
    command = [sys.executable, "-c", textwrap.dedent(LIMIT) + textwrap.dedent(code), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def between(needed_mib: list[int], step: int) -> int:
    """So little that just this step of the ladder helps."""
    return (needed_mib[step] + needed_mib[step - 1]) // 2


def test_enough_memory_changes_nothing(model_path: Path, needed_mib: list[int]) -> None:
    """No step is taken that is not needed."""
    assert loaded_within(needed_mib[0] + 100, model_path, may_degrade=True) == ("", "")


@pytest.mark.parametrize(("step", "taken"), [(1, "n_batch=128"), (2, "n_batch=128 kv_type=q8_0")])
def test_steps_are_taken_in_their_order(model_path: Path, needed_mib: list[int], step: int, taken: str) -> None:
    """As many as are needed, each told, and the model works."""
    told, log = loaded_within(between(needed_mib, step), model_path, may_degrade=True)
    assert told == taken
    assert [line.rpartition(" ")[2] for line in log.splitlines() if "trying with" in line] == taken.split()


def test_nothing_is_given_up_that_was_not_allowed(model_path: Path, needed_mib: list[int]) -> None:
    """Then it is refused, with figures."""
    told, log = loaded_within(between(needed_mib, 1), model_path, may_degrade=False)
    assert told == "needs more than it has: True"
    assert "trying" not in log


def test_what_fits_in_no_way_is_refused(model_path: Path, needed_mib: list[int]) -> None:
    """After the last step."""
    told, log = loaded_within(needed_mib[2] // 3, model_path, may_degrade=True)
    assert told == "needs more than it has: True"
    assert log.count("trying with") == len(LADDER)


def test_a_step_that_a_model_cannot_take_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Heads 20 wide cannot be quantised; the steps after that one are tried, and the figures are not lost."""
    path = TinyModel(n_embd=80, n_head=4).write(tmp_path / "odd.gguf")
    real, tried = loading.require_memory, []

    def require(path: str, **options: Any) -> None:
        tried.append((options["kv_type"], options["gpu_layers"]))
        if options["kv_type"] == "f16":
            raise InsufficientMemoryError("everything", 2, 1)
        real(path, **options)

    monkeypatch.setattr(loading, "require_memory", require)
    with caplog.at_level(logging.WARNING), pytest.raises(InsufficientMemoryError):
        load(EngineSpec(str(path), 256, may_degrade=True, gpu_layers=7), lambda progress: None)
    assert tried == [("f16", 7), ("f16", 7), ("q8_0", 7), ("f16", 0)]
    assert "kv_type=q8_0 is not possible" in caplog.text


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of the memory, which never suffices."""
    tried: list[dict[str, Any]] = []

    def require(path: str, **options: Any) -> None:
        tried.append(options)
        raise InsufficientMemoryError("everything", 2, 1)

    monkeypatch.setattr(loading, "require_memory", require)
    return tried


def test_the_order_of_the_ladder(
    tiny_model_path: Path, tried: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """What costs the least goes first; GPU layers last. Each step keeps those before it; without the check, none."""
    spec = EngineSpec(str(tiny_model_path), 256, may_degrade=True, gpu_layers=7)
    with caplog.at_level(logging.WARNING), pytest.raises(InsufficientMemoryError):
        load(spec, lambda progress: None)
    assert [(step["n_batch"], step["kv_type"], step["gpu_layers"]) for step in tried] == [
        (512, "f16", 7),
        (128, "f16", 7),
        (128, "q8_0", 7),
        (128, "q8_0", 0),
    ]
    unchecked = load(EngineSpec(str(tiny_model_path), 256, checks_memory=False), lambda progress: None)
    unchecked.model.close()
    assert (len(tried), unchecked.degraded) == (4, ())


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"kv_type": "q4_0"}, ["n_batch=128", "gpu_layers=0"]),
        ({"kv_type": "q8_0", "gpu_layers": 0}, ["n_batch=128"]),
        ({"kv_type": "f32", "gpu_layers": 0}, ["n_batch=128", "kv_type=q8_0"]),
        ({"flash_attention": False}, ["n_batch=128", "gpu_layers=0"]),
    ],
)
def test_steps_that_save_nothing_are_left_out(
    tiny_model_path: Path, tried: list[dict[str, Any]], options: dict[str, Any], steps: list[str]
) -> None:
    """The ladder begins with what the entry says: nothing gets larger, and nothing is tried that cannot be."""
    spec = EngineSpec(str(tiny_model_path), 256, may_degrade=True, **options)
    with pytest.raises(InsufficientMemoryError):
        load(spec, lambda progress: None)
    changes = dict(LADDER)
    expected = [{"n_batch": 512, "kv_type": "f16", "gpu_layers": "auto", "flash_attention": None} | options]
    for step in steps:
        expected.append(expected[-1] | changes[step])
    assert [{name: made[name] for name in expected[0]} for made in tried] == expected


def test_what_runs_out_when_it_is_tried(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the figures said: the steps are taken as well, and the last words are llama.cpp's."""
    words = "allocating 8.00 MiB on device 0: cudaMalloc failed: out of memory"
    asked: list[tuple[int, str]] = []

    def engine(self: Model, **options: Any) -> None:
        asked.append((options["n_batch"], options["kv_type"]))
        raise OutOfMemoryError(words)

    monkeypatch.setattr(Model, "engine", engine)
    spec = EngineSpec(str(tiny_model_path), 256, gpu_layers=0)
    with caplog.at_level(logging.WARNING), pytest.raises(OutOfMemoryError):
        load(msgspec.structs.replace(spec, may_degrade=True), lambda progress: None)
    assert asked == [(512, "f16"), (128, "f16"), (128, "q8_0")]
    assert words in caplog.text
    with pytest.raises(OutOfMemoryError) as caught:
        load(spec, lambda progress: None)
    assert len(asked) == 4
    frame = failed_load(caught.value)
    error = EngineError.reported(frame.code, frame.message, frame.fields)
    assert (error.code, words in error.text("en"), words in error.text("ja")) == ("out_of_memory", True, True)


def test_after_engines_that_ran_out(model_path: Path) -> None:
    """So many steps are taken at once; none where none may be."""
    spec = EngineSpec(str(model_path), 256, gpu_layers=0)
    for may_degrade, n_given_up, taken in (
        (True, 1, ("n_batch=128",)),
        (True, 2, ("n_batch=128", "kv_type=q8_0")),
        (True, 7, ("n_batch=128", "kv_type=q8_0")),
        (False, 2, ()),
    ):
        loaded = load(msgspec.structs.replace(spec, may_degrade=may_degrade), lambda progress: None, (), n_given_up)
        with loaded.model:
            assert loaded.degraded == taken
            assert loaded.engine is not None
            loaded.engine.generate("a", max_tokens=2)


def test_after_engines_that_ran_out_of_what_cannot_be_given_up(tmp_path: Path) -> None:
    """Heads 20 wide cannot be quantised: then all is tried anew."""
    path = TinyModel(n_embd=80, n_head=4).write(tmp_path / "odd.gguf")
    loaded = load(EngineSpec(str(path), 256, may_degrade=True, gpu_layers=0), lambda progress: None, (), 2)
    with loaded.model:
        assert loaded.degraded == ()


def test_what_engines_took_before_decides(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step by its own figures, less what this process holds already."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    steps = ("n_batch=128", "kv_type=q8_0")
    measured = [Measured(2**40), Measured(2**41, None, steps[:1]), Measured(1, None, steps)]
    spec = EngineSpec(str(model_path), 256, may_degrade=True, gpu_layers=0)
    with caplog.at_level(logging.WARNING):
        loaded = load(spec, lambda progress: None, measured)
    with loaded.model:
        assert loaded.degraded == ("n_batch=128", "kv_type=q8_0")
    assert "1023." in caplog.text, "1 TiB less what a Python holds"


def test_a_vocabulary_needs_none_of_this(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no engine, and nothing is asked about memory."""
    monkeypatch.delattr(loading, "require_memory")
    loaded = load(EngineSpec(str(tiny_model_path), 256, is_vocab_only=True), lambda progress: None)
    assert loaded.engine is None
    assert loaded.model.tokenize("a")
    loaded.model.close()


# ---- as the server sees it


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, needed_mib: list[int]) -> Iterator[Supervisor]:
    """Its engine processes are real, and have memory for the last step of the ladder only."""
    code = textwrap.dedent(LIMIT) + textwrap.dedent("""
        from hoshikage_server.engines import worker
        limit(int(sys.argv.pop(1)))
        worker.main()
    """)
    for name in os.environ.keys() - ENVIRONMENT.keys():
        monkeypatch.delenv(name)
    command = [sys.executable, "-c", code, str(between(needed_mib, 2))]
    live = LiveSettings(settings_of(load_timeout=60.0))
    made = Supervisor(
        functools.partial(EngineProcess, command, Gpu(), Dormitory(live), no_memory_log()),
        live,
        lambda _: 300,
    )
    yield made
    made.close(10)


def test_the_server_is_told_what_was_given_up(limited: Supervisor, model_path: Path) -> None:
    """The engine is ready, and says how."""
    spec = EngineSpec(str(model_path), N_CTX, may_degrade=True, n_threads=1)
    limited.lease(Lease("wide", spec))
    ready = limited.snapshot().engines[0].ready
    assert ready is not None
    assert ready.degraded == ("n_batch=128", "kv_type=q8_0")


def test_the_server_is_told_what_is_missing(limited: Supervisor, model_path: Path) -> None:
    """insufficient_memory with the figures; the process did not end over it."""
    with pytest.raises(EngineError) as caught:
        limited.lease(Lease("wide", EngineSpec(str(model_path), N_CTX, n_threads=1)))
    error = caught.value
    assert error.code == "insufficient_memory"
    assert error.values["device"] == ("device_host",), "the message's name for it"
    needed, free = error.values["needed_bytes"], error.values["free_bytes"]
    assert isinstance(needed, int)
    assert isinstance(free, int)
    assert needed > free > 0
    assert limited.settled().n_crashes == 0
