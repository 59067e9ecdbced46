"""hoshikage doctor: its checks on their own, and the command as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_nvml import DRIVER_NOT_LOADED, NO_PERMISSION, NOT_SUPPORTED, FakeNvml
from rpc_workers import RpcWorker

from hoshikage_server.doctor import lists, machine, place, rpc
from hoshikage_server.doctor.finding import Finding
from hoshikage_server.doctor.probe import PROBES, ProbeError
from hoshikage_server.doctor.running import run
from hoshikage_server.engines import nvml as nvml_module
from hoshikage_server.errors import SettingsError
from hoshikage_server.messages import said
from hoshikage_server.settings import Settings, build_settings, usable_settings

BACKEND = {"backend": "cpu", "backends": ["CPU"], "cpu_features": ["AVX2"], "commit": "0" * 40, "available_bytes": 1}
CUDA = {**BACKEND, "backend": "cuda", "backends": ["CUDA", "CPU"], "cuda_version": "13.0", "cuda_archs": ["89-real"]}
GPU = {"driver": "550.1", "cuda": "12.4", "gpus": [{"name": "X1", "free_bytes": 2**30, "total_bytes": 2**31}]}


def told(findings: list[Finding]) -> list[tuple[str, str, str | None]]:
    """How each is, its English sentence and its fix."""
    return [(one.status, one.what.text("en"), one.fix) for one in findings]


def answering(**answers: dict[str, Any] | ProbeError) -> Callable[[str], dict[str, Any]]:
    """A probe that finds what it is given."""

    def ask(what: str) -> dict[str, Any]:
        answer = answers[what]
        if isinstance(answer, ProbeError):
            raise answer
        return answer

    return ask


def settings_in(folder: Path, **values: str) -> Settings:
    environ = {"HOME": str(folder), "HOSHIKAGE_CONFIG_DIR": str(folder)}
    return build_settings(environ | {f"HOSHIKAGE_{name.upper()}": value for name, value in values.items()})


def with_models(folder: Path, content: str) -> list[tuple[str, str, str | None]]:
    (folder / "model_map.json").write_text(content)
    return told(lists.models(settings_in(folder)))


def test_checks_run_at_once_and_none_for_too_long() -> None:
    """One that hangs is left behind, one that fails is told, and the others are as they are; the order stays."""
    ok = Finding("c", "ok", said("doctor_settings"))
    never = threading.Event()
    checks = {"a": lambda: [ok] * never.wait(60), "b": lambda: [][0], "c": lambda: [ok]}
    began = time.monotonic()
    found = list(run(checks, limit_s=1.5))
    assert time.monotonic() - began < 30
    never.set()
    assert [(one.check, one.status) for one in found] == [("a", "error"), ("b", "error"), ("c", "ok")]
    assert "1.5" in found[0].what.text("en")
    assert "IndexError" in found[1].what.text("en")


def test_python() -> None:
    """The one that runs this will do; an older one would not."""
    [(status, sentence, _)] = told(machine.python())
    assert status == "ok"
    assert "gevent" in sentence
    assert told(machine.python((3, 9, 1)))[0][0] == "error"


def test_a_compiler_is_wanted_and_not_needed() -> None:
    """Without one, what is built works all the same."""
    [(status, _, fix)] = told(machine.compiler(lambda name: None))
    assert (status, fix) == ("warning", "sudo apt install g++ make")
    assert told(machine.compiler(lambda name: "/nonexistent/c++"))[0][0] == "warning"


@pytest.mark.parametrize(
    ("answer", "status", "word", "fix"),
    [
        (BACKEND, "ok", "AVX2", None),
        ({"error": "libcublas.so.12: cannot open shared object file"}, "error", "libcublas.so.12", "make build"),
        ({"error": "undefined symbol: x"}, "error", "undefined symbol", "make build"),
        (ProbeError("exit status -4", is_crash=True), "error", "another machine", "make build"),
        (ProbeError("timeout"), "error", "timeout", "make build"),
        ({**CUDA, "gpus": ["X1"]}, "ok", "CUDA 13.0", None),
        ({**CUDA, "gpus": [], "gpu_problem": "driver too old"}, "warning", "driver too old", "nvidia-smi"),
    ],
)
def test_the_backend(answer: Any, status: str, word: str, fix: str | None) -> None:
    """A module that cannot be loaded, or crashes, is a finding."""
    found = told(machine.backend(answering(backend=answer)))
    assert found[-1][0] == status
    assert word in found[-1][1]
    assert fix is None or fix in (found[-1][2] or "")


def test_gpus(tmp_path: Path) -> None:
    """None, one that is used, one that is not, and a driver that does not answer."""
    there = [str(tmp_path)]
    assert told(machine.gpu(answering(), ["/nonexistent"]))[0][0] == "ok"
    used = told(machine.gpu(answering(gpu=GPU, backend=CUDA), there))
    assert [status for status, _, _ in used] == ["ok", "ok"]
    assert "550.1" in used[0][1]
    assert "2.00 GiB" in used[1][1]
    assert told(machine.gpu(answering(gpu=GPU, backend=BACKEND), there))[-1][0] == "warning"
    for answer in ({"error": "Driver Not Loaded", "has_library": True}, ProbeError("timeout")):
        assert told(machine.gpu(answering(gpu=answer), there))[0][0] == "error"
    lacking = answering(gpu={"error": "Library Not Found", "has_library": False})
    [(status, sentence, _)] = told(machine.gpu(lacking, there))
    assert (status, "libnvidia-ml1" in sentence) == ("warning", True)


def test_what_the_driver_tells(nvml: FakeNvml) -> None:
    """Its GPUs, without one that we may not use, and with one that does not tell of its memory, as with MIG."""
    nvml.say("device 7000 0 0", "device 1 0 0", f"refused {NO_PERMISSION}", f"device 1 {NOT_SUPPORTED} 0")
    told = PROBES["gpu"]()
    assert (told["driver"], told["cuda"]) == ("580.65", "13.0")
    name = "NVIDIA Fake"
    assert told["gpus"] == [
        {"name": name, "free_bytes": 2**40 - 7000, "total_bytes": 2**40},
        {"name": name, "free_bytes": None, "total_bytes": None},
    ]
    assert [one.status for one in machine.gpu(lambda what: PROBES[what](), ["/proc/self"])][:3] == ["ok"] * 3
    nvml.say(f"init {DRIVER_NOT_LOADED}")
    assert PROBES["gpu"]() == {"error": "Driver Not Loaded", "has_library": True}


def test_another_makers_gpu_under_wsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no NVIDIA GPU, and nothing is wrong."""
    monkeypatch.setattr(nvml_module, "WSL_DEVICE_FILE", str(tmp_path))
    lacking = answering(gpu={"error": "Library Not Found", "has_library": False})
    assert [status for status, _, _ in told(machine.gpu(lacking, [str(tmp_path)]))] == ["ok"]


