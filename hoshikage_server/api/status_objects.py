"""What /v1/status, /load and /unload answer.

The fields are documented in docs/status.md. They are only ever added to; `SCHEMA` counts changes that break this. The
command line reads with the same types, so nothing of the server is imported here, and what is added has a default: an
older server may be running yet.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1
NO_GPU = "no_gpu"  # what an engine does without whose `no_gpu` says why


class Memory(msgspec.Struct, frozen=True):
    """What processes hold, in bytes."""

    rss_bytes: int
    private_bytes: int
    vram_bytes: int | None


class EngineStatus(msgspec.Struct, frozen=True):
    """One engine process."""

    model: str
    state: str
    since: float
    pid: int
    n_ctx: int | None
    degraded: tuple[str, ...]
    load_progress: float | None
    load_s: float | None
    seconds_to_unload: float | None
    memory: Memory | None
    gpu_layers: int | None = None
    n_layers: int | None = None
    no_gpu: str | None = None
    rpc_servers: tuple[str, ...] = ()


class QueueStatus(msgspec.Struct, frozen=True):
    """The lane."""

    running: int
    parallel: int
    waiting: int
    max_waiting: int
    waits_s: tuple[float, ...]


class RequestStatus(msgspec.Struct, frozen=True):
    """One answer under way."""

    id: str
    model: str
    phase: str
    age_s: float
    n_prompt: int | None
    n_completion: int
    n_resumed: int


class LoadStatus(msgspec.Struct, frozen=True):
    """The last load that went well."""

    model: str
    at: float
    load_s: float


class UnloadStatus(msgspec.Struct, frozen=True):
    """What an unloading gave back."""

    model: str
    at: float
    freed: Memory | None
    gpus_fell_bytes: int | None
    is_complete: bool
    left: Memory
    left_pids: tuple[int, ...]
    problem: str | None


class CrashStatus(msgspec.Struct, frozen=True):
    """One death of an engine."""

    at: float
    model: str
    reason: str


class BuildStatus(msgspec.Struct, frozen=True):
    """The build of hoshikage_core."""

    llama_cpp_commit: str
    backend: str
    compiler: str
    cuda_version: str | None = None


class PromptStatus(msgspec.Struct, frozen=True):
    """What became of one of the last prompts."""

    model: str
    at: float
    n_prompt: int
    n_cached: int
    n_expected: int
    reason: str | None
    message: int | None
    character: int | None


class SpeculationStatus(msgspec.Struct, frozen=True):
    """How well a model's answers were guessed, since the server started."""

    n_drafted: int
    n_accepted: int


class GpuStatus(msgspec.Struct, frozen=True):
    """A GPU, while an engine runs."""

    index: int
    name: str
    used_bytes: int | None
    total_bytes: int | None
    utilisation: float | None
    power_w: float | None
    temperature_c: int | None
    energy_j: float | None


class EnergyStatus(msgspec.Struct, frozen=True):
    """What a model's answers have taken, since the server started."""

    total_j: float
    n_tokens: int
    j_per_token: float | None
    last_answer_j: float


class StatusObject(msgspec.Struct, frozen=True):
    """The answer to GET /v1/status."""

    state: str
    since: float
    model: str | None
    engines: tuple[EngineStatus, ...]
    queue: QueueStatus
    requests: tuple[RequestStatus, ...]
    last_load: LoadStatus | None
    last_unload: UnloadStatus | None
    last_tokens_per_s: float | None
    n_engine_starts: int
    n_engine_crashes: int
    crashes: tuple[CrashStatus, ...]
    retry_after_s: dict[str, float]
    last_error: str | None
    model_map_error: str | None
    version: str
    build: BuildStatus | None
    uptime_s: float
    model_map_refused: tuple[str, ...] = ()
    persona_errors: tuple[str, ...] = ()
    speculation: dict[str, SpeculationStatus] = {}
    prompts: tuple[PromptStatus, ...] = ()
    gpus: tuple[GpuStatus, ...] = ()
    energy: dict[str, EnergyStatus] = {}
    object: Literal["hoshikage.status"] = "hoshikage.status"
    schema: int = SCHEMA


class LoadObject(msgspec.Struct, frozen=True):
    """The answer to POST .../load: the model is ready."""

    model: str
    was_loaded: bool
    engine: EngineStatus | None
    object: Literal["hoshikage.load"] = "hoshikage.load"


class UnloadObject(msgspec.Struct, frozen=True):
    """The answer to POST .../unload: the model is not loaded (any more)."""

    model: str
    was_loaded: bool
    unloaded: UnloadStatus | None
    object: Literal["hoshikage.unload"] = "hoshikage.unload"
