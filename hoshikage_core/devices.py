"""Where the layers of a model go that has more than one device, or one among several."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable
from typing import Any, Literal

from hoshikage_core import _checks
from hoshikage_core._ffi import call_text, lib
from hoshikage_core.errors import InvalidArgumentError, Reason

SplitMode = Literal["none", "layer", "tensor"]

_SPLIT_MODES = {"none": lib.HSK_SPLIT_NONE, "layer": lib.HSK_SPLIT_LAYER, "tensor": lib.HSK_SPLIT_TENSOR}
_SERVER = re.compile(r"[A-Za-z0-9._-]{1,253}:(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devices:
    """How a model is spread over GPUs; the defaults take all of them, by their free memory.

    Attributes:
        split_mode: "layer": whole layers, one GPU after the other. "tensor": a part of each layer on each GPU, computed
            at the same time; not for every architecture, with flash attention only, and all layers or none. "none": on
            ``main_gpu`` alone.
        tensor_split: The share of each GPU, in any unit: (3, 1) is three quarters and a quarter. A GPU beyond the last
            number gets nothing. Empty: by the memory that is free.
        main_gpu: Which GPU, from 0; acts with "none" only.
        rpc_servers: llama.cpp's RPC servers that take part, as "host:port" (a name or an IPv4 address), see
            ``hoshikage_core.rpc``. What each of them computes on counts as GPUs, before those of this machine; the CPU
            of this machine takes what does not fit there. With "layer" only.

    Raises:
        InvalidArgumentError: A value is out of range, or one of them has no effect beside the others.
    """

    split_mode: SplitMode = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = 0
    rpc_servers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.split_mode not in _SPLIT_MODES:
            expected = '"none", "layer" or "tensor"'
            reason = Reason("wrong_kind", "must be {what}, not {got}", what=expected, got=repr(self.split_mode)[:60])
            raise InvalidArgumentError("split_mode", reason)
        object.__setattr__(self, "tensor_split", _shares(self.tensor_split))
        _checks.integer("main_gpu", self.main_gpu, 0, lib.HSK_DEVICES_MAX - 1)
        object.__setattr__(self, "rpc_servers", _servers(self.rpc_servers))
        if self.split_mode == "none" and self.tensor_split:
            raise InvalidArgumentError("tensor_split", Reason("split_of_one", 'has no effect with split_mode "none"'))
        if self.split_mode != "none" and self.main_gpu:
            raise InvalidArgumentError("main_gpu", Reason("main_of_all", 'has no effect without split_mode "none"'))
        if self.split_mode != "layer" and self.rpc_servers:
            text = 'can take whole layers only: split_mode must be "layer"'
            raise InvalidArgumentError("rpc_servers", Reason("rpc_takes_layers", text))

    def require_present(self) -> None:
        """Raises an error where there are GPUs, but not so many; where there is none, the CPU computes.

        Raises:
            InvalidArgumentError: There are fewer GPUs.
            RpcServerError: A server does not answer.
        """
        if self.rpc_servers:  # how many devices these have, llama.cpp finds out
            from hoshikage_core.rpc import require_servers  # most models have no use for sockets

            require_servers(self.rpc_servers)
            return
        if not self.tensor_split and not self.main_gpu:
            return
        n_gpus = len(gpu_free_bytes())
        if n_gpus and len(self.tensor_split) > n_gpus:
            text = "has {n_shares} numbers for {n_gpus} GPUs"
            reason = Reason("more_shares_than_gpus", text, n_shares=len(self.tensor_split), n_gpus=n_gpus)
            raise InvalidArgumentError("tensor_split", reason)
        if n_gpus and self.main_gpu >= n_gpus:
            reason = Reason(
                "no_such_gpu", "is {main_gpu}, the last GPU is {last}", main_gpu=self.main_gpu, last=n_gpus - 1
            )
            raise InvalidArgumentError("main_gpu", reason)

    def fill(self, params: Any) -> None:
        """Writes them into an ``hsk_model_params *``."""
        params.split_mode = _SPLIT_MODES[self.split_mode]
        params.main_gpu = self.main_gpu
        for index, share in enumerate(self.tensor_split):
            params.tensor_split[index] = share
        params.rpc_servers = ",".join(self.rpc_servers).encode()


def gpu_memory() -> dict[str, tuple[int, int]]:
    """Free and total bytes of the GPUs that llama.cpp takes when it is not told otherwise; asking wakes them up."""
    return {gpu["name"]: (gpu["free_bytes"], gpu["total_bytes"]) for gpu in json.loads(call_text(lib.hsk_gpus_get))}


def gpu_free_bytes() -> dict[str, int]:
    """The free ones of these."""
    return {name: free for name, (free, _) in gpu_memory().items()}


def _shares(value: object) -> tuple[float, ...]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        reason = Reason("wrong_kind", "must be {what}, not {got}", what="a list of numbers", got=repr(value)[:60])
        raise InvalidArgumentError("tensor_split", reason)
    shares = tuple(value)
    if len(shares) > lib.HSK_DEVICES_MAX:
        text = "has {n_shares} numbers, but a model can be spread over {n_max} devices"
        reason = Reason("too_many_shares", text, n_shares=len(shares), n_max=lib.HSK_DEVICES_MAX)
        raise InvalidArgumentError("tensor_split", reason)
    for share in shares:
        is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if not is_number or not 0 <= share <= 1e9:  # NaN is not within
            reason = Reason("bad_share", "must hold numbers from 0 to 1e9, not {got}", got=repr(share)[:60])
            raise InvalidArgumentError("tensor_split", reason)
    if shares and not math.fsum(shares) > 0:
        raise InvalidArgumentError("tensor_split", Reason("no_share", "must hold a number above 0"))
    return tuple(float(share) for share in shares)


def _servers(value: object) -> tuple[str, ...]:
    servers = tuple(dict.fromkeys(_checks.texts("rpc_servers", value)))
    for server in servers:
        match = _SERVER.fullmatch(server)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            text = 'must be "host:port", with a name or an IPv4 address, not {got}'
            raise InvalidArgumentError("rpc_servers", Reason("no_host_and_port", text, got=repr(server)[:60]))
    if len(servers) > lib.HSK_DEVICES_MAX:
        text = "has {n_servers} servers, but a model can be spread over {n_max} devices"
        reason = Reason("too_many_servers", text, n_servers=len(servers), n_max=lib.HSK_DEVICES_MAX)
        raise InvalidArgumentError("rpc_servers", reason)
    return servers