def test_a_gpu_that_is_expected() -> None:
    """Why none is used; what another check tells is not told twice."""

    def found(answer: Any) -> list[tuple[str, str, str | None]]:
        return told(machine.gpu(answering(no_gpu=answer), ["/nonexistent"], expects=lambda: True))

    said_by_probe = {"key": "no_gpu_old_driver", "values": {"cuda": "13.0"}}
    (status, sentence, _) = found({"why": said_by_probe})[-1]
    assert (status, "CUDA 13.0" in sentence) == ("warning", True)
    for answer in ({"why": None}, {"error": "no module"}, ProbeError("crash")):
        assert [status for status, _, _ in found(answer)] == ["ok"]


def test_memory_is_what_a_container_leaves(tmp_path: Path) -> None:
    """The backend's figure counts limits; without it there is the kernel's."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n")
    free = answering(backend={**BACKEND, "available_bytes": 2**30})
    assert told(machine.memory(free, meminfo))[0][0] == "warning"
    [(status, sentence, _)] = told(machine.memory(answering(backend=ProbeError("crash")), meminfo))
    assert status == "ok"
    assert "8.00 GiB of 16.00 GiB" in sentence


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the folders that will be made, the place where they will be."""
    for free, status in ((2**40, "ok"), (2**30, "warning"), (2**20, "error")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda path, usage=usage: usage)
        [found] = told(machine.disk([tmp_path / "a" / "b", tmp_path / "c"]))
        assert found[0] == status
        assert str(tmp_path) in found[1]


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bad one is told with what undoes it, and does not hide the others."""
    (tmp_path / "hoshikage.toml").write_text("n_ctx = 0\nno_such = 1\nthreads = 2\n")
    environ = {"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOSHIKAGE_PORT": "x", "HOSHIKAGE_TREADS": "2", "HOME": "/"}
    for name in [name for name in os.environ if name.startswith("HOSHIKAGE_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings, errors = usable_settings()
    assert (settings.threads, settings.n_ctx, settings.port) == (2, 4096, 3030)
    found = told(place.settings(settings, errors))
    assert [status for status, _, _ in found] == ["error"] * 3 + ["warning"]
    fixes = [fix for _, _, fix in found]
    assert "unset HOSHIKAGE_PORT" in fixes
    assert "unset HOSHIKAGE_TREADS" in fixes
    assert f"${{EDITOR:-vi}} {tmp_path}/hoshikage.toml" in fixes
    assert told(place.settings(settings_in(tmp_path / "x", host="0.0.0.0"), []))[-1][0] == "error"


def test_a_broken_settings_file(tmp_path: Path) -> None:
    """The rest is looked at all the same."""
    (tmp_path / "hoshikage.toml").write_text("n_ctx =")
    settings, [error] = usable_settings({"HOSHIKAGE_CONFIG_DIR": str(tmp_path), "HOME": "/"})
    assert isinstance(error, SettingsError)
    assert settings.config_dir == tmp_path


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no folder, what cannot be written, and keys that others can read."""
    settings = settings_in(tmp_path, cache_dir=str(tmp_path / "cache"))
    assert [status for status, _, _ in told(place.folders(settings))] == ["ok"]
    (tmp_path / "cache").write_text("")
    assert told(place.folders(settings))[0][2] == shlex.join(["mv", f"{tmp_path}/cache", f"{tmp_path}/cache.old"])
    (tmp_path / "cache").unlink()
    with monkeypatch.context() as patch:  # root may write anywhere
        patch.setattr("os.access", lambda path, mode: False)
        found = told(place.folders(settings))
        assert {status for status, _, _ in found} == {"warning", "error"}
        assert all("chown" in (fix or "") for _, _, fix in found)
    with monkeypatch.context() as patch:  # nothing here can be mounted
        real = os.statvfs(tmp_path)
        patch.setattr("os.statvfs", lambda path: SimpleNamespace(f_flag=real.f_flag | os.ST_RDONLY))
        found = told(place.folders(settings))
    assert [word for _, sentence, _ in found for word in sentence.split() if word.startswith("HOSHIKAGE_")] == [
        "HOSHIKAGE_CONFIG_DIR.",
        "HOSHIKAGE_CACHE_DIR.",
        "HOSHIKAGE_MODELS_DIR.",
    ]
    for _, sentence, fix in found:
        assert "mounted read-only" in sentence
        assert (fix or "").startswith("sudo mount -o remount,rw /")
    toml = tmp_path / "hoshikage.toml"
    toml.write_text('api_keys = ["k"]')
    toml.chmod(0o644)
    assert told(place.folders(settings_in(tmp_path)))[0][2] == f"chmod 600 {toml}"
    toml.chmod(0o600)
    assert told(place.folders(settings_in(tmp_path)))[0][0] == "ok"


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """A port whose owner answers every request alike."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (http(b'{"version": "9.9", "object": "hoshikage.version"}'), "ok", "Hoshikage 9.9"),
        (http(b"<html>"), "error", "Another program"),
        (b"SSH-2.0-x\r\n", "error", "Another program"),
        (http(b'{"error": {"message": "no key"}}', "401 Unauthorized"), "warning", "HOSHIKAGE_API_KEYS"),
    ],
)
def test_who_is_at_the_port(tmp_path: Path, answer: bytes, status: str, word: str) -> None:
    """Our server, another program, or a server that does not know us."""
    with listener(answer) as port:
        [(found, sentence, fix)] = told(place.port(settings_in(tmp_path, port=str(port))))
    assert (found, word in sentence) == (status, True), sentence
    if status == "error":
        assert fix is not None
        assert fix.startswith("hoshikage serve --port ")


def test_nobody_is_at_the_port(tmp_path: Path) -> None:
    """It is free, or cannot be had at all."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert told(place.port(settings_in(tmp_path, port=str(port))))[0][0] == "ok"
    assert told(place.port(settings_in(tmp_path, port="0")))[0][0] == "ok"
    assert told(place.port(settings_in(tmp_path, host="a..b")))[0][0] == "error"


