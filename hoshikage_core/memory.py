"""How much memory there is, and how much a model and a context on it would take."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
from collections.abc import Mapping, Sequence
from typing import Any

from hoshikage_core import _cgroup, _gguf
from hoshikage_core._ffi import call_text, lib
from hoshikage_core._loras import Lora, loras_bytes
from hoshikage_core.devices import Devices, gpu_free_bytes
from hoshikage_core.errors import InsufficientMemoryError, NativeError
from hoshikage_core.params import ContextShape, GpuLayers, model_params

StrPath = str | os.PathLike[str]

_N_CTX_PROBE = 65536
_N_UBATCH = 512  # what csrc computes at once, at most
_N_OUTPUTS_AT_ONCE = 128  # of an embedder in csrc
_EMBD_BUFFERS, _FF_BUFFERS = 8, 3  # of an embedder, alive at the same time: BERT and Llama take about half of that
_SHARE_THAT_SURELY_FITS = 0.5
# What llama.cpp may take to work out a figure: it builds the tokenizer.
_TO_ESTIMATE_BYTES = 256 * 2**20
# What no figure counts: graphs, tables, stacks. When a process's limit denies it, llama.cpp aborts.
_BESIDES_BYTES = 64 * 2**20
_SPLIT_NAME = re.compile(r"-00001-of-(\d{5})\.gguf$")


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """What one device would hold; the host is the last one, named "host". `description` is what its driver calls it."""

    name: str
    free_bytes: int
    total_bytes: int
    model_bytes: int
    context_bytes: int
    compute_bytes: int
    description: str = ""

    @property
    def needed_bytes(self) -> int:
        """All of it."""
        return self.model_bytes + self.context_bytes + self.compute_bytes


@dataclasses.dataclass(frozen=True)
class MeasuredMemory:
    """What a model and an engine on it were seen to take, or will take besides what this process holds already.

    Attributes:
        private_bytes: RAM, without the pages of the mapped file.
        vram_bytes: On all GPUs together; None where that is not known.
    """

    private_bytes: int
    vram_bytes: int | None = None


def require_memory(
    path: StrPath,
    *,
    gpu_layers: GpuLayers = "auto",
    devices: Devices | None = None,
    n_ctx: int = 4096,
    parallel: int = 1,
    n_batch: int = 512,
    flash_attention: bool | None = None,
    kv_type: str = "f16",
    lora: Sequence[Lora] = (),
    measured: MeasuredMemory | None = None,
) -> None:
    """Raises an error unless a model and an engine on it fit in what is free now; loads and allocates nothing.

    Weights count in full, mapped or not: a mapped model larger than memory would be read again for every token. Where
    everything obviously fits, this takes a millisecond; otherwise llama.cpp works it out, reading the file's header.
    A file that is no usable model passes: loading it says why.

    Args:
        path: The .gguf file (the first one of a split model).
        gpu_layers: As for ``Model``.
        devices: As for ``Model``.
        n_ctx: As for ``Model.engine()``, like the following.
        parallel: Sequences.
        n_batch: Tokens in a step.
        flash_attention: None: where the backend supports it.
        kv_type: ggml type of the KV cache.
        lora: Adapters.
        measured: What the same was seen to take, which counts for more than what is worked out.

    Raises:
        InsufficientMemoryError: The first device that lacks memory: a GPU's name, or "host".
        InvalidArgumentError: A value is out of range.
        RpcServerError: An RPC server does not answer.
    """
    shape = ContextShape(
        n_ctx=n_ctx, parallel=parallel, n_batch=n_batch, flash_attention=flash_attention, kv_type=kv_type
    )
    params = model_params(gpu_layers, shape, devices)
    free_bytes = available_bytes()
    gpus = {} if gpu_layers == 0 else gpu_free_bytes()
    gpus_free_bytes = list(gpus.values())
    used = _used(gpus, devices)
    what = f"the model with a context of {shape.n_ctx} tokens"
    if measured is not None and used is not None and _tells_of(measured, used):
        try:
            _require("the part of the model on GPUs", measured.vram_bytes or 0, sum(used.values()), ", ".join(used))
            _require(what, measured.private_bytes, free_bytes)
            mapped_bytes = _mapped_bytes(path, params, shape, free_bytes - measured.private_bytes)
            _require(what, measured.private_bytes + mapped_bytes, free_bytes)
            return
        except InsufficientMemoryError:
            if gpu_layers != "auto" or not used:
                raise
            # Fewer layers may go to GPUs than then, or more: it is worked out.
    try:
        file_bytes = model_file_bytes(path) + loras_bytes(lora)
        at_most = context_bytes_at_most(_gguf.read_scalars(path), shape)
        is_spread = devices is not None and bool(devices.rpc_servers)  # what is free there, llama.cpp has to ask
        may_guess = at_most is not None and not is_spread
        if may_guess and _surely_fits(file_bytes + (at_most or 0), min([free_bytes, *gpus_free_bytes])):
            return
        if free_bytes < _TO_ESTIMATE_BYTES:
            needed_bytes = file_bytes + (at_most or 0)
            elsewhere_bytes = needed_bytes if is_spread else sum(gpus_free_bytes)
            _require(what, _needed_on_host(needed_bytes, elsewhere_bytes), free_bytes)
            return
        *parts, host = _needed(path, params, shape, file_bytes)
    except (OSError, NativeError):
        return
    for part in parts:
        _require(f"the part of the model on {part.name}", part.needed_bytes, part.free_bytes, part.name)
    _require(what, host.needed_bytes, free_bytes)


def memory_needed(
    path: StrPath,
    *,
    gpu_layers: GpuLayers = "auto",
    devices: Devices | None = None,
    n_ctx: int = 4096,
    parallel: int = 1,
    flash_attention: bool | None = None,
    kv_type: str = "f16",
    lora: Sequence[Lora] = (),
) -> tuple[DeviceMemory, ...]:
    """What a model and an engine on it would take, device by device, the host last; loads and allocates nothing.

    Args:
        path: The .gguf file (the first one of a split model).
        gpu_layers: As for ``Model``; anything but 0 wakes GPUs up.
        devices: As for ``Model``.
        n_ctx: As for ``Model.engine()``, like the following.
        parallel: Sequences.
        flash_attention: None: where the backend supports it.
        kv_type: ggml type of the KV cache.
        lora: Adapters, which are counted as the host's.

    Raises:
        InvalidArgumentError: A value is out of range.
        NativeError: The file is no usable model.
        OSError: A file is not there.
        RpcServerError: An RPC server does not answer.
    """
    shape = ContextShape(n_ctx=n_ctx, parallel=parallel, flash_attention=flash_attention, kv_type=kv_type)
    return _needed(path, model_params(gpu_layers, shape, devices), shape, model_file_bytes(path) + loras_bytes(lora))


def _needed(path: StrPath, params: Any, shape: ContextShape, file_bytes: int) -> tuple[DeviceMemory, ...]:
    """As llama.cpp works it out, which leaves out the weights that it rearranges for the CPU, and adapters."""
    *gpus, host = estimate_memory(os.fsdecode(path), params, shape)
    weights_bytes = max(host.model_bytes, file_bytes - sum(gpu.model_bytes for gpu in gpus))
    return (*gpus, dataclasses.replace(host, model_bytes=weights_bytes))


def _used(gpus: Mapping[str, int], devices: Devices | None) -> dict[str, int] | None:
    """Those of the GPUs that a model goes to; None where other machines take part, whose memory is not measured."""
    if devices is not None and devices.rpc_servers:
        return None
    if devices is not None and devices.split_mode == "none":
        return dict([*gpus.items()][devices.main_gpu :][:1])
    if devices is not None and devices.tensor_split:
        return {name: gpus[name] for name, share in zip(gpus, devices.tensor_split, strict=False) if share}
    return dict(gpus)


def _tells_of(measured: MeasuredMemory, gpus_free: Mapping[str, int]) -> bool:
    """Whether it was measured with GPUs where there are some now, and without where there are none."""
    return bool(gpus_free) == bool(measured.vram_bytes)


def _mapped_bytes(path: StrPath, params: Any, shape: ContextShape, enough_bytes: int) -> int:
    """The weights on the host that stay in the mapped file; no more than all of them where these have room anyway."""
    try:
        file_bytes = model_file_bytes(path)
        if file_bytes <= enough_bytes:
            return file_bytes
        return estimate_memory(os.fsdecode(path), params, shape)[-1].model_bytes
    except (OSError, NativeError):  # loading it says what is wrong
        return 0


def _needed_on_host(needed_bytes: int, gpus_free_bytes: int) -> int:
    """What the host needs at least, where llama.cpp cannot be asked: what GPUs cannot take, but enough to load it."""
    return max(needed_bytes - gpus_free_bytes, min(needed_bytes, _TO_ESTIMATE_BYTES))


def require_context_memory(path: str, native_model: Any, metadata: Mapping[str, Any], shape: ContextShape) -> None:
    """The same for an engine on a model that is loaded, and for the host only.

    Args:
        path: The model's file.
        native_model: What it was loaded with.
        metadata: The model's.
        shape: What the engine is to be.

    Raises:
        InsufficientMemoryError: The host lacks memory.
    """
    needed_bytes, free_bytes = context_bytes_at_most(metadata, shape), available_bytes()
    if needed_bytes is not None and _surely_fits(needed_bytes, free_bytes):
        return
    if needed_bytes is None or free_bytes >= _TO_ESTIMATE_BYTES:
        host = estimate_memory(path, native_model, shape)[-1]
        needed_bytes = host.context_bytes + host.compute_bytes
    _require(f"a context of {shape.n_ctx} tokens", needed_bytes, free_bytes)


def require_embedder_memory(native_model: Any, metadata: Mapping[str, Any], n_vocab: int, shape: ContextShape) -> None:
    """The same for an embedder on a model that is loaded.

    Args:
        native_model: What it was loaded with.
        metadata: The model's.
        n_vocab: The model's.
        shape: What the embedder is to be.

    Raises:
        InsufficientMemoryError: The host lacks memory.
    """
    arch = metadata.get("general.architecture")
    is_whole = metadata.get(f"{arch}.attention.causal") == "false"
    n_at_once = shape.n_ctx if is_whole else shape.n_batch
    n_outputs = n_at_once if is_whole else max(_N_OUTPUTS_AT_ONCE, shape.parallel)
    needed_bytes = 4 * n_vocab * n_outputs  # llama.cpp makes room for logits, whether a model has any or not
    if native_model.n_gpu_layers == 0:
        n_embd, n_ff, n_head = (
            _integer(metadata.get(f"{arch}.{key}"))
            for key in ("embedding_length", "feed_forward_length", "attention.head_count")
        )
        needed_bytes += 4 * n_at_once * (_EMBD_BUFFERS * n_embd + _FF_BUFFERS * n_ff)
        needed_bytes += 6 * n_at_once * shape.n_ctx  # which token sees which, in two types
        if not is_whole:
            needed_bytes += 4 * n_vocab * n_outputs + (context_bytes_at_most(metadata, shape) or 0)
        elif shape.flash_attention is False:
            needed_bytes += 8 * n_head * n_at_once * shape.n_ctx
    _require(f"an embedder for {shape.n_ctx} tokens", needed_bytes, available_bytes())


def _integer(value: Any) -> int:
    """A number of the metadata; 0 where there is none, or one for each layer."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0


