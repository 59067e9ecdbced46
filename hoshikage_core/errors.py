"""What can go wrong, as one tree.

HoshikageError
├── ClosedError             the object was closed
├── InvalidArgumentError    a value the caller gave is wrong (also a ValueError)
│   └── UnknownTokenError   a token is not in the vocabulary
├── ModelLoadError          the file is not a model that can be used
├── AdapterLoadError        the file is not a LoRA adapter that can be used with the model
├── InsufficientMemoryError not enough memory for what was asked
├── RpcServerError          a server that shall compute a part of the model does not
├── ContextLengthError      the prompt does not fit the context
├── ContextFullError        the KV cache has no room left
├── EngineBusyError         all sequences of the engine are in use
├── CancelledError          cancelled from another thread
├── UnsupportedError        this model or build cannot do it
├── ChatTemplateError       the chat template refused the messages
├── GrammarError            a grammar could not be compiled
│   ├── DeadEndError        a grammar leaves no token to choose
│   └── JsonSchemaError     a JSON schema is malformed, or holds what cannot be enforced
└── NativeError             anything else that llama.cpp reported
    └── OutOfMemoryError    an allocation failed, whatever had been worked out before

Each class has a stable ``code``; its data is in attributes, so nobody needs to read the message.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

Value: TypeAlias = "int | float | str | Reason"

_HSK_OUT_OF_MEMORY = 3


class Reason(str):
    """Why something cannot be: an English text, which a program can tell apart and say in another language.

    Attributes:
        key: A stable name of what it says.
        values: What it speaks of.
    """

    key: str
    values: dict[str, Value]

    def __new__(cls, key: str, text: str, **values: Value) -> Reason:
        """Makes one.

        Args:
            key: Its name.
            text: A format string.
            values: What is put in.
        """
        reason = super().__new__(cls, text.format(**values))
        reason.key, reason.values = key, values
        return reason


class HoshikageError(Exception):
    """Base of all errors raised by this library."""

    code: ClassVar[str] = "error"


class ClosedError(HoshikageError):
    """The object was used after ``close()``."""

    code = "closed"


class InvalidArgumentError(HoshikageError, ValueError):
    """An argument is wrong.

    Attributes:
        field: Name of the argument, or "" when the native side only gave a message.
        reason: What is wrong with it.
    """

    code = "invalid_argument"

    def __init__(self, field: str, reason: Reason) -> None:
        super().__init__(f"{field}: {reason}" if field else str(reason))
        self.field = field
        self.reason = reason


class UnknownTokenError(InvalidArgumentError):
    """A token is not in the vocabulary.

    Attributes:
        token: Its id.
        n_vocab: How many tokens the vocabulary has.
    """

    code = "token_not_in_vocabulary"

    def __init__(self, field: str, token: int, n_vocab: int) -> None:
        text = "token {token} is not in the vocabulary (0..{last})"
        super().__init__(field, Reason("unknown_token", text, token=token, last=n_vocab - 1))
        self.token = token
        self.n_vocab = n_vocab


class ModelLoadError(HoshikageError):
    """A model file could not be loaded.

    Attributes:
        path: The file.
        reason: Why, in one sentence; llama.cpp's own words where it spoke.
    """

    code = "model_load_failed"

    def __init__(self, path: str, reason: Reason) -> None:
        super().__init__(f"cannot load {path}: {reason}")
        self.path = path
        self.reason = reason


class AdapterLoadError(HoshikageError):
    """A LoRA adapter could not be loaded.

    Attributes:
        path: The file.
        reason: Why, in one sentence; llama.cpp's own words where it spoke.
    """

    code = "adapter_load_failed"

    def __init__(self, path: str, reason: Reason) -> None:
        super().__init__(f"cannot use the adapter {path}: {reason}")
        self.path = path
        self.reason = reason


class RpcServerError(HoshikageError):
    """A server that shall compute a part of the model cannot be used.

    Attributes:
        server: Which one, as "host:port".
        reason: Why.
    """

    code = "rpc_server_failed"

    def __init__(self, server: str, reason: Reason) -> None:
        super().__init__(f"the RPC server {server} cannot be used: {reason}")
        self.server = server
        self.reason = reason


class InsufficientMemoryError(HoshikageError):
    """There is not enough memory.

    Attributes:
        needed_bytes: What the request would take.
        free_bytes: What is there.
        device: Where: a GPU's name, or "host".
    """

    code = "insufficient_memory"

    def __init__(self, what: str, needed_bytes: int, free_bytes: int, device: str = "host") -> None:
        gib = 1024**3
        super().__init__(f"{what} needs {needed_bytes / gib:.2f} GiB of memory, {free_bytes / gib:.2f} GiB are free")
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.device = device


class ContextLengthError(HoshikageError):
    """The prompt leaves no room in the context for even one new token, or an input of an embedder has none itself.

    Attributes:
        n_prompt: Tokens of the prompt.
        n_ctx: Tokens the context holds.
        is_at_least: Whether it may have more tokens than that: what is much too long is not cut to the end.
    """

    code = "context_length_exceeded"

    def __init__(self, n_prompt: int, n_ctx: int, *, is_at_least: bool = False, is_answered: bool = True) -> None:
        has = f"at least {n_prompt}" if is_at_least else f"{n_prompt}"
        both = " (prompt and answer together)" if is_answered else ""
        super().__init__(f"the prompt has {has} tokens, the context holds {n_ctx}{both}")
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx
        self.is_at_least = is_at_least


class ContextFullError(HoshikageError):
    """The KV cache has no room for the tokens of this step."""

    code = "context_full"


class EngineBusyError(HoshikageError):
    """All sequences of the engine are in use.

    Attributes:
        parallel: How many the engine has.
    """

    code = "engine_busy"

    def __init__(self, parallel: int) -> None:
        super().__init__(
            f"all {parallel} sequences of the engine are in use; close one, or open the engine with a larger `parallel`"
        )
        self.parallel = parallel


class CancelledError(HoshikageError):
    """The call was cancelled from another thread."""

    code = "cancelled"


class UnsupportedError(HoshikageError):
    """This model or this build cannot do what was asked."""

    code = "unsupported"


class ChatTemplateError(HoshikageError):
    """The model's chat template refused the messages."""

    code = "chat_template_failed"


