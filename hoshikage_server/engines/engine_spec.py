"""What an engine is made of, and which of its files."""

from __future__ import annotations

import msgspec


class SpecFile(msgspec.Struct, frozen=True):
    """A file that an engine reads besides the model's. Its times and size are part of it, 0 where there is no file."""

    path: str
    mtime_ns: int = 0
    size_bytes: int = 0
    ctime_ns: int = 0


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter, and how strongly it acts."""

    file: SpecFile
    scale: float = 1.0


class Devices(msgspec.Struct, frozen=True):
    """Which GPUs a model goes to; see hoshikage_core's Devices. The defaults: all of them, by their free memory."""

    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = 0
    rpc_servers: tuple[str, ...] = ()


class EngineSpec(msgspec.Struct, frozen=True):
    """What an engine is made of. Two requests with equal specs can share one.

    The file's time and size are part of it: a replaced file is another model.

    Attributes:
        chat_template: Jinja text, or the file with it; None: the model's own.
        lora: What changes the weights.
        guesses: Whether to guess what comes next by what stood after the same words before.
        draft_model: A smaller model that is asked for guesses instead.
        devices: Where its layers go.
        requires_gpu: Whether to refuse to load it where no GPU computes.
    """

    path: str
    n_ctx: int
    parallel: int = 1
    n_threads: int | None = None
    gpu_layers: int | str = "auto"
    is_vocab_only: bool = False
    may_degrade: bool = False
    checks_memory: bool = True
    mtime_ns: int = 0
    size_bytes: int = 0
    ctime_ns: int = 0
    cache_bytes: int = 0
    kv_type: str = "f16"
    flash_attention: bool | None = None
    chat_template: str | SpecFile | None = None
    lora: tuple[Adapter, ...] = ()
    guesses: bool = False
    draft_model: SpecFile | None = None
    devices: Devices = Devices()
    requires_gpu: bool = False

    @property
    def expects_gpu(self) -> bool:
        """Whether somebody has said that there is a GPU, and wants it."""
        places = msgspec.structs.replace(self.devices, rpc_servers=())
        return self.gpu_layers != 0 and (self.requires_gpu or self.gpu_layers != "auto" or places != Devices())

    def vocabulary(self) -> EngineSpec:
        """An engine that knows the vocabulary of the same file, and the template, and nothing else."""
        return EngineSpec(
            path=self.path,
            n_ctx=0,
            is_vocab_only=True,
            mtime_ns=self.mtime_ns,
            size_bytes=self.size_bytes,
            ctime_ns=self.ctime_ns,
            chat_template=self.chat_template,
        )
