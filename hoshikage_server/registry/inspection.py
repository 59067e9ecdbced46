"""What a model's file is, as llama.cpp finds it: asked in a process of its own, see `engines.inspector`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import Said, said, told_by_system
from hoshikage_server.registry.parts import all_parts, part_of

_COMMAND = (sys.executable, "-m", "hoshikage_server.engines.inspector")
_SHOWN = 10


class MemoryNeed(msgspec.Struct, frozen=True):
    """What a model takes with so many tokens of context; no VRAM where there is no GPU."""

    n_ctx: int
    ram_bytes: int
    vram_bytes: int | None = None


class DevicePlan(msgspec.Struct, frozen=True):
    """What a device would hold, and what it has; the host is the last one, named "host".

    Attributes:
        name: llama.cpp's.
        weights_bytes: Weights, of a draft model and adapters too.
        context_bytes: KV cache.
        compute_bytes: Buffers.
        free_bytes: What is free there now.
        total_bytes: What it has.
        description: What its driver calls it.
    """

    name: str
    weights_bytes: int
    context_bytes: int
    compute_bytes: int
    free_bytes: int
    total_bytes: int
    description: str = ""

    @property
    def needed_bytes(self) -> int:
        """All that it would hold."""
        return self.weights_bytes + self.context_bytes + self.compute_bytes


class Plan(msgspec.Struct, frozen=True):
    """Where a model with its settings would go, as it is worked out without loading it.

    Attributes:
        n_ctx: Tokens of context.
        parallel: Requests computed at once.
        kv_type: Type of the KV cache's numbers.
        devices: The GPUs that take a part of it, and the host.
    """

    n_ctx: int
    parallel: int
    kv_type: str
    devices: tuple[DevicePlan, ...]


class Inspection(msgspec.Struct, frozen=True, tag="inspection"):
    """What a model's file is.

    Attributes:
        arch: llama.cpp's name of the architecture.
        name: What the file calls it.
        size_bytes: Of all its files.
        quantisation: Of most of its weights.
        n_params: Weights.
        n_ctx_train: Tokens of context it was trained with.
        n_layer: Its layers.
        chat_template: The file's Jinja text.
        supports_thinking: Whether the template knows of reasoning.
        pooling: How an embedding model pools.
        license: As the file says.
        memory: What it takes with some sizes of context, where that was asked for.
        n_parts: How many files it has.
        plan: What its engine would take, where that was asked for and can be told.
        no_plan: Why it cannot, where that is for somebody to mend.
    """

    arch: str
    name: str
    size_bytes: int
    quantisation: str
    n_params: int
    n_ctx_train: int
    n_layer: int
    chat_template: str | None
    supports_thinking: bool
    pooling: str | None
    license: str | None
    memory: tuple[MemoryNeed, ...]
    n_parts: int = 1
    plan: Plan | None = None
    no_plan: Said | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why it cannot be used: an error's code, and the values that its message speaks of."""

    code: str
    values: dict[str, str | Said]


_decoder = msgspec.json.Decoder(Inspection | Refused)


def inspect(file: Path, timeout_s: float = 30.0, *, spec: EngineSpec | None = None) -> Inspection:
    """Asks what a file is; under gevent other greenlets go on meanwhile.

    Args:
        file: The .gguf file, the first one of a split model.
        timeout_s: How long that may take.
        spec: Also work out what such an engine would take, which asks the GPU.

    Raises:
        ServerError: It is missing (or a part of it is), cannot be read, is damaged or no model; gguf_refused, with the
            reason, where llama.cpp says so or dies of it.
    """
    parts = _parts(file)
    # The path is an argument, whose name need not be Unicode.
    asked = b"" if spec is None else msgspec.json.encode(msgspec.structs.replace(spec, path=""))
    try:
        done = subprocess.run([*_COMMAND, str(file)], input=asked, capture_output=True, timeout=timeout_s, check=False)
        found: Inspection | Refused = _decoder.decode(done.stdout)
    except subprocess.TimeoutExpired:
        raise _refused(file, said("inspection_timeout", seconds=f"{timeout_s:g}")) from None
    except msgspec.MsgspecError:  # it died, as llama.cpp does of some files
        raise _refused(file, said("inspection_died", status=done.returncode)) from None
    if isinstance(found, Refused):
        error = ServerError(found.code)
        error.values = {**found.values}
        raise error
    return msgspec.structs.replace(found, n_parts=len(parts))


def _parts(file: Path) -> tuple[Path, ...]:
    """All files of the model, which are there."""
    part = part_of(file.name)
    if part is not None and part.number != 1:
        raise ServerError("not_the_first_part", path=file, first=part.name(1))
    parts = all_parts(file)
    try:
        if not file.exists():
            raise ServerError("file_not_found", path=file)
        if file.is_dir():
            raise ServerError("file_is_folder", path=file)
        missing = [other.name for other in parts if not other.exists()]
        if missing:
            raise ServerError("parts_missing", path=file, missing=", ".join(missing[:_SHOWN]))
        for other in parts:
            if not other.is_file():  # opening a pipe would wait for its other end
                raise ServerError("not_a_gguf", path=other)
    except OSError as error:  # as of a name that is too long
        raise ServerError("file_unreadable", path=file, reason=told_by_system(error)) from error
    return parts


def _refused(file: Path, reason: object) -> ServerError:
    return ServerError("gguf_refused", path=file, reason=reason)