def test_models(tmp_path: Path) -> None:
    """Missing files, keys that do nothing, one file under two names, one name for two models, a broken file."""
    model = tmp_path / "x.gguf"
    model.write_bytes(b"GGUF")
    entry = {"path": str(tmp_path), "model": "x.gguf"}
    assert with_models(tmp_path, "")[0][2] == "hoshikage model demo"
    assert with_models(tmp_path, json.dumps({"m": entry}))[0][0] == "ok"
    [gone] = with_models(tmp_path, json.dumps({"it's": {**entry, "model": "y.gguf"}}))
    assert gone[0] == "error"
    assert gone[2] == shlex.join(["hoshikage", "rm", "it's"])
    keys = with_models(tmp_path, json.dumps({"m": {**entry, "mmproj": "z", "nctx": 1}}))
    assert [(status, fix) for status, _, fix in keys] == [
        ("warning", "hoshikage model set m mmproj="),
        ("warning", "hoshikage model set m nctx="),
    ]
    [same] = with_models(tmp_path, json.dumps({"m": entry, "n": entry}))
    assert (same[0], "m, n" in same[1]) == ("warning", True)
    [odd] = with_models(tmp_path, json.dumps({"a\nb": entry, "m": entry}))
    assert (odd[0], "'a\\nb' is left out" in odd[1]) == ("error", True)
    assert str(tmp_path / "model_map.json") in (odd[2] or "")
    [broken] = with_models(tmp_path, '{\n  "m": {"path": "."},\n}')
    assert broken[0] == "error"
    assert "line" in broken[1]
    assert str(tmp_path / "model_map.json") in (broken[2] or "")


