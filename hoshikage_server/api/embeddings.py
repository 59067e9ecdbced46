"""POST /v1/embeddings."""

from __future__ import annotations

import base64
import sys
from array import array

import falcon
import gevent
import msgspec

from hoshikage_server.api import body
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.embeddings_schema import (
    EmbeddingList,
    EmbeddingObject,
    EmbeddingRequest,
    EmbeddingUsage,
    decode_embedding,
)
from hoshikage_server.api.operations import operation
from hoshikage_server.engines.embeddings import Embeddings, Vectors
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.errors import EngineError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings

_encode = msgspec.json.Encoder().encode
_BYTES_AT_ONCE = 256 * 1024  # of vectors, until others get their turn: writing these as JSON takes some milliseconds


class EmbeddingsResource:
    """Turns texts into vectors."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, embeddings: Embeddings) -> None:
        self._settings = settings
        self._catalog = catalog
        self._embeddings = embeddings

    @operation("Create embeddings", body=EmbeddingRequest, answer=EmbeddingList)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers when all vectors are there."""
        settings = self._settings.now
        asked = decode_embedding(body.read(request, settings))
        inputs = asked.inputs()
        entry = self._catalog.find_model(asked.model)
        request.context.model = entry.id
        with ClientWatch(request.env):
            try:
                vectors = self._embeddings.embed(
                    entry.id,
                    spec_of(entry, settings),
                    inputs,
                    pooling=entry.given.embedding.pooling,
                    dimensions=asked.dimensions,
                )
            except EngineError as error:
                _blame(error, asked)
                raise
            data = _write(asked, vectors)
        response.data = data
        response.content_type = falcon.MEDIA_JSON


def _blame(error: EngineError, asked: EmbeddingRequest) -> None:
    """Names the request's field, which the engine does not know by that name."""
    index = error.values.get("index")
    if isinstance(index, int):
        is_list = isinstance(asked.input, list) and not isinstance(asked.input[0], int)
        error.param = f"input[{index}]" if is_list else "input"
        if error.code == "context_length_exceeded":
            error.code = "input_too_long"
    elif error.code == "integer_above_max_value":
        error.param = "dimensions"
    elif error.code == "model_cannot_embed":
        error.param = "model"


def _write(asked: EmbeddingRequest, vectors: Vectors) -> bytes:
    """The body. A large one takes a while, and others get their turn meanwhile."""
    objects: list[EmbeddingObject] = []
    n_bytes = 0
    for index, vector in enumerate(vectors.vectors):
        objects.append(EmbeddingObject(index, msgspec.Raw(_write_vector(vector, asked.encoding_format == "base64"))))
        n_bytes += len(vector)
        if n_bytes > _BYTES_AT_ONCE:
            n_bytes = 0
            gevent.sleep(0)
    usage = EmbeddingUsage(vectors.n_tokens, vectors.n_tokens)
    return _encode(EmbeddingList(objects, asked.model, usage))


def _write_vector(vector: bytes, is_base64: bool) -> bytes:
    floats = array("f")
    floats.frombytes(vector)
    if not is_base64:
        return _encode(floats.tolist())
    if sys.byteorder == "big":
        floats.byteswap()
    return b'"' + base64.b64encode(floats.tobytes()) + b'"'
