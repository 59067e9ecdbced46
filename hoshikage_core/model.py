"""A GGUF model: weights, vocabulary, metadata, chat template."""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core._loras import Lora
from hoshikage_core.chat import ChatTemplate
from hoshikage_core.devices import Devices
from hoshikage_core.errors import CancelledError, ContextLengthError, ModelLoadError, NativeError, Reason
from hoshikage_core.files import why_no_file
from hoshikage_core.memory import fits_every_gpu, require_context_memory, require_embedder_memory
from hoshikage_core.params import ContextShape, GpuLayers, model_params
from hoshikage_core.sampling import SamplingParams, new_sampler
from hoshikage_core.speculation import Speculation

if TYPE_CHECKING:
    from hoshikage_core.embedding import Embedder, Pooling
    from hoshikage_core.engine import Engine
    from hoshikage_core.prompt import ChatPrompt

_PROGRESS_INTERVAL_S = 0.05
_INPUTS_AT_ONCE = 32  # of an embedder; a recurrent model keeps a large state for each

# Daemon threads compute on while the interpreter ends: what llama.cpp needs would be destroyed under them.
_open_models: weakref.WeakSet[Model] = weakref.WeakSet()
# A forked child has none of their threads.
os.register_at_fork(after_in_child=_open_models.clear)


