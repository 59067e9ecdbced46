"""POST /v1/tokenize and /v1/detokenize: text to tokens and back, without waking a model.

llama-server and vLLM have both, under different names. A request may use either's; the answer holds both's.
"""

from __future__ import annotations

from array import array
from typing import Annotated, Any

import falcon
import msgspec
from msgspec import Meta

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.operations import operation
from hoshikage_server.api.schema import decode
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.sampling import Text, TokenId
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.vocabulary import Vocabulary
from hoshikage_server.engines.wire import Tokens
from hoshikage_server.errors import FIELD_CODES, EngineError, RequestError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

_LONGEST = 1_000_000  # characters, or tokens: of more the answer would take hundreds of megabytes
_Characters = Annotated[str, Meta(max_length=_LONGEST)]


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/tokenize: a text as `prompt` (vLLM's name) or as `content` (llama-server's).

    Attributes:
        add_special: Add what the model wants at the ends of a text, such as BOS. When not given, what the server whose
            name for the text is used does: vLLM does, llama-server does not.
        parse_special: Read special tokens that are written in the text as such.
        with_pieces: llama-server's: `tokens` holds objects with `id` and `piece`.
        return_token_strs: vLLM's: `token_strs` holds the text of each token.
    """

    model: Text
    prompt: _Characters | None = None
    content: _Characters | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None
    messages: Any = None  # of vLLM's; what they are as a prompt depends on more than them

    @property
    def adds_special(self) -> bool:
        """Whether tokens at the ends are added."""
        for said in (self.add_special, self.add_special_tokens):
            if said is not None:
                return said
        return self.prompt is not None


class TokenPiece(msgspec.Struct, frozen=True):
    """A token and its text; its bytes as numbers, where they are no whole characters."""

    id: int
    piece: str | list[int]


class TokenizeObject(msgspec.Struct, frozen=True):
    """A text's tokens, their number, and how many the model has room for."""

    tokens: list[int | TokenPiece]
    count: int
    max_model_len: int
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/detokenize."""

    model: Text
    tokens: Annotated[list[TokenId], Meta(max_length=_LONGEST)]


class DetokenizeObject(msgspec.Struct, frozen=True):
    """The text of tokens, as `prompt` (vLLM's name) and as `content` (llama-server's)."""

    prompt: str
    content: str


_tokenize = msgspec.json.Decoder(TokenizeRequest)
_detokenize = msgspec.json.Decoder(DetokenizeRequest)


class _Resource:
    """What both have in common."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, vocabulary: Vocabulary) -> None:
        self._settings = settings
        self._catalog = catalog
        self._vocabulary = vocabulary

    def _engine_of(self, model: str, request: falcon.Request) -> tuple[str, EngineSpec]:
        entry = self._catalog.find(model).entry
        request.context.model = entry.id
        return entry.id, spec_of(entry, self._settings.now)


class Tokenize(_Resource):
    """Text to tokens."""

    @operation("Tokenize text", body=TokenizeRequest, answer=TokenizeObject)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Cuts a text into the model's tokens. The model is not loaded for it."""
        asked = decode(_tokenize, body.read(request, self._settings.now))
        for name in ("messages", "content") if asked.prompt is not None else ("messages",):
            if getattr(asked, name) is not None:
                raise RequestError("unsupported_parameter", param=name)
        if None not in (asked.add_special, asked.add_special_tokens) and asked.add_special != asked.add_special_tokens:
            raise RequestError("parameters_conflict", param="add_special", other="add_special_tokens")
        text = asked.content if asked.prompt is None else asked.prompt
        if text is None:
            raise RequestError("missing_required_parameter", param="prompt")
        model, spec = self._engine_of(asked.model, request)
        with ClientWatch(request.env):
            found = self._vocabulary.tokenize(
                model, spec, text, add_special=asked.adds_special, parse_special=asked.parse_special is not False
            )
        body.write(response, _tokenized(asked, found, spec.n_ctx))


class Detokenize(_Resource):
    """Tokens to text."""

    @operation("Detokenize tokens", body=DetokenizeRequest, answer=DetokenizeObject)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Joins the model's tokens to text, special ones included. The model is not loaded for it."""
        asked = decode(_detokenize, body.read(request, self._settings.now))
        model, spec = self._engine_of(asked.model, request)
        try:
            with ClientWatch(request.env):
                text = self._vocabulary.detokenize(model, spec, array("i", asked.tokens).tobytes())
        except EngineError as error:
            if error.code in FIELD_CODES:
                error.param = "tokens"
            raise
        body.write(response, DetokenizeObject(text, text))


def _tokenized(asked: TokenizeRequest, found: Tokens, n_ctx: int) -> TokenizeObject:
    tokens: list[int | TokenPiece] = [*found.tokens]
    if asked.with_pieces:
        tokens = [TokenPiece(token, _piece(data)) for token, data in zip(found.tokens, found.pieces, strict=True)]
    strings = [data.decode("utf-8", "replace") for data in found.pieces] if asked.return_token_strs else None
    return TokenizeObject(tokens, len(tokens), n_ctx, strings)


def _piece(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