def test_files_that_an_entry_names(tmp_path: Path) -> None:
    """Adapters, draft models and templates that are not there; a draft that is not used does not matter."""
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    entry = {"path": str(tmp_path), "model": "x.gguf"}
    for key, value in (("lora", [{"path": "no"}]), ("draft_model", "no"), ("chat_template", "no")):
        [(status, sentence, fix)] = with_models(tmp_path, json.dumps({"m": {**entry, key: value}}))
        assert (status, fix) == ("error", f"hoshikage model set m {key}=")
        assert str(tmp_path / "no") in sentence
    there = {"lora": [{"path": "x.gguf"}], "draft_model": "x.gguf", "chat_template": "{{ x }}"}
    assert with_models(tmp_path, json.dumps({"m": {**entry, **there}}))[0][0] == "ok"
    off = {**entry, "draft_model": "no", "speculation": "off"}
    assert with_models(tmp_path, json.dumps({"m": off}))[0][0] == "ok"


def test_personas(tmp_path: Path) -> None:
    """A broken file is named."""
    assert told(lists.personas(settings_in(tmp_path)))[0][0] == "ok"
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "mine.toml").write_text("system =")
    [(status, sentence, _)] = told(lists.personas(settings_in(tmp_path)))
    assert (status, "mine.toml" in sentence) == ("error", True)