def fits_every_gpu(path: str, shape: ContextShape) -> bool:
    """Whether a whole model and a context on it obviously fit in any of the GPUs there are."""
    free = gpu_free_bytes()
    if not free:
        return True
    try:
        at_most = context_bytes_at_most(_gguf.read_scalars(path), shape)
        return at_most is not None and _surely_fits(model_file_bytes(path) + at_most, min(free.values()))
    except OSError:
        return False


def _require(what: str, needed_bytes: int, free_bytes: int, device: str = "host") -> None:
    if needed_bytes > free_bytes:
        raise InsufficientMemoryError(what, needed_bytes, free_bytes, device)


def _surely_fits(needed_bytes: int, free_bytes: int) -> bool:
    return needed_bytes <= _SHARE_THAT_SURELY_FITS * free_bytes


def model_file_bytes(path: StrPath) -> int:
    """The size of a model's file, or of all its files if it is split.

    Raises:
        OSError: One of them is not there.
    """
    text = os.fsdecode(path)
    match = _SPLIT_NAME.search(text)
    if match is None:
        return os.path.getsize(text)
    prefix, count = text[: match.start()], match[1]
    return sum(os.path.getsize(f"{prefix}-{number:05}-of-{count}.gguf") for number in range(1, int(count) + 1))


