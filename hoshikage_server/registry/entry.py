"""One model of model_map.json: what its entry may say, and the model it stands for.

    {"path": "/models", "model": "SmolLM2.gguf", "stop": ["</s>"], "n_ctx": 8192, "sampling": {"temperature": 0.7}}

`path` is a folder (relative to the map's own), `model` the file in it, the first one of a model in several files. All
else may be missing, and wins over the server's settings of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hoshikage_server.engines.sampling import INT32_MAX, Sampling, Text
from hoshikage_server.engines.wire import Pooling
from hoshikage_server.settings import Idle, KvType, MainGpu, RpcServers, SplitMode, TensorSplit

Speculation = Literal["off", "ngram"]

# Keys that this version knows of, and does not use: who has written them is told.
UNUSED = ("mmproj",)


# No path has a NUL in it.
FilePath = Annotated[str, Meta(min_length=1, pattern="^[^\\x00]+$")]


class Embedding(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a model embeds.

    Attributes:
        pooling: How the vectors of an input's tokens become one; as the file says where this is missing.
    """

    pooling: Pooling | None = None


class Lora(msgspec.Struct, frozen=True, omit_defaults=True):
    """A LoRA adapter.

    Attributes:
        path: Its GGUF file, relative to the map's folder.
        scale: How strongly it acts.
    """

    path: FilePath
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry as it stands in the file.

    Attributes:
        path: The folder of the model's file, relative to the map's own.
        model: The GGUF file in it; the first one of a model in several files.
        stop: Texts that end an answer, besides those of the request.
        aliases: Further names that it is asked for by.
        description: A word about it for people.
        n_ctx: Tokens of context.
        parallel: Requests computed at once.
        gpu_layers: Layers in GPU memory.
        tensor_split: Each GPU's share of the model, in any unit.
        main_gpu: The one GPU that it goes to.
        split_mode: Whether it goes to one GPU, to several layer by layer, or to several with a part of each layer.
        kv_type: Type of the KV cache's numbers.
        flash_attention: Whether to use it; where the backend supports it if this is missing.
        idle_timeout: Seconds without a request after which it is unloaded; 0: never.
        degrade: Whether to load it with less where memory is short.
        sampling: How tokens are chosen where a request does not say.
        chat_template: Jinja text, or the name of a file that holds it, relative to the map's folder.
        system: What stands at the beginning of every conversation.
        thinking: Whether a reasoning model reasons where a request does not say.
        lora: Adapters to apply.
        embedding: How it embeds.
        sha256: What its file must have, for `hoshikage model verify`; of a model in several files, the first of them.
        speculation: How to guess what comes next: not at all, or by what stood after the same words before.
        draft_model: A small model of the same vocabulary that is asked for guesses where `speculation` is missing: its
            GGUF file, relative to the map's folder.
        mmproj: The file with the model's eyes; not used yet.
        rpc_servers: Machines that compute parts of it, each as host:port; none: this one alone.
    """

    path: FilePath
    model: FilePath
    stop: tuple[Text, ...] | None = None
    aliases: tuple[Text, ...] = ()
    description: str | None = None
    n_ctx: Annotated[int, Meta(ge=1, le=INT32_MAX)] | None = None
    parallel: Annotated[int, Meta(ge=1, le=64)] | None = None
    gpu_layers: Annotated[int, Meta(ge=0, le=INT32_MAX)] | Literal["auto", "all"] | None = None
    tensor_split: TensorSplit | None = None
    main_gpu: MainGpu | None = None
    split_mode: SplitMode | None = None
    kv_type: KvType | None = None
    flash_attention: bool | None = None
    idle_timeout: Idle | None = None
    degrade: bool | None = None
    sampling: Sampling = Sampling()
    chat_template: Text | None = None
    system: Text | None = None
    thinking: bool | None = None
    lora: tuple[Lora, ...] = ()
    embedding: Embedding = Embedding()
    sha256: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    speculation: Speculation | None = None
    draft_model: FilePath | None = None
    mmproj: Text | None = None
    rpc_servers: RpcServers | None = None


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    Attributes:
        id: Its name.
        file: Its file, absolute.
        given: What its entry says.
        folder: The map's, which other files are relative to.
    """

    id: str
    file: Path
    given: Entry
    folder: Path

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end an answer, besides those of the request."""
        return self.given.stop or ()
