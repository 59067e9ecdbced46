"""A GPU's memory that runs out, in the words that llama.cpp's CUDA backend has for it before it aborts."""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from api_client import FAKE_ENGINE, Api, MakeApi, wait_for
from memory_engines import no_memory_log, settings_of

from hoshikage_server.engines import last_words
from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.engine import Lease
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Usage
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.journal import Journal
from hoshikage_server.engines.memory_log import MemoryLog
from hoshikage_server.engines.process import EngineProcess, _exit_reason
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.wire import Measured
from hoshikage_server.errors import is_out_of_memory
from hoshikage_server.registry.peaks import Peaks
from hoshikage_server.settings import LiveSettings

MODELS = {
    name: {"path": "/nowhere", "model": f"{file}.gguf", **more}
    for name, file, more in (
        ("m", "m", {}),
        ("lean", "m2", {"degrade": True}),
        ("starved", "starved", {}),
        ("starved-lean", "starved", {"degrade": True}),
    )
}


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    return make_api(MODELS, crash_limit=100)


def status(api: Api) -> Any:
    api.deps.answers.supervisor.settled()
    return api.get("/v1/status", headers={"Accept-Language": "en"}).json


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_client_is_told(api: Api, language: str) -> None:
    """503 insufficient_memory with what to do, once a second engine has run out as well; the next request is served."""
    result = api.post(
        {"model": "m", "messages": [{"role": "user", "content": "starver 2"}]}, headers={"Accept-Language": language}
    )
    error = result.json["error"]
    assert (result.status_code, error["code"], error["type"]) == (503, "insufficient_memory", "server_error")
    assert "CUDA error: out of memory" in error["message"]
    assert "HOSHIKAGE_DEGRADE=1" in error["message"]
    assert ".cu:" not in error["message"]
    assert [crash["reason"] for crash in status(api)["crashes"]] == ["out of memory: CUDA error: out of memory"] * 2
    assert api.chat("echo again").status_code == 200


def test_another_engine_goes_on(api: Api) -> None:
    """The answer is whole; nothing is given up that was not allowed."""
    assert api.chat("starve 3", "m").json["choices"][0]["message"]["content"] == "1 2 3 "
    assert status(api)["engines"][0]["degraded"] == []


def test_it_goes_on_in_less_memory(api: Api) -> None:
    """Where that is allowed: one step for each death, and all of it is tried again after an unload."""
    assert api.chat("starve 3", "lean").json["choices"][0]["message"]["content"] == "1 2 3 "
    assert status(api)["engines"][0]["degraded"] == ["n_batch=128"]
    api.chat("starve 3", "lean")
    assert status(api)["engines"][0]["degraded"] == ["n_batch=128", "kv_type=q8_0"]
    api.client.simulate_post("/v1/models/lean/unload")
    api.chat("echo x", "lean")
    assert status(api)["engines"][0]["degraded"] == []


def test_loading_that_runs_out(api: Api) -> None:
    """Is told as such, or goes on in less memory."""
    result = api.chat("echo x", "starved")
    assert (result.status_code, result.json["error"]["code"]) == (503, "insufficient_memory")
    assert api.chat("echo x", "starved-lean").status_code == 200
    assert status(api)["engines"][0]["degraded"] == ["n_batch=128"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        # ggml_cuda_error and ggml_abort (ggml-cuda.cu, ggml.c): as logged, and as hoshikage_core's handler joins it
        (
            ["CUDA error: out of memory", "  current device: 0, in function alloc at x.cu:502", "x.cu:109: CUDA error"],
            "CUDA error: out of memory",
        ),
        (
            ["CUDA error: out of memory;   current device: 0", "x.cu:109: CUDA error"],
            "CUDA error: out of memory",
        ),
        (
            ["x: allocating 8.00 MiB on device 0: cudaMalloc failed: out of memory", "fatal error"],
            "x: allocating 8.00 MiB on device 0: cudaMalloc failed: out of memory",
        ),
        (
            ["CUDA error: the resource allocation failed;   cublasCreate_v2()", "x.cu:109: CUDA error"],
            "CUDA error: the resource allocation failed",
        ),
        (["ggml_malloc: failed to allocate 1.00 MB", "fatal error"], "ggml_malloc: failed to allocate 1.00 MB"),
        (["CUDA error: an illegal memory access was encountered", "x.cu:109: CUDA error"], None),
        (["out of memory", "1", "2", "3", "4"], None),
        ([], None),
    ],
)
def test_words(lines: list[str], told: str | None) -> None:
    """Only what is said last counts."""
    assert last_words.shortage(lines) == told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "CUDA error: no kernel image is available for execution on the device;   current device: 1, in function f",
            "no code for this GPU: no kernel image is available for execution on the device; build it again with 'make",
        ),
        (
            "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
            "no code for this GPU: the provided",
        ),
        ("CUDA error: uncorrectable ECC error encountered", "of the GPU: uncorrectable ECC error encountered; if"),
        ("CUDA error: out of memory;   current device: 0", "out of memory: CUDA error: out of memory"),
        ("recv failed (bytes_recv=0)", "signal SIGABRT"),
        ("ggml-rpc.cpp:566: Remote RPC server crashed or returned malformed response", "an RPC worker broke off"),
    ],
)
def test_other_ends(line: str, words: str) -> None:
    """What ended the engine is told, with what helps, and not the signal alone."""
    assert words in _exit_reason(-signal.SIGABRT, [line, "x.cu:109: CUDA error"]).text("en")


