"""What the server and an engine process say to each other: length-prefixed msgpack frames over a socketpair.

A frame is four bytes of length (big endian) and a msgpack array whose first item names its struct. Fields are only
ever appended, with defaults. A conversation:

    server -> engine   Load                                     once, first
    engine -> server   Loading*  then  Ready | Failed(id=0)
    server -> engine   Generate(id) ...  Cancel(id)             any number, several at once
    engine -> server   Accepted(id)  Progress(id)*  Token(id)*  then  Done(id) | Failed(id)
                                                                several Done, where several choices were asked for
    server -> engine   Embed(id) ...  Cancel(id)                any number, several at once
    engine -> server   Embedded(id)*  the last of them says so  or  Failed(id)
    server -> engine   Count(id) | Tokenize(id) | Detokenize(id)
    engine -> server   Counted(id) | Tokens(id) | Plain(id) | Failed(id)
                                                                what an engine with vocabulary only can do
    engine -> server   Beat                                     while it loads, and while its native step makes progress
    server -> engine   Stop                                     the engine ends; so it does when the socket closes
    engine -> server   Slept                                    before it ends, if it is told to sleep

Token ids cross as the bytes of native 32-bit integers, vectors as those of native 32-bit floats: both ends run on one
machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from hoshikage_server.messages import Said

MAX_FRAME_BYTES = 256 * 1024 * 1024  # a 32 MiB request body, with room for what decoding makes of it
_PREFIX_BYTES = 4

# The status of an engine process that has ended because an allocation failed.
OUT_OF_MEMORY_STATUS = 112

INT32_MAX = 2**31 - 1
Text = Annotated[str, Meta(min_length=1)]
Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopK = Annotated[int, Meta(ge=-1, le=INT32_MAX)]
RepeatPenalty = Annotated[float, Meta(ge=0.01, le=100)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count32 = Annotated[int, Meta(ge=0, le=INT32_MAX)]
LookBack = Annotated[int, Meta(ge=-1, le=INT32_MAX)]
Strength = Annotated[float, Meta(ge=0, le=100)]
TokenId = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Bias = Annotated[float, Meta(ge=-100, le=100)]

Pooling = Literal["mean", "cls", "last"]
ReasoningFormat = Literal["none", "auto", "deepseek", "deepseek-legacy"]

T = TypeVar("T")


class WireError(Exception):
    """The other side sent something that is no frame."""


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all frames."""


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


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How tokens are chosen, under hoshikage_core's names. None: whoever comes next in precedence decides.

    The bounds are those of a request and of an entry of the model map alike.
    """

    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: Unit | None = None
    min_p: Unit | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    typical_p: Unit | None = None
    top_n_sigma: Annotated[float, Meta(ge=-1, le=100)] | None = None
    xtc_probability: Unit | None = None
    xtc_threshold: Unit | None = None
    repeat_last_n: LookBack | None = None
    dry_multiplier: Strength | None = None
    dry_base: Strength | None = None
    dry_allowed_length: Count32 | None = None
    dry_penalty_last_n: LookBack | None = None
    dry_sequence_breakers: Annotated[tuple[Text, ...], Meta(max_length=64)] | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Strength | None = None
    mirostat_eta: Unit | None = None
    dynatemp_range: Annotated[float, Meta(ge=0, le=2)] | None = None
    dynatemp_exponent: Strength | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    ignore_eos: bool | None = None
    min_tokens: Count32 | None = None

    def over(self, other: Sampling) -> Sampling:
        """These values, and the other's where these are None."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return msgspec.structs.replace(other, **{name: value for name, value in values if value is not None})