@atexit.register
def _close_models() -> None:
    for model in list(_open_models):
        model.close()


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a GGUF file says about its model.

    Attributes:
        arch: llama.cpp's architecture name.
        name: ``general.name``, or "".
        description: llama.cpp's one-line description.
        n_params: Number of weights.
        size_bytes: Size of all tensors.
        n_ctx_train: Tokens of context it was trained with.
        n_embd: Width of the embedding.
        n_layer: Number of layers.
        n_head: Attention heads.
        n_head_kv: Attention heads that have their own keys and values.
        n_swa: Width of the sliding attention window, 0 without one.
        n_vocab: Size of the vocabulary.
        vocab_type: Kind of tokenizer: "bpe", "spm", "wpm", "ugm", "rwkv", "plamo2" or "none".
        n_token_bytes_max: The most bytes of text one token can stand for; 0 where that has no bound.
        quantisation: As llama.cpp names it, e.g. "Q4_1".
        chat_template: The file's own Jinja template, or None.
        bos: Token id that begins a text, -1 without one.
        eos: Token id that ends a text, -1 without one.
        eot: Token id that ends a turn, -1 without one.
        add_bos: Whether tokenizing with ``add_special`` begins with ``bos``.
        has_encoder: Whether there is an encoder.
        has_decoder: Whether there is a decoder.
        is_recurrent: Mamba, RWKV and the like.
        is_hybrid: Attention and recurrent layers.
        metadata: All scalar metadata, as text.
    """

    arch: str
    name: str
    description: str
    n_params: int
    size_bytes: int
    n_ctx_train: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_swa: int
    n_vocab: int
    vocab_type: str
    n_token_bytes_max: int
    quantisation: str
    chat_template: str | None
    bos: int
    eos: int
    eot: int
    add_bos: bool
    has_encoder: bool
    has_decoder: bool
    is_recurrent: bool
    is_hybrid: bool
    metadata: Mapping[str, str] = dataclasses.field(repr=False)

    @property
    def pooling(self) -> Pooling | None:
        """How the file says that embeddings are pooled; None where it says nothing, as of models that generate text."""
        from hoshikage_core.embedding import pooling_of

        return pooling_of(self.metadata.get(f"{self.arch}.pooling_type"))


class Model:
    """A loaded GGUF model.

    Safe to use from several threads. Closing it closes the engines made from it. A chat template is a program that runs
    when messages are rendered: like the file that holds it, it should come from somebody you trust.

    Args:
        path: The .gguf file (the first one of a split model).
        gpu_layers: Layers to keep in GPU memory: a number, "all", or "auto" for as many as fit. 0 leaves the GPU alone.
            Without a GPU it has no effect; ``n_gpu_layers`` tells what came of it.
        devices: Which GPUs, how much on each, and which RPC servers; None: all GPUs, by their free memory.
        fit: With "auto": the engine that must fit beside the layers; None: one with the defaults of ``engine()``.
        use_mmap: Map the file instead of reading it: faster to load, shared with the page cache.
        vocab_only: Only what tokenizing and templates need; such a model cannot generate.
        no_weights: The same, with all that ``info`` tells; no weights are read, however large the file is.
        check_tensors: Look for invalid values in every tensor; slow.
        on_progress: Called with 0.0 to 1.0 on the calling thread while loading. If it returns False or raises, loading
            stops.

    Raises:
        ModelLoadError: Not a model that can be used; ``reason`` says why.
        RpcServerError: An RPC server does not answer.
        CancelledError: ``on_progress`` returned False.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        gpu_layers: GpuLayers = "auto",
        devices: Devices | None = None,
        fit: ContextShape | None = None,
        use_mmap: bool = True,
        vocab_only: bool = False,
        no_weights: bool = False,
        check_tensors: bool = False,
        on_progress: Callable[[float], object] | None = None,
    ) -> None:
        self.path = os.fsdecode(_checks.instance("path", path, (str, bytes, os.PathLike), "a path"))
        reason = why_no_file(self.path)
        if reason is not None:
            raise ModelLoadError(self.path, reason)
        fit = ContextShape() if fit is None else fit
        self._params = model_params(gpu_layers, fit, devices)
        rpc_servers = () if devices is None else devices.rpc_servers
        is_local = not rpc_servers and not (vocab_only or no_weights)
        if gpu_layers == "auto" and is_local and fits_every_gpu(self.path, fit):
            self._params.fits_layers = False  # llama.cpp would read the whole header to find that out
        flags = {
            "use_mmap": use_mmap,
            "vocab_only": vocab_only,
            "no_weights": no_weights,
            "check_tensors": check_tensors,
        }
        for name, flag in flags.items():
            setattr(self._params, name, _checks.instance(name, flag, bool, "True or False"))
        self.native = Handle(_load(self.path, self._params, on_progress), lib.hsk_model_free, "model")
        if rpc_servers:
            from hoshikage_core.rpc import note_use

            note_use(self.native, rpc_servers)
        self._engines: weakref.WeakSet[Engine | Embedder] = weakref.WeakSet()
        _open_models.add(self)
        self._pieces: dict[int, bytes] = {}
        self._special_pieces: dict[int, bytes] = {}
        with self.native as pointer:
            self.info = ModelInfo(**json.loads(call_text(lib.hsk_model_info_get, pointer)))
            flags = ffi.new("uint8_t[]", self.info.n_vocab)
            call(lib.hsk_end_tokens_get, pointer, flags, self.info.n_vocab)
        self.end_tokens = frozenset(match.start() for match in re.finditer(b"\x01", ffi.buffer(flags)))

    @property
    def n_gpu_layers(self) -> int:
        """Layers in GPU memory: at most ``info.n_layer`` + 1, the output counts as one."""
        return int(self._params.n_gpu_layers)

    def tokenize(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Cuts text into tokens.

        Args:
            text: Text, or its UTF-8 bytes (what is not UTF-8 is tokenized as the vocabulary allows).
            add_special: Add the tokens the model wants at the ends of a text, such as BOS.
            parse_special: Read special tokens written in the text, such as ``<|im_end|>``, as those tokens.

        Raises:
            InvalidArgumentError: ``text`` holds a lone surrogate.
            UnsupportedError: The model has no vocabulary.
        """
        data = bytes(text) if isinstance(text, (bytes, bytearray)) else _checks.text("text", text).encode("utf-8")
        capacity = len(data) + 8
        n_tokens = ffi.new("size_t *")
        with self.native as pointer:
            while True:
                tokens = ffi.new("int32_t[]", capacity)
                call(lib.hsk_tokenize, pointer, data, len(data), add_special, parse_special, tokens, capacity, n_tokens)
                if n_tokens[0] <= capacity:
                    return ffi.unpack(tokens, n_tokens[0]) if n_tokens[0] else []
                capacity = n_tokens[0]

    def require_room(self, text: str, n_ctx: int) -> None:
        """Raises an error for a text that is surely too long, without cutting it: a giant one takes seconds to cut.

        Raises:
            ContextLengthError: Even of the longest tokens it would have more than fit.
        """
        longest = self.info.n_token_bytes_max
        n_at_least = len(_checks.text("text", text).encode("utf-8")) // longest if longest else 0
        if n_at_least >= n_ctx:
            raise ContextLengthError(n_at_least, n_ctx, is_at_least=True)

    def require_tokens(self, tokens: Sequence[int]) -> None:
        """Raises an error unless the vocabulary has all of these tokens.

        Raises:
            UnknownTokenError: It has not.
        """
        _checks.in_vocabulary("tokens", _checks.token_ids("tokens", tokens), self.info.n_vocab)

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Joins tokens into text.

        Args:
            tokens: Token ids.
            special: Write special tokens out instead of leaving them away.

        Returns:
            Text; bytes that are no UTF-8 become U+FFFD (``token_to_bytes`` gives them as they are).

        Raises:
            UnknownTokenError: A token is not in the vocabulary.
        """
        tokens = _checks.token_ids("tokens", tokens)
        _checks.in_vocabulary("tokens", tokens, self.info.n_vocab)
        ids = ffi.new("int32_t[]", tokens)
        with self.native as pointer:
            return call_text(lib.hsk_detokenize, pointer, ids, len(ids), not special, special).decode(
                "utf-8", "replace"
            )

    def token_to_bytes(self, token: int, *, special: bool = False) -> bytes:
        """The bytes one token stands for; they need not be whole characters.

        Args:
            token: Token id.
            special: Give the text of a special token instead of nothing.

        Raises:
            InvalidArgumentError: The token is not in the vocabulary.
        """
        pieces = self._special_pieces if special else self._pieces
        piece = pieces.get(token) if isinstance(token, int) else None
        if piece is None or self.native.closed:
            _checks.integer("token", token, -(2**31), 2**31 - 1)
            with self.native as pointer:
                piece = call_text(lib.hsk_token_bytes_get, pointer, token, special)
            pieces[token] = piece
        return piece

    def require_sampler(self, sampling: SamplingParams, shape: ChatPrompt | None = None) -> None:
        """Raises what an engine would raise for these parameters, without one.

        Args:
            sampling: How tokens shall be chosen.
            shape: The rendered chat to be answered.

        Raises:
            GrammarError: A grammar or schema is wrong.
            InvalidArgumentError: A parameter does not fit the model or the others.
        """
        if shape is not None and shape.grammar:
            sampling.require_no_grammar()
        _checks.in_vocabulary("logit_bias", sampling.logit_bias, self.info.n_vocab)
        with self.native as pointer:
            new_sampler(pointer, sampling, 0, self.info.n_ctx_train, shape).close()

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int]:
        """The prompt that asks for what stands between two texts, in the format the model was trained with.

        Args:
            prefix: What comes before.
            suffix: What comes after.

        Raises:
            InvalidArgumentError: A text holds a lone surrogate.
            UnsupportedError: The vocabulary has no tokens for it.
        """
        before, after, middle = (ffi.new("int32_t *") for _ in range(3))
        with self.native as pointer:
            call(lib.hsk_infill_tokens_get, pointer, before, after, middle)
        bos = [self.info.bos] if self.info.add_bos else []
        prefix_tokens = self.tokenize(prefix, add_special=False)
        suffix_tokens = self.tokenize(suffix, add_special=False)
        return [*bos, before[0], *prefix_tokens, after[0], *suffix_tokens, middle[0]]

    def single_tokens(self, texts: Iterable[str]) -> frozenset[int]:
        """The tokens of those texts that one token stands for, special ones included."""
        cut = [self.tokenize(text, add_special=False, parse_special=True) for text in texts]
        return frozenset(tokens[0] for tokens in cut if len(tokens) == 1)

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return token in self.end_tokens

    def chat(self, template: str | None = None) -> ChatTemplate:
        """The model's chat template, or another one for it.

        Args:
            template: Jinja text; None takes the model's own, or llama.cpp's default (ChatML) if it has none.

        Raises:
            ChatTemplateError: The template is not valid Jinja.
        """
        return ChatTemplate(self, template)

    def engine(
        self,
        n_ctx: int = 4096,
        *,
        parallel: int = 1,
        n_batch: int = 512,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        flash_attention: bool | None = None,
        kv_type: str = "f16",
        cache_bytes: int = 0,
        lora: Sequence[Lora] = (),
        speculation: Speculation | None = None,
    ) -> Engine:
        """Opens an engine: a KV cache and the threads to generate with.

        Args:
            n_ctx: Tokens the KV cache holds, shared by all sequences.
            parallel: Sequences that may be alive at once.
            n_batch: Tokens one step computes at most; smaller pieces are cancelled sooner.
            n_threads: Threads for decode; None takes the physical cores this process may use.
            n_threads_batch: Threads for prefill; None takes as many as for decode.
            flash_attention: None: where the backend supports it.
            kv_type: ggml type of the KV cache, e.g. "f16", "q8_0".
            cache_bytes: Host memory at most for earlier sequences that the KV cache has no room for, so that of
                conversations that take turns only what is new is computed.
            lora: LoRA adapters that this engine generates with: the GGUF file of each, and how strongly it acts (1: as
                it was trained, 0: not at all). Each engine has copies of its own in memory.
            speculation: How to guess what comes next, so that a step brings several tokens; None: not at all.

        Raises:
            AdapterLoadError: A file is not an adapter that can be used with this model.
            InvalidArgumentError: A value is out of range.
            InsufficientMemoryError: The context would not fit in memory.
            UnsupportedError: The model cannot generate (vocabulary only, or an encoder), or not take guesses back (a
                recurrent memory); or the draft model has another vocabulary.
        """
        from hoshikage_core.engine import Engine

        shape = ContextShape(
            n_ctx=n_ctx, parallel=parallel, n_batch=n_batch, flash_attention=flash_attention, kv_type=kv_type
        )
        if speculation is not None:
            _checks.instance("speculation", speculation, Speculation, "a Speculation")
            shape = dataclasses.replace(shape, n_draft=speculation.n_max)
        if self.n_gpu_layers:
            shape.require_gpu_support()
        cache_bytes = _checks.integer("cache_bytes", cache_bytes, 0, 2**63 - 1)
        engine = Engine(
            self,
            shape,
            n_threads=n_threads,
            n_threads_batch=n_threads_batch,
            cache_bytes=cache_bytes,
            lora=lora,
            speculation=speculation,
        )
        self._engines.add(engine)
        return engine

    def embedder(
        self,
        n_ctx: int = 4096,
        *,
        pooling: Pooling | None = None,
        n_batch: int = 512,
        n_threads: int | None = None,
        flash_attention: bool | None = None,
        lora: Sequence[Lora] = (),
    ) -> Embedder:
        """Opens an embedder: what turns texts into vectors. It has a context of its own; the weights are shared.

        Args:
            n_ctx: Tokens of one input at most. An encoder (BERT and the like) takes no more than it was trained with,
                and memory for so many at once.
            pooling: How the vectors of an input's tokens become one: "mean", "cls" (the first), "last", "rank" (the
                scores of a reranker), or "none": a vector for each token. None: as the file says; where it says
                nothing, "last", or "mean" for an encoder.
            n_batch: Tokens computed at once at most, as far as inputs can be divided; short inputs share a batch.
            n_threads: Threads; None takes the physical cores this process may use.
            flash_attention: None: where the backend supports it.
            lora: As for ``engine()``.

        Raises:
            AdapterLoadError: A file is not an adapter that can be used with this model.
            InvalidArgumentError: A value is out of range.
            InsufficientMemoryError: It would not fit in memory.
            UnsupportedError: The model cannot embed (vocabulary only, or an encoder with a decoder).
        """
        from hoshikage_core.embedding import Embedder

        parallel = 1 if self.info.is_recurrent or self.info.is_hybrid else min(_INPUTS_AT_ONCE, n_ctx, n_batch)
        shape = ContextShape(n_ctx=n_ctx, parallel=max(parallel, 1), n_batch=n_batch, flash_attention=flash_attention)
        embedder = Embedder(self, shape, pooling, n_threads, lora)
        self._engines.add(embedder)
        return embedder

    def require_embedder_memory(self, shape: ContextShape) -> None:
        """Raises InsufficientMemoryError unless an embedder fits in host memory."""
        require_embedder_memory(self._params, self.info.metadata, self.info.n_vocab, shape)

    def require_context_memory(self, shape: ContextShape) -> None:
        """Raises InsufficientMemoryError unless an engine fits in host memory."""
        require_context_memory(self.path, self._params, self.info.metadata, shape)

    def close(self) -> None:
        """Frees the model and what was made from it; using it then raises ClosedError. May be called twice."""
        for engine in list(self._engines):
            engine.close()
        self.native.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.path!r} ({'closed' if self.native.closed else self.info.description})>"


