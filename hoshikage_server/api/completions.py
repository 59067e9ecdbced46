"""POST /v1/completions: texts continued, without a conversation around them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import falcon

from hoshikage_server.api import body
from hoshikage_server.api.answering import Answering, Asked
from hoshikage_server.api.blame import blame_field
from hoshikage_server.api.client import ClientWatch
from hoshikage_server.api.completions_reply import Completion, CompletionEvents, completion
from hoshikage_server.api.completions_schema import CompletionRequest, decode_completion
from hoshikage_server.api.heading import new_heading
from hoshikage_server.api.operations import operation
from hoshikage_server.engines.spec import spec_of
from hoshikage_server.engines.vocabulary import Vocabulary
from hoshikage_server.engines.wire import TextPrompt
from hoshikage_server.errors import ServerError
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.registry.entry import ModelEntry
from hoshikage_server.settings import LiveSettings

_FIELDS = {
    "tokens": "prompt",
    "prompt_too_long": "prompt",
    "invalid_json_schema": "json_schema",
    "model_cannot_generate": "model",
}


class Completions:
    """Continues texts, streamed or not; several prompts one after the other."""

    def __init__(self, settings: LiveSettings, catalog: Catalog, answering: Answering, vocabulary: Vocabulary) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answering = answering
        self._vocabulary = vocabulary

    @operation("Create completion", body=CompletionRequest, answer=Completion, events=Completion)
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answers."""
        wanted = decode_completion(body.read(request, self._settings.now))
        entry = self._catalog.find_model(wanted.model)
        request.context.model = entry.id
        prompts = wanted.prompts()
        if len(prompts) > 1:
            self._refuse_early(request, entry, wanted, prompts)
        echoes = self._echoes(request, entry, wanted, prompts) if wanted.echo else ("",) * len(prompts)
        # A choice begins with its prompt's echo.
        beginnings = tuple(echo for echo in echoes for _ in range(wanted.n_made))
        heading = functools.partial(new_heading, "cmpl", wanted.model)
        asked = Asked(
            entry,
            tuple(_question(wanted, entry, prompt) for prompt in prompts),
            is_streamed=wanted.stream is True,
            new_events=lambda answer: CompletionEvents(heading(answer.fingerprint), beginnings, wanted),
            complete=lambda answer: completion(heading(answer.fingerprint), answer, beginnings, wanted),
            blame=functools.partial(_blame, wanted),
        )
        self._answering.respond(request, response, asked)

    def _refuse_early(
        self, request: falcon.Request, entry: ModelEntry, wanted: CompletionRequest, prompts: Sequence[TextPrompt]
    ) -> None:
        """Of several prompts none is answered where one cannot be."""
        spec = spec_of(entry, self._settings.now)
        with ClientWatch(request.env):
            for index, prompt in enumerate(prompts):
                question = {"messages": [], "text": prompt}
                try:
                    self._vocabulary.refuse_early(entry.id, spec, question, looks_closely=bool(prompt.tokens))
                except ServerError as error:
                    _blame(wanted, error)
                    error.param = f"prompt[{index}]" if error.param == "prompt" else error.param
                    raise

    def _echoes(
        self, request: falcon.Request, entry: ModelEntry, wanted: CompletionRequest, prompts: Sequence[TextPrompt]
    ) -> tuple[str, ...]:
        spec = spec_of(entry, self._settings.now)
        try:
            with ClientWatch(request.env):
                texts = {
                    tokens: self._vocabulary.detokenize(entry.id, spec, tokens)
                    for tokens in dict.fromkeys(prompt.tokens for prompt in prompts if prompt.tokens)
                }
        except ServerError as error:
            _blame(wanted, error)
            raise
        return tuple(texts.get(prompt.tokens, prompt.text) for prompt in prompts)


def _question(wanted: CompletionRequest, entry: ModelEntry, prompt: TextPrompt) -> dict[str, object]:
    return {
        "messages": [],
        "text": prompt,
        "sampling": wanted.sampling().over(entry.given.sampling),
        "max_tokens": wanted.token_limit,
        "stop": (*wanted.stops, *entry.stop),
        "form": wanted.form(),
        "n_choices": wanted.n_made,
        "n_top_logprobs": 0 if wanted.logprobs is None and wanted.n_made > wanted.n_returned else wanted.logprobs,
        "n_prompt_logprobs": wanted.logprobs if wanted.scores_prompt else None,
        "wants_progress": wanted.return_progress is True,
        "wants_timings": wanted.timings_per_token is True,
        "reuses": wanted.cache_prompt is not False and not wanted.scores_prompt,
    }


def _blame(wanted: CompletionRequest, error: ServerError) -> None:
    if error.code == "context_length_exceeded":
        error.code = "prompt_too_long"
    blame_field(error, wanted, _FIELDS, "grammar" if wanted.grammar else "json_schema")
