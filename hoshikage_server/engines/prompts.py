"""What the engine process makes of a question: a prompt, and a generation that answers it."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from hoshikage_core import (
    ChatPrompt,
    ChatTemplate,
    ContextLengthError,
    Engine,
    Generation,
    GrammarError,
    InvalidArgumentError,
    Model,
    Reason,
    SamplingParams,
    UnsupportedError,
)
from hoshikage_server.engines import wire
from hoshikage_server.engines.form import Form


class Prompts:
    """Makes prompts for one model.

    Args:
        model: The model.
        template: The chat template to use; None: the model's own, which is read when it is first needed.
    """

    def __init__(self, model: Model, template: ChatTemplate | None = None) -> None:
        self._model = model
        self._template = template

    def count(self, frame: wire.Count) -> int:
        """The tokens of a prompt; its form is compiled as well.

        Raises:
            HoshikageError: The prompt, or an answer of that form, cannot be had.
        """
        prompt = self._made(frame.messages, frame.form, frame.text)
        text = prompt.prompt if isinstance(prompt, ChatPrompt) else prompt
        if isinstance(text, list):
            self._model.require_tokens(text)
        elif frame.n_ctx is not None:
            self._model.require_room(text, frame.n_ctx)
        n_prompt = len(self._tokens(prompt))
        if frame.n_ctx is not None and n_prompt >= frame.n_ctx:
            raise ContextLengthError(n_prompt, frame.n_ctx)
        shape = prompt if isinstance(prompt, ChatPrompt) else None
        with self._blames_beginning(shape):
            self._model.require_sampler(_with_shape(SamplingParams(), frame.form, shape), shape)
        return n_prompt

    def start(self, engine: Engine, frame: wire.Generate, sampling: SamplingParams) -> Generation:
        """Begins an answer, or takes one up that another engine began.

        Raises:
            HoshikageError: It cannot be had.
        """
        so_far = frame.so_far
        n_prompt_logprobs = frame.n_prompt_logprobs
        if so_far is None:
            prompt = self._made(frame.messages, frame.form, frame.text)
            shape = prompt if isinstance(prompt, ChatPrompt) else None
            stop = frame.stop
        else:
            prompt = token_ids(so_far.prompt)
            shape = ChatPrompt.from_json(so_far.plan) if so_far.plan else None
            stop = so_far.stop
            if so_far.tokens or so_far.choice:  # those of the prompt were told before them
                n_prompt_logprobs = None
        with self._blames_beginning(shape):
            return engine.stream(
                prompt,
                _with_shape(sampling, frame.form, shape),
                max_tokens=frame.max_tokens,
                stop=stop,
                so_far=() if so_far is None else token_ids(so_far.tokens),
                shape=None if so_far is None else shape,
                n_top_logprobs=frame.n_top_logprobs,
                n_prompt_logprobs=n_prompt_logprobs,
                n_choices=frame.n_choices,
                first_choice=0 if so_far is None else so_far.choice,
                thinking_budget=frame.form.thinking_budget,
                reuse=frame.reuses,
            )

    def tokenize(self, frame: wire.Tokenize) -> wire.Tokens:
        """A text's tokens."""
        tokens = self._model.tokenize(frame.text, add_special=frame.add_special, parse_special=frame.parse_special)
        pieces = tuple(self._model.token_to_bytes(token, special=True) for token in tokens)
        return wire.Tokens(frame.id, tuple(tokens), pieces)

    def detokenize(self, frame: wire.Detokenize) -> wire.Plain:
        """The text of tokens.

        Raises:
            InvalidArgumentError: One of them is not in the vocabulary.
        """
        return wire.Plain(frame.id, self._model.detokenize(token_ids(frame.tokens), special=True))

    def _made(
        self, messages: list[dict[str, object]], form: Form, text: wire.TextPrompt | None
    ) -> ChatPrompt | str | list[int]:
        if text is None:
            return self._rendered(messages, form)
        if text.tokens:
            return token_ids(text.tokens)
        if text.suffix is not None:
            return self._filled(text.text, text.suffix)
        return text.text or self._beginning()

    def _rendered(self, messages: list[dict[str, object]], form: Form) -> ChatPrompt:
        if self._template is None:
            self._template = self._model.chat()
        made = self._template.render(
            messages,
            tools=form.tools or None,
            tool_choice=form.tool_choice,
            tool_name=form.tool_name,
            parallel_tool_calls=form.parallel_tool_calls,
            json_schema=form.json_schema,
            grammar=form.grammar,
            continue_final_message=form.continues_message,
            enable_thinking=form.enable_thinking,
            reasoning_format=form.reasoning_format,
            template_kwargs=form.template_kwargs or None,
        )
        if not made.prompt:  # of an empty answer that shall be continued, with nothing before it
            raise InvalidArgumentError("messages", Reason("nothing_rendered", "make an empty prompt"))
        return made

    @contextmanager
    def _blames_beginning(self, shape: ChatPrompt | None) -> Iterator[None]:
        """Where a grammar does not take the message that is to be continued, that message is at fault."""
        try:
            yield
        except GrammarError:
            if shape is None or not shape.prefix_content:
                raise
            opening = shape.generation_prompt.removesuffix(shape.prefix_content)
            self._model.require_sampler(SamplingParams(), dataclasses.replace(shape, generation_prompt=opening))
            text = "end with what no answer of this form begins with"
            raise InvalidArgumentError("messages", Reason("no_such_beginning", text)) from None

    def _filled(self, prefix: str, suffix: str) -> list[int]:
        try:
            return self._model.fill_in_middle(prefix, suffix)
        except UnsupportedError as error:
            raise InvalidArgumentError(
                "suffix", Reason("no_infill", "needs a model that can fill in the middle")
            ) from error

    def _beginning(self) -> list[int]:
        """What an empty prompt is: the token that texts begin with, or else the one that they end with."""
        info = self._model.info
        tokens = [token for token in (info.bos, info.eos) if token is not None and token >= 0]
        if not tokens:
            text = "must not be empty: this model has no token to begin with"
            raise InvalidArgumentError("prompt", Reason("empty_prompt", text))
        return tokens[:1]

    def _tokens(self, prompt: ChatPrompt | str | list[int]) -> list[int]:
        if isinstance(prompt, ChatPrompt):
            return self._model.tokenize(prompt.prompt, parse_special=True)
        return self._model.tokenize(prompt) if isinstance(prompt, str) else prompt


def token_ids(data: bytes) -> list[int]:
    """Ids from the bytes in which they cross."""
    ids = array("i")
    ids.frombytes(data)
    return ids.tolist()


def _with_shape(sampling: SamplingParams, form: Form, shape: ChatPrompt | None) -> SamplingParams:
    """What a text has to look like is the sampler's business; that of a chat's answer is in its prompt."""
    if shape is not None:
        return sampling
    return dataclasses.replace(sampling, grammar=form.grammar, json_schema=form.json_schema)
