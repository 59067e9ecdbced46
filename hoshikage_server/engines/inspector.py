"""`python -m hoshikage_server.engines.inspector FILE`: what llama.cpp finds a file to be, as JSON on stdout.

With an engine's spec as JSON on stdin it also works out the memory that is needed.

A process of its own: a file made to do harm may make llama.cpp abort, and a header takes it some tenths of a second.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hoshikage_core import (
    ChatTemplateError,
    DeviceMemory,
    HoshikageError,
    InvalidArgumentError,
    Model,
    ModelInfo,
    RpcServerError,
    memory_needed,
)
from hoshikage_core.memory import available_bytes, model_file_bytes
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.failures import failed_load, of_reason
from hoshikage_server.engines.loading import devices_of, loras_of
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import Said, said, told_by_system
from hoshikage_server.registry.gguf_header import read_header
from hoshikage_server.registry.inspection import DevicePlan, Inspection, MemoryNeed, Plan, Refused
from hoshikage_server.registry.kinds import why_no_model
from hoshikage_server.registry.parts import all_parts

_N_CTX_FIRST, _FACTOR = 2048, 4


def inspect(path: str, spec: EngineSpec | None) -> Inspection:
    """Looks at a file; no weights are loaded.

    Args:
        path: The first file of the model.
        spec: Also work out what such an engine would take, which asks the GPU.

    Raises:
        HoshikageError: llama.cpp cannot load it.
        ServerError: It is no GGUF file, not a whole one, or none of a model.
        OSError: It cannot be read.
    """
    first, *others = all_parts(Path(path))
    kind = why_no_model(read_header(first), first, is_whole=not others)
    if kind is not None:
        raise ServerError(kind, path=path)
    for part in others:
        read_header(part)
    with Model(path, no_weights=True) as model:
        info = model.info
        supports_thinking = False
        if info.chat_template is not None:
            with contextlib.suppress(ChatTemplateError):  # which the model may be used without
                supports_thinking = model.chat().supports_thinking
    plan, no_plan = _plan(path, spec) if spec else (None, None)
    return Inspection(
        arch=info.arch,
        name=info.name,
        size_bytes=model_file_bytes(path),
        quantisation=info.quantisation,
        n_params=info.n_params,
        n_ctx_train=info.n_ctx_train,
        n_layer=info.n_layer,
        chat_template=info.chat_template,
        supports_thinking=supports_thinking,
        pooling=info.pooling,
        license=info.metadata.get("general.license"),
        memory=tuple(_needs(path, info)) if spec else (),
        plan=plan,
        no_plan=no_plan,
    )


def _plan(path: str, spec: EngineSpec) -> tuple[Plan | None, Said | None]:
    """What it would take or, where the settings or another machine are to blame, why that is not known."""
    try:
        shape: dict[str, Any] = {
            "gpu_layers": spec.gpu_layers,
            "devices": devices_of(spec),
            "n_ctx": spec.n_ctx,
            "parallel": spec.parallel,
            "flash_attention": spec.flash_attention,
            "kv_type": spec.kv_type,
        }
        parts = memory_needed(path, lora=loras_of(spec), **shape)
        draft_shape = {**shape, "devices": None} if spec.devices.rpc_servers else shape  # as loading has it
        drafts = memory_needed(spec.draft_model.path, **draft_shape) if spec.draft_model else ()
    except RpcServerError as error:  # also while it computes for this very model
        return None, said("doctor_rpc_unusable", server=error.server, reason=of_reason(error.reason))
    except InvalidArgumentError as error:
        reason = failed_load(error).fields.get("reason")
        return None, reason if isinstance(reason, Said) else None
    except (HoshikageError, OSError):  # as of a model that embeds only, or without its adapter
        return None, None
    beside = {draft.name: draft for draft in drafts}
    devices = tuple(_device(part, beside.get(part.name)) for part in parts)
    return Plan(spec.n_ctx, spec.parallel, spec.kv_type, devices), None


def _device(part: DeviceMemory, draft: DeviceMemory | None) -> DevicePlan:
    both = (part,) if draft is None else (part, draft)
    return DevicePlan(
        part.name,
        sum(one.model_bytes for one in both),
        sum(one.context_bytes for one in both),
        sum(one.compute_bytes for one in both),
        available_bytes() if part.name == "host" else part.free_bytes,
        part.total_bytes,
        part.description,
    )


def _needs(path: str, info: ModelInfo) -> Iterator[MemoryNeed]:
    n_ctx = min(_N_CTX_FIRST, info.n_ctx_train)
    while n_ctx:
        with contextlib.suppress(HoshikageError):  # as of a model that embeds only
            *gpus, host = memory_needed(path, n_ctx=n_ctx)
            yield MemoryNeed(n_ctx, host.needed_bytes, sum(gpu.needed_bytes for gpu in gpus) if gpus else None)
        n_ctx = min(n_ctx * _FACTOR, info.n_ctx_train) if n_ctx < info.n_ctx_train else 0


def _refused(code: str, **values: object) -> Refused:
    told = {name: value if isinstance(value, Said) else _as_unicode(str(value)) for name, value in values.items()}
    return Refused(code, told)


def _as_unicode(text: str) -> str:
    """Names of files need not be, and JSON is."""
    return text.encode(errors="backslashreplace").decode()


def main() -> None:
    """Entry point."""
    try:
        asked = sys.stdin.buffer.read()
        spec = msgspec.json.decode(asked, type=EngineSpec) if asked else None
        answer: Inspection | Refused = inspect(sys.argv[1], spec)
    except HoshikageError as error:
        frame = failed_load(error)
        answer = _refused("gguf_refused", path=sys.argv[1], reason=frame.fields.get("reason") or frame.message)
    except ServerError as error:
        answer = _refused(error.code, **error.values)
    except OSError as error:
        answer = _refused("file_unreadable", path=error.filename or sys.argv[1], reason=told_by_system(error))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
