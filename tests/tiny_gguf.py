"""Writes tiny random GGUF models: a few hundred KB that load in milliseconds and generate nonsense, always the same.

They have everything a real model has (byte-level BPE tokenizer, special tokens, chat template), so whatever does not
depend on the sense of the words can be tested with them. The broken ones are what a model file can be instead.

As a program it writes one: ``python tests/tiny_gguf.py tiny.gguf --layers 4``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_TEXT, IM_START, IM_END = range(3)

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """What a tiny model looks like; the defaults make a file of about 600 KB.

    Attributes:
        is_forgetful: Each token depends on the one before only, not on how (or together with what) the others were
            computed. Rounding errors cannot add up then, so that prefill and decode give the same answers.
        more_specials: Special tokens besides `SPECIAL_TOKENS`, such as those of a reasoning block; they come next.
    """

    seed: int = 0
    n_layer: int = 2
    n_embd: int = 64
    n_head: int = 4
    n_head_kv: int = 2
    n_ctx_train: int = 2048
    n_vocab: int = 512
    chat_template: str | None = CHATML
    add_bos: bool = False
    name: str = "tiny"
    is_forgetful: bool = False
    more_specials: tuple[str, ...] = ()

    def write(self, path: Path, *, arch: str = "llama", omit: Collection[str] = ()) -> Path:
        """Writes the model and returns its path.

        Args:
            path: The file to write.
            arch: The architecture to call it; it is a llama in any case.
            omit: Names of tensors to leave out.
        """
        writer = self._writer(arch)
        self._add_llama_tensors(writer)
        for name in omit:
            del writer.tensors[0][name]
        return finish(writer, path)

    def write_vocab_only(self, path: Path) -> Path:
        """Writes tokenizer and metadata without a single tensor, as llama.cpp's ggml-vocab-*.gguf are."""
        return finish(self._writer(), path)

    def write_mamba(self, path: Path) -> Path:
        """Writes a recurrent model: its memory is one state a sequence, which cannot be cut back."""
        writer = self._writer("mamba")
        self._add_recurrent_tensors(writer, range(self.n_layer))
        return finish(writer, path)

    def write_hybrid(self, path: Path) -> Path:
        """Writes a model of which every second layer is recurrent and the others see all tokens (jamba)."""
        recurrent = range(0, self.n_layer, 2)
        writer = self._writer("jamba", n_head_kv=[0 if i in recurrent else self.n_head_kv for i in range(self.n_layer)])
        self._add_llama_tensors(writer)
        for name in [
            name
            for name in writer.tensors[0]
            if any(name.startswith(f"blk.{layer}.attn_") for layer in recurrent)
            or name in ("token_embd.weight", "output_norm.weight", "output.weight")
        ]:
            del writer.tensors[0][name]
        self._add_recurrent_tensors(writer, recurrent, has_norms=True)
        return finish(writer, path)

    def _add_recurrent_tensors(
        self, writer: gguf.GGUFWriter, layers: Collection[int], *, has_norms: bool = False
    ) -> None:
        n_inner, n_state, n_dt_rank, n_conv = 2 * self.n_embd, 16, 4, 4
        writer.add_ssm_conv_kernel(n_conv)
        writer.add_ssm_inner_size(n_inner)
        writer.add_ssm_state_size(n_state)
        writer.add_ssm_time_step_rank(n_dt_rank)
        random = np.random.default_rng(self.seed)

        def matrix(*shape: int) -> npt.NDArray[np.float32]:
            return random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)

        ones = np.ones(self.n_embd, dtype=np.float32)
        writer.add_tensor("token_embd.weight", matrix(self.n_vocab, self.n_embd))
        for layer in layers:
            prefix = f"blk.{layer}."
            writer.add_tensor(prefix + "attn_norm.weight", ones)
            writer.add_tensor(prefix + "ssm_in.weight", matrix(2 * n_inner, self.n_embd))
            writer.add_tensor(prefix + "ssm_conv1d.weight", matrix(n_inner, n_conv))
            writer.add_tensor(prefix + "ssm_conv1d.bias", matrix(n_inner))
            writer.add_tensor(prefix + "ssm_x.weight", matrix(n_dt_rank + 2 * n_state, n_inner))
            writer.add_tensor(prefix + "ssm_dt.weight", matrix(n_inner, n_dt_rank))
            writer.add_tensor(prefix + "ssm_dt.bias", matrix(n_inner))
            writer.add_tensor(prefix + "ssm_a", -np.abs(matrix(n_inner, n_state)))
            writer.add_tensor(prefix + "ssm_d", np.ones(n_inner, dtype=np.float32))
            writer.add_tensor(prefix + "ssm_out.weight", matrix(self.n_embd, n_inner))
            for name, width in (("dt", n_dt_rank), ("b", n_state), ("c", n_state)):
                if has_norms:
                    writer.add_tensor(f"{prefix}ssm_{name}_norm.weight", np.ones(width, dtype=np.float32))
        writer.add_tensor("output_norm.weight", ones)
        writer.add_tensor("output.weight", matrix(self.n_vocab, self.n_embd) * np.float32(2))

    def write_sliding(self, path: Path, window: int = 64) -> Path:
        """Writes a model of which three layers in four see the last `window` tokens only (cohere2)."""
        writer = self._writer("cohere2")
        writer.add_sliding_window(window)
        writer.add_logit_scale(1.0)
        writer.add_layer_norm_eps(1e-5)
        self._add_llama_tensors(writer)
        for name in [name for name in writer.tensors[0] if "ffn_norm" in name or name == "output.weight"]:
            del writer.tensors[0][name]
        return finish(writer, path)

    def _writer(self, arch: str = "llama", n_head_kv: int | list[int] | None = None) -> gguf.GGUFWriter:
        """A writer that holds everything but the tensors."""
        writer = gguf.GGUFWriter(None, arch)
        writer.add_name(self.name)
        writer.add_context_length(self.n_ctx_train)
        writer.add_embedding_length(self.n_embd)
        writer.add_block_count(self.n_layer)
        writer.add_vocab_size(self.n_vocab)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_feed_forward_length(self._n_ff)
        writer.add_head_count(self.n_head)
        writer.add_head_count_kv(self.n_head_kv if n_head_kv is None else n_head_kv)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(self._n_head_dim)
        add_tokenizer(writer, self.n_vocab, self.more_specials)
        writer.add_add_bos_token(self.add_bos)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)
        return writer

    @property
    def _n_head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def _n_ff(self) -> int:
        return 2 * self.n_embd

    def _add_llama_tensors(self, writer: gguf.GGUFWriter) -> None:
        n_embd_kv = self._n_head_dim * self.n_head_kv
        random = np.random.default_rng(self.seed)

        def matrix(n_out: int, n_in: int) -> npt.NDArray[np.float32]:
            # This deviation keeps the size of what passes through, so layers neither fade out nor blow up.
            return random.standard_normal((n_out, n_in), dtype=np.float32) * np.float32(n_in**-0.5)

        ones = np.ones(self.n_embd, dtype=np.float32)
        writer.add_tensor("token_embd.weight", matrix(self.n_vocab, self.n_embd))
        for layer in range(self.n_layer):
            prefix = f"blk.{layer}."
            writer.add_tensor(prefix + "attn_norm.weight", ones)
            writer.add_tensor(prefix + "attn_q.weight", matrix(self.n_embd, self.n_embd))
            writer.add_tensor(prefix + "attn_k.weight", matrix(n_embd_kv, self.n_embd))
            writer.add_tensor(prefix + "attn_v.weight", matrix(n_embd_kv, self.n_embd))
            attention = matrix(self.n_embd, self.n_embd) * np.float32(not self.is_forgetful)
            writer.add_tensor(prefix + "attn_output.weight", attention)
            writer.add_tensor(prefix + "ffn_norm.weight", ones)
            writer.add_tensor(prefix + "ffn_gate.weight", matrix(self._n_ff, self.n_embd))
            writer.add_tensor(prefix + "ffn_up.weight", matrix(self._n_ff, self.n_embd))
            writer.add_tensor(prefix + "ffn_down.weight", matrix(self.n_embd, self._n_ff))
        writer.add_tensor("output_norm.weight", ones)
        # Twice the usual spread: some tokens are clearly likelier than others, and greedy choices have no near ties.
        writer.add_tensor("output.weight", matrix(self.n_vocab, self.n_embd) * np.float32(2))