def test_the_native_codes_words() -> None:
    """What it takes for a failed allocation is one in last words as well."""
    source = (Path(__file__).resolve().parents[2] / "csrc" / "guard.cpp").read_text(encoding="utf-8")
    found = re.search(r"bool tells_of_allocation\(.*?\n}", source, re.DOTALL)
    assert found is not None
    words = re.findall(r'"([^"]+)"', found[0])
    assert len(words) > 3
    assert [last_words.shortage([f"x: {one}"]) for one in words] == [f"x: {one}" for one in words]


def test_what_an_engine_takes_is_remembered(make_api: MakeApi, engine_log: Path) -> None:
    """From its first load on: the next engine is told, the API tells, and the file is there for the next server."""
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}})
    assert api.get("/v1/models/m").json["hoshikage"]["measured"] is None
    api.client.simulate_post("/v1/models/m/load")
    measured = wait_for(lambda: api.get("/v1/models/m").json["hoshikage"]["measured"], "it is measured")
    assert measured["private_bytes"] > 1_000_000
    api.client.simulate_post("/v1/models/m/unload")
    assert "measured" not in engine_log.read_text()
    api.client.simulate_post("/v1/models/m/load")
    told = [line.split()[3] for line in engine_log.read_text().splitlines() if " measured " in line]
    assert len(told) == 1
    assert int(told[0]) >= measured["private_bytes"]
    api.deps.close()
    assert (api.deps.settings.now.cache_dir / "memory-peaks.json").is_file()


def test_a_disk_that_hangs_holds_no_shutdown_up(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not take in time is lost, and measured again."""
    is_writing, may_end = threading.Event(), threading.Event()
    monkeypatch.setattr(Peaks, "write", lambda self: (is_writing.set(), may_end.wait(120)))
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}})
    api.client.simulate_post("/v1/models/m/load")
    wait_for(is_writing.is_set, "it is written")
    began = time.monotonic()
    api.deps.close()
    try:
        assert time.monotonic() - began < 60
    finally:
        may_end.set()


def test_an_allocation_that_fails_in_a_step() -> None:
    """Without an abort the engine process ends by itself, with a status that says so and llama.cpp's words."""
    words = "llama_decode failed with -2: process_ubatch: failed to allocate graph"
    code = f"""
        import socket
        from hoshikage_core import OutOfMemoryError
        from hoshikage_server.engines.worker import Worker

        class Engine:
            def step(self):
                raise OutOfMemoryError({words!r})

        ours, theirs = socket.socketpair()
        Worker(ours)._step(Engine())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (last_words.OUT_OF_MEMORY_STATUS, f"{words}\n")
    assert is_out_of_memory(_exit_reason(done.returncode, done.stderr.splitlines()))
    assert not is_out_of_memory(_exit_reason(1, done.stderr.splitlines()))
    assert not is_out_of_memory(_exit_reason(-signal.SIGKILL, done.stderr.splitlines()))


def test_what_a_cancelled_answer_leaves_does_not_count(engine_log: Path) -> None:
    """What the engine keeps of it is known when it has stopped; until then nothing is noted."""
    noted: list[int] = []

    class Noting(MemoryLog):
        def note(self, spec: EngineSpec, given_up: tuple[str, ...], usage: Usage, kept_bytes: int) -> None:
            noted.append(kept_bytes)

    live = LiveSettings(settings_of())
    spawn = functools.partial(
        EngineProcess, FAKE_ENGINE, Gpu(driver_files=()), Dormitory(live), Noting(Peaks(None, ""))
    )
    supervisor = Supervisor(spawn, live, lambda model: 300.0)
    try:
        engine = supervisor.lease(Lease("m", EngineSpec("/nowhere/m.gguf", 4096)))
        wait_for(lambda: noted == [0], "what it takes at first is noted")
        question: dict[str, Any] = {"messages": [{"role": "user", "content": "gate go 0 x y"}], "sampling": Sampling()}
        number = engine.generate(Channel("req", Journal(question), 1000), question)
        engine.forget(number)
        wait_for(lambda: " cancel " in engine_log.read_text(), "the engine knows")
        engine.usage()
        assert noted == [0]
        engine_log.with_name("go").touch()
        wait_for(lambda: engine.usage() and len(noted) > 1, "it has stopped")
        assert noted[-1] == 12345
    finally:
        supervisor.close(10)


def test_other_conversations_do_not_count() -> None:
    """What an engine could do without is no part of what it needs."""
    memory, spec = no_memory_log(), EngineSpec("/nowhere/m.gguf", 4096)
    memory.note(spec, (), Usage(rss_bytes=100, private_bytes=80, vram_bytes=7), kept_bytes=30)
    assert memory.measured(spec) == (Measured(50, 7),)