def _load(path: str, params: Any, on_progress: Callable[[float], object] | None) -> Any:
    """Loads on another thread, so that progress can be told and Ctrl-C or a False from ``on_progress`` stops it."""
    out_load = ffi.new("hsk_load **")
    call(lib.hsk_load_new, out_load)
    load = ffi.gc(out_load[0], lib.hsk_load_free)
    out = ffi.new("hsk_model **")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call(lib.hsk_model_load, os.fsencode(path), params, load, out)
        except BaseException as error:
            failures.append(error)

    # Not a daemon: the interpreter must not end under it.
    thread = threading.Thread(target=run, name="hoshikage-load")
    try:
        thread.start()
    except RuntimeError as error:
        raise ModelLoadError(path, Reason("no_thread", "{words}", words=str(error))) from None
    try:
        _watch(thread, load, on_progress)
    except BaseException:
        lib.hsk_load_cancel(load)
        thread.join()  # it writes to `load` and `out`
        lib.hsk_model_free(out[0])
        raise
    if failures:
        failure = failures[0]
        if isinstance(failure, NativeError) and failure.status == lib.HSK_MODEL_LOAD_FAILED:
            raise ModelLoadError(path, Reason("model_refused", "{words}", words=str(failure))) from None
        raise failure
    return out[0]


def _watch(thread: threading.Thread, load: Any, on_progress: Callable[[float], object] | None) -> None:
    told = -1.0
    is_loading = True
    while is_loading:
        thread.join(_PROGRESS_INTERVAL_S)
        is_loading = thread.is_alive()
        progress = lib.hsk_load_progress_get(load)
        if on_progress is not None and progress != told:
            told = progress
            if on_progress(progress) is False:
                raise CancelledError("loading was cancelled")
