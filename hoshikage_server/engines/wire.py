"""What the server and an engine process say to each other: length-prefixed msgpack frames over a socketpair.

A frame's first item names its struct. Fields are only ever appended, with defaults. A conversation:

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

from typing import Any, Literal

import msgspec

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.framing import MAX_FRAME_BYTES, FrameDecoder
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.messages import Said

Pooling = Literal["mean", "cls", "last"]


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all frames."""


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
        defaults: How tokens are chosen where nobody says, as far as clients are told.
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
    defaults: Sampling = Sampling()


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

_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def frames_from_engine(max_bytes: int = MAX_FRAME_BYTES) -> FrameDecoder[FromEngine]:
    """The server's decoder."""
    return FrameDecoder(_from_engine, max_bytes)


def frames_to_engine(max_bytes: int = MAX_FRAME_BYTES) -> FrameDecoder[ToEngine]:
    """The engine's decoder."""
    return FrameDecoder(_to_engine, max_bytes)
