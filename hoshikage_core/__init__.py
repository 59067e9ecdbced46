"""Hoshikage's library: GGUF models through a statically linked llama.cpp.

from hoshikage_core import Model, SamplingParams

with Model("model.gguf") as model, model.engine(n_ctx=4096) as engine:
    print(engine.generate("The lighthouse", SamplingParams(temperature=0), max_tokens=32).text)
"""

from hoshikage_core._saved import SleepingPrefix
from hoshikage_core.answer import Event, FinishReason
from hoshikage_core.build_info import BuildInfo, build_info
from hoshikage_core.chat import ChatTemplate
from hoshikage_core.devices import Devices
from hoshikage_core.embedding import Embedder, Embedding, Pooling
from hoshikage_core.engine import Engine
from hoshikage_core.errors import (
    AdapterLoadError,
    CancelledError,
    ChatTemplateError,
    ClosedError,
    ContextFullError,
    ContextLengthError,
    DeadEndError,
    EngineBusyError,
    GrammarError,
    HoshikageError,
    InsufficientMemoryError,
    InvalidArgumentError,
    JsonSchemaError,
    ModelLoadError,
    NativeError,
    OutOfMemoryError,
    Reason,
    RpcServerError,
    UnknownTokenError,
    UnsupportedError,
)
from hoshikage_core.generation import Completion, Generation, Timings
from hoshikage_core.json_schema import complete_grammar, enforceable
from hoshikage_core.logprobs import TokenLogprob, TokenLogprobs
from hoshikage_core.memory import DeviceMemory, MeasuredMemory, memory_needed, require_memory
from hoshikage_core.message import MessageDelta, MessageParser, ToolCallDelta
from hoshikage_core.model import Model, ModelInfo
from hoshikage_core.params import ContextShape
from hoshikage_core.prompt import ChatPrompt
from hoshikage_core.sampling import SamplingParams, choice_seed, schema_to_grammar
from hoshikage_core.sequence import Sequence
from hoshikage_core.speculation import Speculation

__all__ = [
    "AdapterLoadError",
    "BuildInfo",
    "CancelledError",
    "ChatPrompt",
    "ChatTemplate",
    "ChatTemplateError",
    "ClosedError",
    "Completion",
    "ContextFullError",
    "ContextLengthError",
    "ContextShape",
    "DeadEndError",
    "DeviceMemory",
    "Devices",
    "Embedder",
    "Embedding",
    "Engine",
    "EngineBusyError",
    "Event",
    "FinishReason",
    "Generation",
    "GrammarError",
    "HoshikageError",
    "InsufficientMemoryError",
    "InvalidArgumentError",
    "JsonSchemaError",
    "MeasuredMemory",
    "MessageDelta",
    "MessageParser",
    "Model",
    "ModelInfo",
    "ModelLoadError",
    "NativeError",
    "OutOfMemoryError",
    "Pooling",
    "Reason",
    "RpcServerError",
    "SamplingParams",
    "Sequence",
    "SleepingPrefix",
    "Speculation",
    "Timings",
    "TokenLogprob",
    "TokenLogprobs",
    "ToolCallDelta",
    "UnknownTokenError",
    "UnsupportedError",
    "build_info",
    "choice_seed",
    "complete_grammar",
    "enforceable",
    "memory_needed",
    "require_memory",
    "schema_to_grammar",
]