class Form(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer has to look like, and what a chat template is told besides the messages.

    Attributes:
        json_schema: What it must match.
        grammar: GBNF it must match; excludes `json_schema` and `tools`.
        tools: As in OpenAI's chat API.
        tool_choice: Whether it may, must or must not call a tool.
        tool_name: The only tool it may call.
        parallel_tool_calls: Whether it may call several; None: as the template likes it.
        continues_message: The last message is the beginning of the answer.
        enable_thinking: Whether a reasoning model reasons; None: as its template likes it.
        reasoning_format: How reasoning is told from content; llama.cpp's names.
        thinking_budget: Tokens of reasoning at most.
        template_kwargs: More variables for the template.
    """

    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Literal["auto", "required", "none"] = "auto"
    tool_name: str | None = None
    parallel_tool_calls: bool | None = None
    continues_message: bool = False
    enable_thinking: bool | None = None
    reasoning_format: ReasoningFormat = "auto"
    thinking_budget: int | None = None
    template_kwargs: dict[str, Any] = {}


class TextPrompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prompt that is no conversation: text, or the bytes of token ids; with `suffix`, what to fill in between."""

    text: str = ""
    tokens: bytes = b""
    suffix: str | None = None


class ToolDelta(msgspec.Struct, frozen=True, array_like=True):
    """What a piece adds to one tool call: its id and name once, its arguments bit by bit."""

    index: int
    id: str | None
    name: str | None
    arguments: str = ""


class TokenProb(msgspec.Struct, frozen=True, array_like=True):
    """A token, its bytes, and the natural logarithm of its probability before any sampler."""

    token: int
    text: bytes
    logprob: float


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """A chosen token, and the likeliest ones in its place."""

    chosen: TokenProb
    top: tuple[TokenProb, ...] = ()


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Where an answer's time went: how many tokens were computed, how long they took, and how many guesses helped."""

    n_prompt: int
    prompt_ms: float
    n_predicted: int
    predicted_ms: float
    n_cached: int = 0
    n_drafted: int = 0
    n_accepted: int = 0


class Sleeping(msgspec.Struct, frozen=True, array_like=True):
    """What an engine has computed, in a file; see hoshikage_core's SleepingPrefix."""

    tokens: bytes
    offset: int
    n_bytes: int
    crc: int
    marks: tuple[tuple[int, int], ...] = ()


class Measured(msgspec.Struct, frozen=True, array_like=True):
    """The most that an engine was seen to take which had to do without `given_up`."""

    private_bytes: int
    vram_bytes: int | None = None
    given_up: tuple[str, ...] = ()


class Load(Frame, frozen=True):
    """The model to serve; the engine logs at the server's level.

    Attributes:
        measured: What engines of this spec took before.
        n_given_up: How many steps to do with less are to be taken at once, where any may be taken.
        sleeping: What an engine before it has put into the file that it inherits.
    """

    spec: EngineSpec
    log_level: int = 20
    sleeping: tuple[Sleeping, ...] = ()
    measured: tuple[Measured, ...] = ()
    n_given_up: int = 0


class SoFar(msgspec.Struct, frozen=True, array_like=True):
    """An answer that another engine began: the ids of its prompt and of its tokens, and all its stop strings.

    Attributes:
        plan: What the other engine made of the question; see Accepted.
        choice: Of several choices, the one that is being made.
        n_echoed: How many tokens of the prompt have been told.
    """

    prompt: bytes
    tokens: bytes
    stop: tuple[str, ...]
    plan: bytes = b""
    choice: int = 0
    n_echoed: int = 0


class Generate(Frame, frozen=True):
    """Answer a conversation (or a text), or continue an answer. Messages are OpenAI's, as plain objects.

    Attributes:
        text: The prompt, where it is no conversation.
        n_choices: How many answers to give, one after the other.
        n_top_logprobs: Tell the probability of each token, and of so many likely ones in its place.
        wants_progress: Tell how far the prompt is computed.
        wants_timings: Tell with each piece how long it took.
        reuses: Begin with what was computed for earlier prompts that begin alike.
        n_prompt_logprobs: Tell the prompt's tokens as well, each with its probability and so many likely ones.
    """

    id: int
    messages: list[dict[str, Any]]
    sampling: Sampling
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    so_far: SoFar | None = None
    form: Form = Form()
    text: TextPrompt | None = None
    n_choices: int = 1
    n_top_logprobs: int | None = None
    wants_progress: bool = False
    wants_timings: bool = False
    reuses: bool = True
    n_prompt_logprobs: int | None = None


class Count(Frame, frozen=True):
    """Say how many tokens a prompt has; fail if its form cannot be had, or if `n_ctx` leaves no room for an answer."""

    id: int
    messages: list[dict[str, Any]]
    n_ctx: int | None = None
    form: Form = Form()
    text: TextPrompt | None = None


class Tokenize(Frame, frozen=True):
    """Say which tokens a text has."""

    id: int
    text: str
    add_special: bool = False
    parse_special: bool = True


class Detokenize(Frame, frozen=True):
    """Say which text tokens have."""

    id: int
    tokens: bytes


class Embed(Frame, frozen=True):
    """Give the embeddings of texts, or of token ids as they are: one of the two is empty.

    Attributes:
        pooling: How the vectors of an input's tokens become one; None: as the model's file says.
        dimensions: Only the first numbers of each vector.
    """

    id: int
    texts: tuple[str, ...] = ()
    tokens: tuple[bytes, ...] = ()
    pooling: Pooling | None = None
    dimensions: int | None = None


class Cancel(Frame, frozen=True):
    """Nobody wants this answer any more. No frame of this id needs to follow."""

    id: int


class Stop(Frame, frozen=True):
    """End the process.

    Attributes:
        sleep_s: How long it may take to put what it has computed into the file it has inherited; 0: it does not.
        room_bytes: How much of the file it may take.
    """

    sleep_s: float = 0.0
    room_bytes: int = 0


class Slept(Frame, frozen=True):
    """The last words of an engine that was told to sleep: what it has put into the file."""

    sleeping: tuple[Sleeping, ...]


class Loading(Frame, frozen=True):
    """How far the model is read, 0 to 1."""

    progress: float


class Ready(Frame, frozen=True):
    """The model is loaded.

    Attributes:
        cuts_anywhere: Whether the memory of its sequences can go back to any token.
        n_gpu_layers: Layers in GPU memory.
        n_layers: Layers that could be there: the model's own, and its output as one more.
        no_gpu: Why no GPU computes although one was to.
    """

    n_ctx: int
    name: str = ""
    build: str = ""
    info: dict[str, Any] = {}
    degraded: tuple[str, ...] = ()
    cuts_anywhere: bool = True
    n_gpu_layers: int = 0
    n_layers: int = 0
    no_gpu: Said | None = None


class Accepted(Frame, frozen=True):
    """The prompt fits and its computation begins. With all this and its tokens another engine can continue.

    Attributes:
        plan: What the chat template made of the question besides the prompt; only another engine needs to know.
    """

    id: int
    n_prompt: int
    prompt: bytes = b""
    stop: tuple[str, ...] = ()
    plan: bytes = b""


class Progress(Frame, frozen=True):
    """How much of the prompt is computed, after how long."""

    id: int
    n_done: int
    n_prompt: int
    ms: float
    n_cached: int = 0


class Token(Frame, frozen=True):
    """A piece of an answer, in whole characters, and the tokens sampled since the last piece.

    Attributes:
        echo: The next tokens of the prompt, told before any of the answer; what a tokenizer puts before a text is not
            told. Of the first one, nothing but itself is known.
    """

    id: int
    text: str
    tokens: tuple[int, ...] = ()
    choice: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolDelta, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    timings: Timings | None = None
    echo: tuple[Logprob, ...] = ()


class Done(Frame, frozen=True):
    """The end of a choice, with its last piece: finish_reason is hoshikage_core's (stop, length, cancelled).

    Attributes:
        n_prompt: Told once, with the first choice; 0 with the others.
        n_completion: Tokens of this choice.
        is_last: Whether no further choice follows.
        n_reasoning: Those of its tokens that were reasoning.
        n_cached: Tokens of the prompt that did not have to be computed; told like `n_prompt`.
        kept_bytes: What the engine keeps of other conversations in RAM.
        rest: Probabilities of tokens that are no part of the text, such as an end token and a stop string.
    """

    id: int
    finish_reason: str
    n_prompt: int
    n_completion: int
    text: str = ""
    tokens_per_s: float | None = None
    choice: int = 0
    is_last: bool = True
    reasoning: str = ""
    tool_calls: tuple[ToolDelta, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    n_reasoning: int = 0
    n_cached: int = 0
    timings: Timings | None = None
    kept_bytes: int = 0
    rest: tuple[Logprob, ...] = ()


class Counted(Frame, frozen=True):
    """How many tokens there are."""

    id: int
    n_prompt: int


class Tokens(Frame, frozen=True):
    """A text's tokens, and the bytes of each."""

    id: int
    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...]


class Plain(Frame, frozen=True):
    """The text of tokens."""

    id: int
    text: str


class Embedded(Frame, frozen=True):
    """The embeddings of the next inputs, of length 1, and how many tokens these inputs have together."""

    id: int
    vectors: tuple[bytes, ...]
    n_tokens: int
    is_last: bool = True


class Failed(Frame, frozen=True):
    """A request (or the load, with id 0) came to nothing. `code` is hoshikage_core's, `fields` its error's data."""

    id: int
    code: str
    message: str
    fields: dict[str, int | float | str | Said | None] = {}


class Beat(Frame, frozen=True):
    """A sign of life while nothing else is to be said."""


ToEngine = Load | Generate | Embed | Count | Tokenize | Detokenize | Cancel | Stop
FromEngine = (
    Loading | Ready | Accepted | Progress | Token | Done | Embedded | Counted | Tokens | Plain | Failed | Beat | Slept
)

_encode = msgspec.msgpack.Encoder().encode
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def encode(frame: Frame) -> bytes:
    """The bytes of one frame."""
    body = _encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(body)} bytes is too large")
    return len(body).to_bytes(_PREFIX_BYTES, "big") + body


class FrameDecoder(Generic[T]):
    """Turns a stream of bytes, arriving in any pieces, into frames."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T], max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The frames that `data` completes.

        Raises:
            WireError: These bytes are no frames, or one of them is too large.
        """
        try:
            return [self._decoder.decode(body) for body in self._split(data)]
        except msgspec.DecodeError as error:
            raise WireError(str(error)) from error

    def _split(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PREFIX_BYTES:
                begin = start + _PREFIX_BYTES
                n_bytes = int.from_bytes(buffer[start:begin], "big")
                if n_bytes > self._max_bytes:
                    raise WireError(f"a frame of {n_bytes} bytes is too large")
                if len(buffer) < begin + n_bytes:
                    return
                start = begin + n_bytes
                yield bytes(buffer[begin:start])
        finally:
            del buffer[:start]


def frames_from_engine(max_bytes: int = MAX_FRAME_BYTES) -> FrameDecoder[FromEngine]:
    """The server's decoder."""
    return FrameDecoder(_from_engine, max_bytes)


def frames_to_engine(max_bytes: int = MAX_FRAME_BYTES) -> FrameDecoder[ToEngine]:
    """The engine's decoder."""
    return FrameDecoder(_to_engine, max_bytes)