def context_bytes_at_most(metadata: Mapping[str, Any], shape: ContextShape) -> int | None:
    """What a context takes at most, but for small buffers; None where the model's metadata says too little."""
    arch = metadata.get("general.architecture")

    def number(key: str, otherwise: int | None = None) -> int:
        found = int(metadata.get(f"{arch}.{key}", otherwise))
        if found < 0:
            raise ValueError(key)
        return found

    try:
        n_head = max(1, number("attention.head_count"))
        n_head_kv = max(1, number("attention.head_count_kv", n_head))
        head_width = number("embedding_length") // n_head
        widths = number("attention.key_length", head_width) + number("attention.value_length", head_width)
        kv_bytes = (4 if shape.kv_type == "f32" else 2) * number("block_count") * n_head_kv * widths
        # What flash attention saves: the scores of each token with each, twice.
        scores_bytes = 8 * n_head * min(shape.n_batch, _N_UBATCH) if shape.flash_attention is False else 0
    except (TypeError, ValueError, OverflowError):  # missing, a list of one for each layer, or nonsense
        return None
    return (kv_bytes + scores_bytes) * shape.n_ctx


def estimate_memory(path: str, native_model: Any, shape: ContextShape) -> tuple[DeviceMemory, ...]:
    """What a model and a context would take, device by device, as llama.cpp works it out without allocating it.

    Its table of KV cells it does allocate (about 40 bytes a cell), so a context beyond ``_N_CTX_PROBE`` is extrapolated
    from two smaller ones: every cache grows linearly or, with a sliding window, not at all.
    """
    if shape.n_ctx <= _N_CTX_PROBE:
        return _measured(path, native_model, shape)
    half = _measured(path, native_model, dataclasses.replace(shape, n_ctx=_N_CTX_PROBE // 2))
    whole = _measured(path, native_model, dataclasses.replace(shape, n_ctx=_N_CTX_PROBE))

    def grown(half_bytes: int, whole_bytes: int) -> int:
        return whole_bytes + (whole_bytes - half_bytes) * (shape.n_ctx - _N_CTX_PROBE) // (_N_CTX_PROBE // 2)

    return tuple(
        dataclasses.replace(
            large,
            context_bytes=grown(small.context_bytes, large.context_bytes),
            compute_bytes=grown(small.compute_bytes, large.compute_bytes),
        )
        for small, large in zip(half, whole, strict=True)
    )


def _measured(path: str, native_model: Any, shape: ContextShape) -> tuple[DeviceMemory, ...]:
    data = call_text(lib.hsk_memory_estimate_get, os.fsencode(path), native_model, shape.native())
    return tuple(DeviceMemory(**device) for device in json.loads(data))


def available_bytes(proc: StrPath = "/proc", cgroup: StrPath = "/sys/fs/cgroup") -> int:
    """Host memory this process can take without swapping.

    That is the kernel's MemAvailable, or less: what the limit of a container or a service leaves, or the process's own
    (``ulimit -v``, ``-d``) after a reserve.
    """
    available = _field_bytes(os.path.join(proc, "meminfo"), "MemAvailable") or 0
    in_groups = _cgroup.available_bytes(proc, cgroup)
    if in_groups is not None:
        available = min(available, in_groups)
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft_limit, _ = resource.getrlimit(kind)
        if soft_limit != resource.RLIM_INFINITY:
            used = _field_bytes(os.path.join(proc, "self", "status"), name) or 0
            available = min(available, soft_limit - used - _BESIDES_BYTES)
    return max(0, available)


def private_bytes(proc: StrPath = "/proc") -> int:
    """RAM that this process holds for itself, swapped out or not."""
    status = os.path.join(proc, "self", "status")
    return sum(_field_bytes(status, name) or 0 for name in ("RssAnon", "VmSwap"))


def _field_bytes(path: str, name: str) -> int | None:
    """A line of the form ``name: 123 kB``."""
    return next((int(line.split()[1]) * 1024 for line in _cgroup.lines(path) if line.startswith(f"{name}:")), None)
