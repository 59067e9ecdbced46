"""What models and contexts are opened with: checked, and in their native form."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import ffi, lib
from hoshikage_core.devices import Devices, gpu_free_bytes
from hoshikage_core.errors import InvalidArgumentError, Reason

GpuLayers = int | Literal["auto", "all"]

_PARALLEL_MAX = 256  # llama.cpp's LLAMA_MAX_SEQ
_KV_TYPE_BYTES = 15  # of hsk_context_params.kv_type_k
# llama.cpp's CUDA backend has no attention for it (fattn.cu): the CPU would fetch the cache for every layer of a token.
_KV_TYPE_OF_CPUS = "iq4_nl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextShape:
    """What decides how much memory an engine takes; the defaults are those of ``Model.engine()``.

    Attributes:
        n_ctx: Tokens the KV cache holds, shared by all sequences.
        parallel: Sequences that may be alive at once.
        n_batch: Tokens one step computes at most. Never more than ``n_ctx`` nor less than ``parallel``: every sequence
            needs its token in a step.
        flash_attention: None: where the backend supports it.
        kv_type: ggml type of the KV cache, e.g. "f16", "q8_0".
        n_draft: Guessed tokens in a step at most; never more than ``n_batch`` has room for beside ``parallel`` tokens.

    Raises:
        InvalidArgumentError: A value is out of range.
    """

    n_ctx: int = 4096
    parallel: int = 1
    n_batch: int = 512
    flash_attention: bool | None = None
    kv_type: str = "f16"
    n_draft: int = 0

    def __post_init__(self) -> None:
        """Checks the values, and fits ``n_batch`` between its bounds."""
        _checks.integer("n_ctx", self.n_ctx, 1, 2**31 - 1)
        _checks.integer("parallel", self.parallel, 1, min(_PARALLEL_MAX, self.n_ctx))
        _checks.integer("n_batch", self.n_batch, 1, 2**31 - 1)
        object.__setattr__(self, "n_batch", max(min(self.n_batch, self.n_ctx), self.parallel))
        _checks.integer("n_draft", self.n_draft, 0, 2**31 - 1)
        object.__setattr__(self, "n_draft", min(self.n_draft, self.n_batch - self.parallel))
        if self.flash_attention is not None:
            _checks.instance("flash_attention", self.flash_attention, bool, "True, False or None")
        if len(_checks.c_text("kv_type", self.kv_type)) > _KV_TYPE_BYTES:
            raise InvalidArgumentError("kv_type", Reason("unknown_kv_type", "is none of llama.cpp's types"))

    def require_gpu_support(self) -> None:
        """Raises an error where there is a GPU and it could not compute with such a KV cache; asking wakes it up.

        Raises:
            InvalidArgumentError: So it is.
        """
        if self.kv_type == _KV_TYPE_OF_CPUS and gpu_free_bytes():
            text = 'cannot be computed with by a GPU: "q4_0" can, or set gpu_layers to 0'
            raise InvalidArgumentError("kv_type", Reason("kv_type_of_cpus", text))

    def native(self, n_threads: int | None = None, n_threads_batch: int | None = None) -> Any:
        """A new ``hsk_context_params *``.

        Args:
            n_threads: Threads for decode; None takes the physical cores this process may use.
            n_threads_batch: Threads for prefill; None takes as many as for decode.

        Raises:
            InvalidArgumentError: A number is out of range.
        """
        params = ffi.new("hsk_context_params *")
        lib.hsk_context_params_default(params)
        if n_threads is not None:
            params.n_threads = params.n_threads_batch = _checks.threads("n_threads", n_threads)
        if n_threads_batch is not None:
            params.n_threads_batch = _checks.threads("n_threads_batch", n_threads_batch)
        params.n_ctx = self.n_ctx
        params.n_seq_max = self.parallel
        params.n_batch = self.n_batch
        params.n_draft_max = self.n_draft
        if self.flash_attention is not None:
            params.flash_attention = self.flash_attention
        params.kv_type_k = params.kv_type_v = self.kv_type.encode()
        return params


def model_params(gpu_layers: GpuLayers, fit: ContextShape, devices: Devices | None = None) -> Any:
    """A new ``hsk_model_params *``.

    Args:
        gpu_layers: Layers to keep in GPU memory; "auto": as many as fit there beside the context ``fit``.
        fit: Read with "auto" only.
        devices: Which GPUs; None: all of them.

    Raises:
        InvalidArgumentError: A value is out of range, there are fewer GPUs than ``devices`` speaks of, or they cannot
            compute with the ``kv_type`` of ``fit``.
    """
    devices = Devices() if devices is None else _checks.instance("devices", devices, Devices, "a Devices")
    params = ffi.new("hsk_model_params *")
    lib.hsk_model_params_default(params)
    _checks.instance("fit", fit, ContextShape, "a ContextShape")
    if gpu_layers == "auto":
        params.fits_layers = True
        params.fit = fit.native()[0]
    elif gpu_layers != "all":
        params.n_gpu_layers = _checks.integer("gpu_layers", gpu_layers, 0, 2**31 - 1)
    devices.fill(params)
    if gpu_layers != 0:
        fit.require_gpu_support()
        devices.require_present()
    elif devices.rpc_servers:
        reason = Reason("rpc_without_layers", "compute nothing with gpu_layers 0: take one of the two away")
        raise InvalidArgumentError("rpc_servers", reason)
    return params
