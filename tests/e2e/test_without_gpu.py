"""A model that was to be computed by a GPU, where there is none: loaded and told of, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import hoshikage, register
from server_process import REAL_SERVER, ServerProcess

from hoshikage_core import build_info, devices

pytestmark = pytest.mark.skipif(bool(devices.gpu_memory()), reason="there is a GPU")

# Each cause has a remedy of its own; which it is here depends on the machine.
REMEDIES = ("make build",) if build_info().backend == "cpu" else ("--gpus all", "gpu_layers", "nvidia-smi")

StartServer = Callable[..., ServerProcess]


def models_of(path: Path) -> dict[str, dict[str, Any]]:
    tiny = {"path": str(path.parent), "model": path.name, "n_ctx": 256}
    return {
        "wants": tiny | {"gpu_layers": "all"},
        "shares": tiny | {"tensor_split": [3, 1]},
        "cpu": tiny | {"gpu_layers": 0},
        "contradicts": tiny | {"tensor_split": [3, 1], "split_mode": "none"},
    }


def is_remedy(sentence: str) -> bool:
    return any(remedy in sentence for remedy in REMEDIES)


def test_it_answers_and_everybody_is_told(start_server: StartServer, tiny_model_path: Path) -> None:
    """Status, health, log and commands, with the remedy; a model that is meant for the CPU is silent."""
    server = start_server(models_of(tiny_model_path), command=REAL_SERVER, threads=1, max_loaded_models=2)
    status, told = server.post("/v1/models/cpu/load")
    assert (status, told["engine"]["degraded"], told["engine"]["no_gpu"]) == (200, [], None)
    assert (told["engine"]["gpu_layers"], told["engine"]["n_layers"]) == (0, 3)
    assert server.get("/health") == {"status": "ok"}
    question: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    for model in ("wants", "shares"):
        status, answer = server.post("/v1/chat/completions", model=model, **question)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 2)
        [engine] = [engine for engine in server.status["engines"] if engine["model"] == model]
        assert engine["degraded"] == ["no_gpu"]
        assert is_remedy(engine["no_gpu"])
        assert server.get("/health") == {"status": "ok", "degraded": ["no_gpu"]}
        [line] = [line for line in server.log.splitlines() if f"{model} runs on the CPU" in line]
        assert is_remedy(line)
    assert "cpu runs on the CPU" not in server.log
    shown = hoshikage(server.log_path.parent, "status", "--url", server.url, HOSHIKAGE_LANG="ja").stdout
    assert "GPUなし" in shown
    assert "CPUのみ" in shown
    assert is_remedy(shown)
    loaded = hoshikage(server.log_path.parent, "load", "shares", "--url", server.url)
    assert is_remedy(loaded.stderr)
    for model in ("shares", "cpu"):
        asked = hoshikage(
            server.log_path.parent, "run", "hello", "--max-tokens", "2", "--model", model, "--url", server.url
        )
        assert asked.returncode == 0, asked.stderr
        assert is_remedy(asked.stderr) is (model == "shares"), "another model's engine is beside the matter"


def test_what_contradicts_itself_is_refused(start_server: StartServer, tiny_model_path: Path) -> None:
    """Naming the key, in the language of whoever asks."""
    server = start_server(models_of(tiny_model_path), command=REAL_SERVER, threads=1)
    for language, word in (("en", "split_mode is none"), ("ja", "split_mode が none")):
        status, told = server.post("/v1/models/contradicts/load", language)
        assert (status, told["error"]["code"]) == (503, "model_load_failed")
        assert "'tensor_split'" in told["error"]["message"]
        assert word in told["error"]["message"]


def test_a_gpu_is_required(start_server: StartServer, tiny_model_path: Path) -> None:
    """Then it is refused instead, also with "auto"; the CPU's own model is loaded."""
    models = models_of(tiny_model_path)
    models["auto"] = {name: value for name, value in models["cpu"].items() if name != "gpu_layers"}
    server = start_server(models, command=REAL_SERVER, threads=1, require_gpu=1)
    for model in ("wants", "auto"):
        for language in ("ja", "en"):
            status, told = server.post(f"/v1/models/{model}/load", language)
            assert (status, told["error"]["code"], told["error"]["type"]) == (503, "gpu_required", "server_error")
            assert "HOSHIKAGE_REQUIRE_GPU" in told["error"]["message"]
            assert is_remedy(told["error"]["message"])
    assert server.status["last_error"]
    assert server.post("/v1/models/cpu/load")[0] == 200


def test_without_a_server(tmp_path: Path, tiny_model_path: Path) -> None:
    """What `run` and `bench` load themselves, and what `doctor` looks at."""
    register(tmp_path, tiny=tiny_model_path)
    wants = {"HOSHIKAGE_GPU_LAYERS": "all", "HOSHIKAGE_N_CTX": "256"}
    for command in (
        ("run", "--local", "--max-tokens", "2", "hello"),
        ("bench", "tiny", "--prompt", "8", "--decode", "2"),
    ):
        silent = hoshikage(tmp_path, *command, HOSHIKAGE_GPU_LAYERS="0", HOSHIKAGE_N_CTX="256")
        assert (silent.returncode, is_remedy(silent.stderr)) == (0, False), silent.stderr
        told = hoshikage(tmp_path, *command, **wants)
        assert (told.returncode, is_remedy(told.stderr)) == (0, True), told.stderr
        refused = hoshikage(tmp_path, *command, HOSHIKAGE_REQUIRE_GPU="1", HOSHIKAGE_N_CTX="256")
        assert (refused.returncode != 0, is_remedy(refused.stderr)) == (True, True), refused.stderr
    found = json.loads(hoshikage(tmp_path, "doctor", "--json", **wants).stdout)
    assert any(one["check"] == "gpu" and one["status"] == "warning" and is_remedy(one["message"]) for one in found)
    found = json.loads(hoshikage(tmp_path, "doctor", "--json", HOSHIKAGE_GPU_LAYERS="0").stdout)
    assert not any(one["check"] == "gpu" and is_remedy(one["message"]) for one in found)