def add_tokenizer(writer: gguf.GGUFWriter, n_vocab: int, more_specials: tuple[str, ...] = ()) -> None:
    """Adds a byte-level BPE tokenizer, whose merges give out at 18,511 tokens: the others never come of any text."""
    letters = list(_byte_letters())
    specials = SPECIAL_TOKENS + more_specials
    n_merges = n_vocab - len(specials) - len(letters)
    if n_merges < 0:
        raise ValueError(f"n_vocab must be at least {n_vocab - n_merges}")
    merges = list(islice(_merges(), n_merges))
    fillers = [f"fill{i}" for i in range(n_merges - len(merges))]
    tokens = [*specials, *letters, *(left + right for left, right in merges), *fillers]
    types = [gguf.TokenType.CONTROL] * len(specials)
    types += [gguf.TokenType.NORMAL] * (len(tokens) - len(types))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(END_OF_TEXT)
    writer.add_eos_token_id(IM_END)
    writer.add_pad_token_id(END_OF_TEXT)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    """Writes what a writer holds to a file."""
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_letters() -> Iterator[str]:
    """The character that stands for each byte 0..255 in GPT-2's byte-level BPE: itself where it can be seen."""
    n_unseen = 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            yield chr(byte)
        else:
            yield chr(256 + n_unseen)
            n_unseen += 1


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs and then triples of letters, frequent letters first: 18,252 in all."""
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    yield from product(letters, letters)
    yield from ((first + second, third) for first, second, third in product(letters, repeat=3))


def _write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _truncated(path: Path, keep: float) -> Path:
    whole = TinyModel().write(path).read_bytes()
    return _write_bytes(path, whole[: int(len(whole) * keep)])


BROKEN: dict[str, Callable[[Path], Path]] = {
    "empty": lambda path: _write_bytes(path, b""),
    "random bytes": lambda path: _write_bytes(path, np.random.default_rng(0).bytes(65536)),
    "magic only": lambda path: _write_bytes(path, b"GGUF"),
    "truncated in the metadata": lambda path: _truncated(path, 0.005),
    "truncated in the tensors": lambda path: _truncated(path, 0.7),
    "unknown architecture": lambda path: TinyModel().write(path, arch="hoshikage-unknown"),
    "tensor missing": lambda path: TinyModel().write(path, omit=["output_norm.weight"]),
}
"""Files that must not load, by what is wrong with them: each function writes one to the path it is given."""


def write_aborting(path: Path) -> Path:
    """Writes a file that makes llama.cpp abort the process that loads it: no layers, which it asserts there are."""
    return TinyModel(n_layer=0).write(path)


def main() -> None:
    """Writes a model from the command line, to look at or to try a program with."""
    parser = argparse.ArgumentParser(description="Write a tiny random GGUF model.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=TinyModel.seed)
    parser.add_argument("--layers", type=int, default=TinyModel.n_layer)
    parser.add_argument("--embd", type=int, default=TinyModel.n_embd, help="a multiple of 8")
    parser.add_argument("--vocab", type=int, default=TinyModel.n_vocab)
    options = parser.parse_args()
    model = TinyModel(seed=options.seed, n_layer=options.layers, n_embd=options.embd, n_vocab=options.vocab)
    print(model.write(options.path), options.path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
