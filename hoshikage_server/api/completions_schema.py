"""The body of POST /v1/completions."""

from __future__ import annotations

from array import array
from typing import Annotated

import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api.schema import Choices, GenerateRequest, check, decode, exclude
from hoshikage_server.engines.form import Form
from hoshikage_server.engines.sampling import INT32_MAX, TokenId
from hoshikage_server.engines.wire import TextPrompt
from hoshikage_server.errors import RequestError

_PROMPTS_MAX = 2048
_DEFAULT_MAX_TOKENS = 16  # OpenAI's
Tokens = Annotated[list[TokenId], Meta(min_length=1)]
# One struct cannot tell lists of texts, of ids and of lists of ids apart while decoding: `_prompts_of` does.
Prompt = str | Annotated[list[str | TokenId | Tokens], Meta(min_length=1)]


class CompletionRequest(GenerateRequest, frozen=True, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: Prompt | None = None
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=INT32_MAX)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    best_of: Choices | None = None

    @property
    def token_limit(self) -> int:
        """max_tokens, or OpenAI's default for this endpoint."""
        return _DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def scores_prompt(self) -> bool:
        """Whether the tokens of the prompt are asked for, and how probable they are."""
        return self.echo is True and self.logprobs is not None

    @property
    def n_returned(self) -> int:
        """Choices of each prompt that the client gets."""
        return self.n or 1

    @property
    def n_made(self) -> int:
        """Choices of each prompt that are generated; the best of them are returned."""
        return self.best_of or self.n_returned

    def prompts(self) -> list[TextPrompt]:
        """Each prompt to complete; at least one.

        Raises:
            RequestError: Texts and token ids are mixed, or there are too many prompts.
        """
        prompts = _prompts_of(self.prompt)
        if len(prompts) > _PROMPTS_MAX:
            raise RequestError("array_above_max_length", param="prompt", limit=_PROMPTS_MAX, got=len(prompts))
        return [msgspec.structs.replace(prompt, suffix=self.suffix or None) for prompt in prompts]

    def form(self) -> Form:
        """What the text has to look like."""
        return Form(json_schema=self.json_schema, grammar=self.grammar)


_decoder = msgspec.json.Decoder(CompletionRequest)


def decode_completion(body: bytes) -> CompletionRequest:
    """Reads and checks a request.

    Raises:
        RequestError: The body is no JSON, or a field of it cannot be; `param` names the field.
    """
    request = decode(_decoder, body)
    check(request)
    if request.n_made < request.n_returned:
        raise RequestError(
            "integer_below_min_value", param="best_of", limit=request.n_returned, got=invalid.show(request.best_of)
        )
    if request.n_made > request.n_returned and request.stream:  # which is the best is known at the end
        raise RequestError("parameters_conflict", param="best_of", other="stream")
    if request.echo:
        exclude(request, "suffix", "echo")
    request.prompts()
    return request


def _prompts_of(prompt: Prompt | None) -> list[TextPrompt]:
    if prompt is None or isinstance(prompt, str):
        return [TextPrompt(text=prompt or "")]
    kind = type(prompt[0])
    for index, item in enumerate(prompt):
        if type(item) is not kind:
            raise RequestError("mixed_prompts", param=f"prompt[{index}]")
    if ids := [item for item in prompt if isinstance(item, int)]:
        return [_of_tokens(ids)]
    texts = [TextPrompt(text=item) for item in prompt if isinstance(item, str)]
    return texts or [_of_tokens(item) for item in prompt if isinstance(item, list)]


def _of_tokens(ids: list[int]) -> TextPrompt:
    return TextPrompt(tokens=array("i", ids).tobytes())
