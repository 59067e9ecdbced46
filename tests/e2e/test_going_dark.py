"""Going dark: when nobody asks, nothing is held; and what neither wakes the server nor keeps it awake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from questions import Question, ask
from server_process import REAL_SERVER, ServerProcess, holds, is_alive, read_until, wait_for

StartServer = Callable[..., ServerProcess]

QUIET_PATHS = ("/v1/status", "/v1/models", "/v1/models/m", "/health", "/v1/api/version")


def is_dark(server: ServerProcess) -> bool:
    return bool(server.status["state"] == "unloaded")


def stays_loaded(server: ServerProcess) -> bool:
    """Whether its engine is ready and no clock runs for it."""
    [engine] = server.status["engines"]
    return (engine["state"], engine["seconds_to_unload"]) == ("ready", None)


def private_kib(server: ServerProcess) -> int:
    """Of both gunicorn processes, shared pages counted once."""
    kib = 0
    for pid in (server.process.pid, server.worker_pid()):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_an_idle_model_is_unloaded(start_server: StartServer) -> None:
    """The process ends, what that gave back is told, and the next request wakes it."""
    server = start_server()
    ask(server, "echo x")
    [engine] = server.status["engines"]
    assert 0 < engine["seconds_to_unload"] <= 300
    server.change(idle_timeout=0.5)
    wait_for(lambda: is_dark(server), 5, "it is unloaded")
    assert not is_alive(engine["pid"])
    assert server.engine_log[-1].endswith(" stop"), "it was asked, not killed"
    unload = wait_for(lambda: server.status["last_unload"], 5, "it is known what it gave back")
    assert (unload["model"], unload["is_complete"], unload["left_pids"]) == ("m", True, [])
    assert unload["freed"]["rss_bytes"] > 1_000_000
    assert server.status["engines"] == []
    assert ask(server, "echo again").text == "again"
    assert server.status["n_engine_starts"] == 2


def test_looking_neither_wakes_nor_keeps_awake(start_server: StartServer) -> None:
    """Status, list and health; refusals too: only answers count."""
    server = start_server(idle_timeout=0.6)

    def look() -> None:
        for path in QUIET_PATHS:
            server.get(path)
        assert ask(server, "echo x", temperature=9).status == 400
        assert ask(server, "echo x", "nobody").status == 404

    look()
    assert server.status["n_engine_starts"] == 0
    ask(server, "echo x")
    began = time.monotonic()
    while not is_dark(server):
        look()
        assert time.monotonic() - began < 60, "looking keeps it awake"
    for _ in range(10):
        look()
    assert server.status["n_engine_starts"] == 1


def test_the_last_byte_starts_the_clock(start_server: StartServer) -> None:
    """While an answer is still being read, however slowly, its engine stays."""
    server = start_server(idle_timeout=0.4)
    reader = server.connect()
    reader.sendall(server.chat_request("flood 200 64", stream=True))  # far more than the kernel keeps of it
    wait_for(lambda: server.status["n_engine_starts"] == 1 and not server.status["queue"]["running"], 10, "it is made")
    holds(lambda: stays_loaded(server), 1, "it stays while it is read")
    end = b""
    while b"[DONE]" not in end and (data := reader.recv(1 << 20)):
        end = (end + data)[-100:]
    assert b"[DONE]" in end
    wait_for(lambda: is_dark(server), 5, "then it is unloaded")
    reader.close()


def test_an_idle_time_of_each_model(start_server: StartServer) -> None:
    """The model map's wins over the server's; 0 is for ever."""
    models: dict[str, dict[str, Any]] = {
        "short": {"path": "/nowhere", "model": "short.gguf", "idle_timeout": 0.3},
        "long": {"path": "/nowhere", "model": "long.gguf", "idle_timeout": 0},
        "usual": {"path": "/nowhere", "model": "usual.gguf"},
    }
    server = start_server(models, idle_timeout=300, max_loaded_models=3)
    for model in models:
        ask(server, "echo x", model)
    wait_for(lambda: len(server.status["engines"]) == 2, 5, "one is unloaded")
    left = {engine["model"]: engine["seconds_to_unload"] for engine in server.status["engines"]}
    assert left.keys() == {"long", "usual"}
    assert left["long"] is None
    assert 200 < left["usual"] <= 300


def test_never(start_server: StartServer) -> None:
    """With 0 nothing is ever unloaded for being idle."""
    server = start_server(idle_timeout=0)
    ask(server, "echo x")
    holds(lambda: stays_loaded(server), 0.5, "it stays")


def test_dark_server_is_small_and_still(start_server: StartServer) -> None:
    """Less than 80 MiB of its own in both gunicorn processes, also after a model was there; and hardly any work."""
    server = start_server(idle_timeout=0.3)
    server.get("/v1/models")
    before_kib = private_kib(server)
    ask(server, "echo x")
    wait_for(lambda: is_dark(server) and server.status["last_unload"], 5, "it is unloaded")
    assert before_kib < 80 * 1024
    assert private_kib(server) < 80 * 1024
    pids = (server.process.pid, server.worker_pid())

    def ticks_in_two_seconds() -> int:
        before = sum(map(cpu_ticks, pids))
        time.sleep(2)
        return sum(map(cpu_ticks, pids)) - before

    wait_for(lambda: ticks_in_two_seconds() <= 2, 1, "1 % of a core, once the unloading is over")


def test_a_prompt_that_is_too_long_leaves_it_dark(start_server: StartServer) -> None:
    """It is counted by a process that knows the vocabulary only."""
    server = start_server()
    reply = ask(server, "echo " + "x" * 9000)
    assert (reply.status, reply.error) == (400, "context_length_exceeded")
    assert is_dark(server)
    assert [line.split()[2] for line in server.engine_log] == ["count-load", "count"]


def test_a_client_that_waits_keeps_it_awake(start_server: StartServer) -> None:
    """An answer that takes longer than the idle time is no idling."""
    server = start_server(idle_timeout=0.2)
    with Question(server, "count 10 80", stream=True) as question:
        assert question.reply().is_whole
    assert server.status["n_engine_starts"] == 1


def test_a_plain_answer_is_read_to_its_end_first(start_server: StartServer) -> None:
    """The idle time starts with its last byte, not when it is complete."""
    server = start_server(idle_timeout=0.3, max_unsent=10_000)
    with server.connect() as connection:
        connection.sendall(server.chat_request("flood 300 64"))
        wait_for(lambda: server.status["queue"]["running"] == 0 and server.status["n_engine_starts"], 10, "it is made")
        holds(lambda: stays_loaded(server), 0.8, "it stays longer than the idle time, while nobody reads")
        assert len(read_until(connection, b'"object":"chat.completion"}')) > 300 * 64 * 1024
    wait_for(lambda: is_dark(server), 5, "it is unloaded")


def test_another_idle_time_holds_for_the_loaded_model(start_server: StartServer) -> None:
    """SIGHUP reads it, and the engine that is there goes by it."""
    server = start_server()
    ask(server, "echo x")
    assert server.status["engines"][0]["seconds_to_unload"] > 100
    server.change(idle_timeout=0.2)
    wait_for(lambda: is_dark(server), 5, "it is unloaded")


def test_a_server_that_stood_still_blames_no_engine(start_server: StartServer) -> None:
    """A laptop that sleeps, a container that is frozen: what the engine sent meanwhile is read before it is judged."""
    server = start_server(stall_timeout=2)
    with server.connect() as connection:
        connection.sendall(server.chat_request("count 80 50", stream=True))
        read_until(connection, b'"1 "')
        worker = server.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(worker, signal.SIGCONT)
        assert b'"80 "' in read_until(connection, b"[DONE]")
    assert server.status["n_engine_crashes"] == 0


def test_large_requests_leave_nothing_behind(start_server: StartServer) -> None:
    """What they took is given back, by the C library too."""
    server = start_server(idle_timeout=0.3, n_ctx=100_000_000)
    for _ in range(4):
        assert ask(server, "echo " + "x" * 8_000_000).status == 200
    wait_for(lambda: server.status["last_unload"], 10, "it is unloaded")
    assert private_kib(server) < 80 * 1024


def test_the_memory_of_a_real_model_comes_back(tmp_path: Path, smollm2_path: Path) -> None:
    """Before, during, after: the server holds what it held, and the engine's memory is the system's again."""
    models = {"smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name}}
    with ServerProcess(tmp_path / "s", models, command=REAL_SERVER, threads=1) as server:
        server.get("/v1/models")
        before_kib = private_kib(server)
        assert ask(server, "Say hello.", "smollm2", max_tokens=4).status == 200
        memory = server.status["engines"][0]["memory"]
        assert memory["rss_bytes"] > smollm2_path.stat().st_size, "the mapped weights"
        assert memory["private_bytes"] > 50 * 2**20, "KV cache and buffers"
        server.change(idle_timeout=0.2)
        unload = wait_for(lambda: server.status["last_unload"], 10, "it is unloaded")
        assert unload["freed"]["private_bytes"] > 50 * 2**20
        assert (unload["left"]["rss_bytes"], unload["left_pids"], unload["is_complete"]) == (0, [], True)
        print(f"before {before_kib} KiB, engine {memory}, freed {unload['freed']}, after {private_kib(server)} KiB")
        assert private_kib(server) < before_kib + 15 * 1024
