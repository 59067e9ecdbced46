"""Writes a random model of a real one's shape and size, in seconds: for speeds, whatever the words mean.

``python benchmarks/random_model.py 8b model.gguf``: Llama 3's 8B as Q4_K_M, 4.9 GB, where no model can be fetched. The
tokenizer is that of the tests' tiny models, filled up to the real size. Each token depends on the one before only (the
attention is computed like any other, and its result multiplied by 0): rounding errors do not add up, so that all
programs give the same answer, and a prompt that holds the model's own answer makes it copy (see ``copying.py``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from tiny_gguf import CHATML, SPECIAL_TOKENS, add_tokenizer

Bytes = npt.NDArray[np.uint8]
N_POOL = 65_537  # blocks that tensors are made of; a prime, so that no two rows of a matrix are the same
BLOCK_WEIGHTS = 256


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides how much there is to compute; widths are multiples of 256, as the block types want."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    is_tied: bool = False

    @property
    def n_head_dim(self) -> int:
        """The width of a head."""
        return self.n_embd // self.n_head


SHAPES = {
    "8b": Shape(n_layer=32, n_embd=4096, n_ff=14336, n_head=32, n_head_kv=8, n_vocab=128_256),
    "1b": Shape(n_layer=16, n_embd=2048, n_ff=8192, n_head=32, n_head_kv=8, n_vocab=128_256, is_tied=True),
    "tiny": Shape(n_layer=8, n_embd=512, n_ff=1536, n_head=8, n_head_kv=2, n_vocab=20_000),
}


def q4_k_blocks(random: np.random.Generator, spread: float) -> Bytes:
    """Random blocks of Q4_K: (q - 7.5) times a scale of their own, with this standard deviation."""
    blocks = random.integers(0, 256, (N_POOL, 144), dtype=np.uint8)
    # The six-bit minima are made the scales' equals, so that the weights' mean is 0.
    blocks[:, 8:12] = blocks[:, 4:8]
    blocks[:, 12:16] = (blocks[:, 12:16] & 0x0F) * 0x11
    scale = spread / 168.3  # the deviation of sc * (q - 7.5), sc from 0 to 63 and q from 0 to 15
    blocks[:, 0:4] = np.array([scale, 7.5 * scale], np.float16).view(np.uint8)
    return blocks


def q6_k_blocks(random: np.random.Generator, spread: float) -> Bytes:
    """Random blocks of Q6_K with this standard deviation."""
    blocks = random.integers(0, 256, (N_POOL, 210), dtype=np.uint8)
    blocks[:, 192:208] = (blocks[:, 192:208].view(np.int8) // 4).view(np.uint8)
    scale = spread / 341.5  # the deviation of sc * (q - 32), sc from -32 to 31 and q from 0 to 63
    blocks[:, 208:210] = np.array([scale], np.float16).view(np.uint8)
    return blocks


MAKERS: dict[Type, Callable[[np.random.Generator, float], Bytes]] = {Type.Q4_K: q4_k_blocks, Type.Q6_K: q6_k_blocks}


@dataclass(frozen=True)
class Matrix:
    """One tensor of weights; its spread is `factor` times what keeps the size of what passes through."""

    name: str
    n_out: int
    n_in: int
    kind: Type
    factor: float = 1.0


def matrices(shape: Shape) -> Iterator[Matrix]:
    """All of them, of the types that llama-quantize chooses for Q4_K_M."""
    head_kind = Type.Q6_K
    yield Matrix("token_embd.weight", shape.n_vocab, shape.n_embd, head_kind if shape.is_tied else Type.Q4_K)
    if not shape.is_tied:
        yield Matrix("output.weight", shape.n_vocab, shape.n_embd, head_kind, factor=2)
    n_embd, n_kv, eighth = shape.n_embd, shape.n_head_dim * shape.n_head_kv, shape.n_layer // 8
    for i in range(shape.n_layer):
        has_more = i < eighth or i >= 7 * shape.n_layer // 8 or (i - eighth) % 3 == 2
        better = Type.Q6_K if has_more else Type.Q4_K
        yield Matrix(f"blk.{i}.attn_q.weight", n_embd, n_embd, Type.Q4_K)
        yield Matrix(f"blk.{i}.attn_k.weight", n_kv, n_embd, Type.Q4_K)
        yield Matrix(f"blk.{i}.attn_v.weight", n_kv, n_embd, better)
        yield Matrix(f"blk.{i}.attn_output.weight", n_embd, n_embd, Type.Q4_K, factor=0)
        yield Matrix(f"blk.{i}.ffn_gate.weight", shape.n_ff, n_embd, Type.Q4_K)
        yield Matrix(f"blk.{i}.ffn_up.weight", shape.n_ff, n_embd, Type.Q4_K)
        yield Matrix(f"blk.{i}.ffn_down.weight", n_embd, shape.n_ff, better)


def norms(shape: Shape) -> Iterator[str]:
    yield "output_norm.weight"
    for i in range(shape.n_layer):
        yield f"blk.{i}.attn_norm.weight"
        yield f"blk.{i}.ffn_norm.weight"


def write(name: str, path: Path) -> Path:
    """Writes the model of a shape of `SHAPES` and returns its path."""
    shape = SHAPES[name]
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_name(f"random-{name}")
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.n_head_dim)
    writer.add_rope_freq_base(500_000.0)
    add_tokenizer(writer, shape.n_vocab)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)

    ones = np.ones(shape.n_embd, np.float32)
    for norm in norms(shape):
        writer.add_tensor_info(norm, ones.shape, ones.dtype, ones.nbytes)
    for matrix in matrices(shape):
        _, n_bytes = gguf.GGML_QUANT_SIZES[matrix.kind]
        row = matrix.n_in // BLOCK_WEIGHTS * n_bytes
        writer.add_tensor_info(
            matrix.name, (matrix.n_out, row), np.dtype(np.uint8), matrix.n_out * row, raw_dtype=matrix.kind
        )
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _ in norms(shape):
        writer.write_tensor_data(ones)
    random = np.random.default_rng(0)
    pools: dict[tuple[Type, float], Bytes] = {}
    for matrix in matrices(shape):
        # This deviation keeps the size of what passes through.
        spread = matrix.factor * matrix.n_in**-0.5
        if (matrix.kind, spread) not in pools:
            pools[matrix.kind, spread] = MAKERS[matrix.kind](random, spread)
        pool = np.roll(pools[matrix.kind, spread], int(random.integers(N_POOL)), axis=0)
        n_blocks = matrix.n_out * matrix.n_in // BLOCK_WEIGHTS
        rows = np.resize(pool, (n_blocks, pool.shape[1])).reshape(matrix.n_out, -1)
        if matrix.n_out == shape.n_vocab:
            rows[: len(SPECIAL_TOKENS)] = 0  # no token ends an answer
        writer.write_tensor_data(rows)
    writer.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    draft = options.path.with_suffix(".draft")
    write(options.shape, draft).replace(options.path)
    print(options.path, f"{options.path.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
