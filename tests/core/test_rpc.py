"""Models that are spread over RPC workers: real ones on loopback, and servers that are not what they should be."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rpc_workers import RpcWorker, free_port
from tiny_gguf import TinyModel

from hoshikage_core import Devices, InvalidArgumentError, Model, RpcServerError, SamplingParams, memory_needed, rpc

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
PROMPT = "The lighthouse keeper counted the ships"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With layers for two workers; the output counts as one more."""
    return TinyModel(n_layer=4).write(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RpcWorker, RpcWorker]]:
    folder = tmp_path_factory.mktemp("workers")
    with RpcWorker(folder) as one, RpcWorker(folder) as other:
        yield one, other


def spread(*workers: RpcWorker, tensor_split: tuple[float, ...] = ()) -> Devices:
    return Devices(rpc_servers=tuple(worker.server for worker in workers), tensor_split=tensor_split)


def text_of(path: Path, devices: Devices | None, n_tokens: int) -> str:
    with Model(path, devices=devices) as model, model.engine(n_ctx=512, n_threads=1) as engine:
        assert model.n_gpu_layers == (0 if devices is None else model.info.n_layer + 1)
        return engine.generate(PROMPT, GREEDY, max_tokens=n_tokens).text


def test_threads_that_wait_for_workers_stay(model_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    """It is no sign that other processes want their cores."""
    with Model(model_path, devices=spread(*workers)) as model, model.engine(n_ctx=2048, n_threads=4) as engine:
        n_threads = len(os.listdir("/proc/self/task"))
        counts = []
        with engine.stream(PROMPT, GREEDY, max_tokens=1000) as generation:
            for _ in generation:
                counts.append(len(os.listdir("/proc/self/task")))
        assert min(counts) >= n_threads


def test_the_same_text(model_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    """Two workers compute what this machine computes, one half each; a second engine beside the first one as well."""
    local = text_of(model_path, None, 100)
    devices = spread(*workers)
    *elsewhere, host = memory_needed(model_path, devices=devices)
    assert [re.sub(r"^RPC\d+ ", "", device.name) for device in elsewhere] == [
        f"({worker.server})" for worker in workers
    ]
    assert all(device.model_bytes > 0 and device.context_bytes > 0 for device in elsewhere)
    assert host.context_bytes == 0
    assert text_of(model_path, devices, 100) == local
    with (
        Model(model_path, devices=devices) as one,
        Model(model_path, devices=devices) as other,
        one.engine(n_ctx=512) as first,
        other.engine(n_ctx=512) as second,
    ):
        assert [engine.generate(PROMPT, GREEDY, max_tokens=100).text for engine in (first, second)] == [local] * 2


@pytest.mark.slow
def test_the_same_text_of_a_real_model(smollm2_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    assert text_of(smollm2_path, spread(*workers), 40) == text_of(smollm2_path, None, 40)


def test_embedding_waits_for_its_workers(model_path: Path, tmp_path: Path) -> None:
    """Each piece of a text is waited for: a worker whose client is gone has no more than one left to compute."""
    with (
        RpcWorker(tmp_path) as worker,
        Model(model_path, devices=spread(worker)) as model,
        model.embedder(n_ctx=2048, n_batch=64, n_threads=1, pooling="last") as embedder,
    ):
        [expected] = embedder.embed([[5] * 2000])  # and llama.cpp need not ask for sizes any more
        n_all = embedder.progress
        os.kill(worker.process.pid, signal.SIGSTOP)
        outcome: list[memoryview] = []
        thread = threading.Thread(target=lambda: outcome.extend(embedder.embed([[5] * 2000])))
        thread.start()
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < 0.7:  # until it gets no further
            if embedder.progress != seen:
                seen, since = embedder.progress, time.monotonic()
            time.sleep(0.02)
        os.kill(worker.process.pid, signal.SIGCONT)
        thread.join(60)
        assert list(outcome[0]) == pytest.approx(list(expected), abs=1e-4)
        assert seen < 1.5 * n_all
        assert embedder.progress == 2 * n_all


def test_shares(model_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    """A worker whose share is 0 gets nothing; a share of a device that there is not is an error."""
    one, other, _ = memory_needed(model_path, devices=spread(*workers, tensor_split=(0, 1)))
    assert (one.model_bytes, other.model_bytes > 0) == (0, True)
    with pytest.raises(InvalidArgumentError, match="tensor_split"):
        Model(model_path, devices=spread(*workers, tensor_split=(1, 1, 1)))


def test_few_layers(model_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    """What is not wanted there stays here."""
    *elsewhere, host = memory_needed(model_path, gpu_layers=1, devices=spread(*workers))
    assert host.context_bytes > 0
    assert sum(device.context_bytes > 0 or device.model_bytes > 0 for device in elsewhere) == 1


def test_no_layers(model_path: Path) -> None:
    """Servers that would have nothing to do are no secret."""
    with pytest.raises(InvalidArgumentError, match="gpu_layers 0"):
        Model(model_path, gpu_layers=0, devices=Devices(rpc_servers=("127.0.0.1:50052",)))


@pytest.mark.parametrize(
    "server",
    ["", "host", "host:", ":50052", "host:0", "host:65536", "host:x", "http://host:1", "a b:1", "[::1]:50052", "::1:5"],
)
def test_malformed(server: str) -> None:
    with pytest.raises(InvalidArgumentError, match="host:port"):
        Devices(rpc_servers=(server,))


def test_beside_others() -> None:
    """What cannot be spread over servers says so."""
    with pytest.raises(InvalidArgumentError, match="split_mode"):
        Devices(rpc_servers=("a:1",), split_mode="tensor")
    with pytest.raises(InvalidArgumentError, match="16 devices"):
        Devices(rpc_servers=tuple(f"a:{port}" for port in range(1, 18)))


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that is none of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            try:
                while True:
                    client, _ = listener.accept()
                    with client:
                        answer(client)
            except OSError:
                return

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def why_not(*servers: str, limit_s: float = 60) -> tuple[str, str]:
    with pytest.raises(RpcServerError) as caught:
        rpc.require_servers(servers, limit_s)
    return caught.value.server, caught.value.reason.key


def test_nobody_there(model_path: Path) -> None:
    """A model that is to be loaded says which server is not there, and goes on living."""
    server = f"127.0.0.1:{free_port()}"
    with pytest.raises(RpcServerError) as caught:
        Model(model_path, devices=Devices(rpc_servers=(server,)))
    assert (caught.value.server, caught.value.reason.key) == (server, "rpc_refused")
    assert server in str(caught.value)
    assert "rpc-worker" in str(caught.value)


def test_nobody_of_that_name() -> None:
    assert why_not("no-such-host.invalid:1") == ("no-such-host.invalid:1", "rpc_unknown_host")


def test_one_that_comes_late(tmp_path: Path) -> None:
    """A worker that is just starting is waited for: the helper looks as soon as it has said its line."""
    port = free_port()
    found: list[Exception | None] = []

    def look() -> None:
        try:
            rpc.require_servers([f"127.0.0.1:{port}"], 60)
            found.append(None)
        except RpcServerError as error:
            found.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    with RpcWorker(tmp_path, port):
        looking.join(60)
    assert found == [None]


def test_no_answer() -> None:
    """One that serves somebody else does not answer, nor does one that hangs."""
    is_over = threading.Event()
    with answering(lambda client: is_over.wait(60)) as server:
        assert why_not(server, limit_s=0.3) == (server, "rpc_silent")
        is_over.set()


def test_in_use(model_path: Path, workers: tuple[RpcWorker, RpcWorker]) -> None:
    """The same of a real worker that another process uses."""
    with socket.create_connection(("127.0.0.1", workers[0].port)) as user:
        user.sendall(struct.pack("<BQ24s", 14, 24, b""))
        assert len(user.recv(36, socket.MSG_WAITALL)) == 36
        assert why_not(workers[0].server, limit_s=0.3) == (workers[0].server, "rpc_silent")
    rpc.require_servers([workers[0].server])


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100])
def test_something_else(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program, or one so old that it hangs up."""
    monkeypatch.setattr(rpc, "_AGAIN_S", 60)  # it is not tried again
    with answering(lambda client: (client.recv(33), client.sendall(words))) as server:
        assert why_not(server) == (server, "rpc_foreign")


@pytest.mark.parametrize("version", [(1, 0), (250, 0)])
def test_another_version(version: tuple[int, int]) -> None:
    """Both versions are told: one of the two has to change."""
    hello = struct.pack("<QBBBx24s", 28, *version, 0, b"")
    with (
        answering(lambda client: (client.recv(33), client.sendall(hello))) as server,
        pytest.raises(RpcServerError, match=rf"version {version[0]}\.0 .* this one \d+\.\d+"),
    ):
        rpc.require_servers([server])


def test_two_names(workers: tuple[RpcWorker, RpcWorker]) -> None:
    """A server would wait for itself under its second name."""
    name = f"localhost:{workers[0].port}"
    assert why_not(workers[0].server, name) == (name, "rpc_twice")
