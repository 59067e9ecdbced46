"""The body of POST /v1/embeddings, and the answer to it."""

from __future__ import annotations

from array import array
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api.schema import decode
from hoshikage_server.engines.embeddings import Inputs
from hoshikage_server.engines.sampling import INT32_MAX, Text, TokenId
from hoshikage_server.errors import RequestError

_INPUTS_MAX = 2048  # as OpenAI
TokenIds = Annotated[list[TokenId], Meta(min_length=1)]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/embeddings.

    Attributes:
        input: A text, a list of texts, the token ids of a text, or a list of those.
        dimensions: Only the first numbers of each vector, brought to the length 1 again.
    """

    model: Text
    input: Text | Annotated[list[Text | TokenId | TokenIds], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=INT32_MAX)] | None = None
    user: str | None = None

    def inputs(self) -> Inputs:
        """What is to be embedded.

        Raises:
            RequestError: The list holds things of several kinds, or too many.
        """
        given = self.input
        if isinstance(given, str):
            return Inputs(texts=(given,))
        kind = type(given[0])
        for index, item in enumerate(given):
            if type(item) is not kind:
                raise invalid.wrong_type(f"input[{index}]", item, given[0])
        tokens = [item for item in given if isinstance(item, int)]
        if tokens:
            return Inputs(tokens=(array("i", tokens).tobytes(),))
        if len(given) > _INPUTS_MAX:
            raise RequestError("array_above_max_length", param="input", limit=_INPUTS_MAX, got=len(given))
        texts = tuple(item for item in given if isinstance(item, str))
        return Inputs(texts, tuple(array("i", item).tobytes() for item in given if isinstance(item, list)))


class EmbeddingObject(msgspec.Struct, frozen=True):
    """One embedding: a list of numbers, or base64 of little-endian 32-bit floats."""

    index: int
    embedding: msgspec.Raw
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """How many tokens the inputs have."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True):
    """The answer."""

    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


_decoder: msgspec.json.Decoder[EmbeddingRequest] = msgspec.json.Decoder(EmbeddingRequest)


def decode_embedding(body: bytes) -> EmbeddingRequest:
    """Reads and checks a request.

    Raises:
        RequestError: The body is no JSON, or a field of it cannot be; `param` names the field.
    """
    return decode(_decoder, body)
