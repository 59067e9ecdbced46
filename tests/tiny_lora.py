"""Writes tiny random LoRA adapters for the models of `tiny_gguf`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from tiny_gguf import TinyModel, finish


@dataclass(frozen=True, kw_only=True)
class TinyLora:
    """What an adapter looks like; by default it changes the attention of a default `TinyModel` a lot.

    Attributes:
        targets: Weights that it changes, and what these take in and give out.
        is_of_embeddings: It changes those only, and is written as llama.cpp wants it then.
        n_experts: Makes its tensors three-dimensional.
    """

    seed: int = 0
    rank: int = 4
    targets: tuple[tuple[str, int, int], ...] = (("blk.0.attn_q.weight", 64, 64), ("blk.1.ffn_up.weight", 64, 128))
    arch: str = "llama"
    alpha: float | int = 8.0
    general_type: str | int = "adapter"
    is_activated: bool = False
    has_b: bool = True
    is_of_embeddings: bool = False
    n_experts: int | None = None
    dtype: type[np.generic] = np.float32

    def write(self, path: Path) -> Path:
        """Writes it and returns its path."""
        writer = gguf.GGUFWriter(None, self.arch)
        if isinstance(self.general_type, str):
            writer.add_type(self.general_type)
        else:
            writer.add_uint32("general.type", self.general_type)
        writer.add_string("adapter.type", "lora")
        if isinstance(self.alpha, float):
            writer.add_float32("adapter.lora.alpha", self.alpha)
        else:
            writer.add_uint32("adapter.lora.alpha", self.alpha)
        if self.is_activated:
            writer.add_array("adapter.alora.invocation_tokens", [1, 2])
        random = np.random.default_rng(self.seed)
        more = () if self.n_experts is None else (self.n_experts,)

        def add(name: str, n_out: int, n_in: int) -> None:
            writer.add_tensor(name, random.standard_normal((*more, n_out, n_in), dtype=np.float32).astype(self.dtype))

        for name, n_in, n_out in self.targets:
            # llama.cpp looks rows up in the first one of the embeddings'.
            add(f"{name}.lora_a", *((n_in, self.rank) if self.is_of_embeddings else (self.rank, n_in)))
            if self.has_b:
                add(f"{name}.lora_b", n_out, self.rank)
        return finish(writer, path)


def _truncated(path: Path) -> Path:
    whole = TinyLora().write(path).read_bytes()
    path.write_bytes(whole[: len(whole) * 4 // 5])
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


EMBEDDINGS = TinyLora(targets=(("token_embd.weight", 512, 64),), is_of_embeddings=True)

BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda path: path, "No such file"),
    "a folder": (lambda path: path.parent, "it is a folder"),
    "empty": (lambda path: _bytes(path, b""), "the file is empty"),
    "random bytes": (lambda path: _bytes(path, np.random.default_rng(0).bytes(4096)), "invalid magic"),
    "truncated": (_truncated, "not within the file bounds"),
    "a model": (lambda path: TinyModel().write(path), "expect general.type to be 'adapter'"),
    "another architecture": (TinyLora(arch="qwen2").write, "arch mismatch"),
    "other widths": (TinyLora(targets=(("blk.0.attn_q.weight", 32, 64),)).write, "incorrect shape"),
    "more layers": (TinyLora(targets=(("blk.9.attn_q.weight", 64, 64),)).write, "does not exist in base model"),
    "half a pair": (TinyLora(has_b=False).write, "missing one component"),
    "nothing": (TinyLora(targets=()).write, "nothing in it"),
    # llama.cpp ends the process over each of these.
    "a type that is a number": (TinyLora(general_type=3).write, "general.type is not of the type str"),
    "an alpha that is no float": (TinyLora(alpha=8).write, "adapter.lora.alpha is not of the type f32"),
    "whole numbers": (TinyLora(dtype=np.int32).write, "is of the type i32"),
    "too many dimensions": (TinyLora(n_experts=2).write, "incorrect shape"),
    # It would be applied all the time.
    "an activated one": (TinyLora(is_activated=True).write, "aLoRA"),
}
"""Files that are no adapters for a default `TinyModel`: functions that write one, and a part of the reason."""