class GrammarError(HoshikageError):
    """A grammar or JSON schema could not be compiled."""

    code = "invalid_grammar"


class DeadEndError(GrammarError):
    """A grammar, perhaps with biases, leaves no token to choose: the vocabulary cannot spell what has to come."""

    code = "grammar_dead_end"


class JsonSchemaError(GrammarError):
    """A JSON schema is malformed, or holds what no grammar can enforce.

    Attributes:
        path: The schema it is about, as a JSON pointer such as "#/properties/age".
        keyword: The keyword in it, such as "minimum"; "" when it is about the schema as a whole.
        reason: Why, in words that follow the keyword.
        where: Of several schemas the one that it is about ("tools[0]"); None where there is one.
    """

    code = "invalid_json_schema"

    def __init__(self, path: str, keyword: str, reason: Reason, where: str | None = None) -> None:
        place = f"{path}/{keyword}" if keyword else path
        super().__init__(f"{place}: {reason}" if where is None else f"{where}: {place}: {reason}")
        self.path = path
        self.keyword = keyword
        self.reason = reason
        self.where = where


class NativeError(HoshikageError):
    """llama.cpp failed in a way that has no class of its own.

    Attributes:
        status: The native ``hsk_status``.
    """

    code = "internal"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OutOfMemoryError(NativeError):
    """An allocation failed, on a GPU or in RAM: others took the memory meanwhile, or the figures were wrong."""

    code = "out_of_memory"

    def __init__(self, message: str) -> None:
        super().__init__(_HSK_OUT_OF_MEMORY, message)
