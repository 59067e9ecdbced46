"""Writes a tiny random embedding model: a BERT with a WordPiece vocabulary of letters and a few words."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from tiny_gguf import finish

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLS, SEP, MASK = range(5)
WORDS = ("the", "light", "house", "sea", "star", "night", "and", "of")


@dataclass(frozen=True, kw_only=True)
class TinyBert:
    """What a tiny BERT looks like; the defaults make a file of about 200 KB.

    Attributes:
        pooling: What the file says of it; None: nothing.
    """

    seed: int = 0
    n_layer: int = 2
    n_embd: int = 64
    n_head: int = 4
    n_ctx_train: int = 128
    pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN

    def write(self, path: Path) -> Path:
        """Writes the model and returns its path."""
        writer = gguf.GGUFWriter(None, "bert")
        writer.add_name("tiny-bert")
        writer.add_context_length(self.n_ctx_train)
        writer.add_embedding_length(self.n_embd)
        writer.add_block_count(self.n_layer)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_feed_forward_length(2 * self.n_embd)
        writer.add_head_count(self.n_head)
        writer.add_layer_norm_eps(1e-12)
        writer.add_causal_attention(False)
        if self.pooling is not None:
            writer.add_pooling_type(self.pooling)
        n_vocab = _add_tokenizer(writer)
        self._add_tensors(writer, n_vocab)
        return finish(writer, path)

    def _add_tensors(self, writer: gguf.GGUFWriter, n_vocab: int) -> None:
        random = np.random.default_rng(self.seed)
        n_embd, n_ff = self.n_embd, 2 * self.n_embd

        def add(name: str, *shape: int) -> None:
            values: npt.NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32)
            writer.add_tensor(name, values * np.float32(shape[-1] ** -0.5))

        def add_linear(name: str, n_out: int, n_in: int) -> None:
            add(f"{name}.weight", n_out, n_in)
            add(f"{name}.bias", n_out)

        def add_norm(name: str) -> None:
            writer.add_tensor(f"{name}.weight", np.ones(n_embd, dtype=np.float32))
            add(f"{name}.bias", n_embd)

        add("token_embd.weight", n_vocab, n_embd)
        add("token_types.weight", 2, n_embd)
        add("position_embd.weight", self.n_ctx_train, n_embd)
        add_norm("token_embd_norm")
        for layer in range(self.n_layer):
            prefix = f"blk.{layer}."
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                add_linear(prefix + name, n_embd, n_embd)
            add_norm(prefix + "attn_output_norm")
            add_linear(prefix + "ffn_up", n_ff, n_embd)
            add_linear(prefix + "ffn_down", n_embd, n_ff)
            add_norm(prefix + "layer_output_norm")


def _add_tokenizer(writer: gguf.GGUFWriter) -> int:
    """Words and letters; llama.cpp marks what begins a word where BERT marks what goes on. Returns their number."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*SPECIAL_TOKENS, *(f"▁{piece}" for piece in (*WORDS, *letters)), *letters]
    types = [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS)
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_types(types + [gguf.TokenType.NORMAL] * (len(pieces) - len(types)))
    writer.add_pad_token_id(PAD)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(CLS)
    writer.add_sep_token_id(SEP)
    writer.add_mask_token_id(MASK)
    return len(pieces)