def doctor(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hoshikage_server", "doctor", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HOSHIKAGE_", "XDG_"))}
    clean |= {"HOSHIKAGE_CONFIG_DIR": str(folder), "HOME": str(folder), "HOSHIKAGE_PORT": "0", **environ}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("language", "word"), [("en", "OK "), ("ja", "問題なし")])
def test_the_command(tmp_path: Path, language: str, word: str) -> None:
    """In the person's language; colours are for terminals; what is only a warning is no failure."""
    result = doctor(tmp_path, HOSHIKAGE_LANG=language)
    assert (result.returncode, result.stderr) == (0, "")
    assert word in result.stdout
    assert "→ hoshikage model demo" in result.stdout
    assert "\x1b" not in result.stdout
    assert "doctor_" not in result.stdout
    assert "check_" not in result.stdout


def test_the_command_for_programs(tmp_path: Path) -> None:
    """The exit status is 1 where there is an error, which is found although other settings are broken too."""
    (tmp_path / "model_map.json").write_text("{,}")
    result = doctor(tmp_path, "--json", HOSHIKAGE_LANG="en", HOSHIKAGE_N_CTX="many")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert all(one.keys() == {"check", "status", "message", "fix"} for one in found)
    assert {one["check"] for one in found if one["status"] == "error"} == {"settings", "models"}


def test_rpc_servers(tmp_path: Path) -> None:
    """Those of the settings and of entries are asked as loading asks them; without any there is nothing to say.

    One that accepts and says nothing may be in use. What is no worker, and what is not there, is an error.
    """
    assert rpc.servers(settings_in(tmp_path)) == []
    with (
        RpcWorker(tmp_path) as worker,
        socket.create_server(("127.0.0.1", 0)) as mute,
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))
        threading.Thread(target=hang_up_on_all, args=[web], daemon=True).start()
        silent, foreign, gone = (f"127.0.0.1:{one.getsockname()[1]}" for one in (mute, web, closed))
        servers = [worker.server, foreign, "no-such-host.invalid:1"]
        entry = {"path": "p", "model": "m", "rpc_servers": servers}
        (tmp_path / "model_map.json").write_text(json.dumps({"a": entry}))
        found = rpc.servers(settings_in(tmp_path, rpc_servers=f"{silent},{gone}"))
        web.shutdown(socket.SHUT_RDWR)
    fix = f"hoshikage rpc-worker --port {gone.partition(':')[2]}"
    by_server = dict(zip((silent, gone, *servers), told(found), strict=True))
    assert all(server in sentence for server, (_, sentence, _) in by_server.items())
    assert {server: (status, fix) for server, (status, _, fix) in by_server.items()} == {
        silent: ("warning", None),
        gone: ("error", fix),
        worker.server: ("ok", None),
        foreign: ("error", None),
        "no-such-host.invalid:1": ("error", None),
    }
    assert "in use" in by_server[silent][1]
    assert "no RPC worker" in by_server[foreign][1]
    assert "応答がありません" in found[0].what.text("ja")


def hang_up_on_all(listener: socket.socket) -> None:
    """As what speaks another protocol."""
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


def test_rpc_servers_that_cannot_be_asked(tmp_path: Path) -> None:
    """A process that asks and does not end is told for each of them; one that has no module, elsewhere."""
    settings = settings_in(tmp_path, rpc_servers="a:1,b:2")

    def hanging(*_: str) -> dict[str, Any]:
        raise ProbeError("timeout")

    assert [(status, "timeout" in sentence) for status, sentence, _ in told(rpc.servers(settings, hanging))] == [
        ("error", True),
        ("error", True),
    ]
    assert rpc.servers(settings, lambda *_: {"error": "undefined symbol"}) == []
