"""The engine: a KV cache with sequences in it, computed together step by step."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, ffi, lib
from hoshikage_core._guessing import Guesser
from hoshikage_core._loras import Lora, native_loras
from hoshikage_core._planning import Planner
from hoshikage_core._prefixes import ANYWHERE, Prefixes, count_common
from hoshikage_core._saved import Bed, SleepingPrefix
from hoshikage_core._step import NativeStep, Part
from hoshikage_core._texts import GrowingTexts
from hoshikage_core.errors import (
    CancelledError,
    ClosedError,
    ContextFullError,
    ContextLengthError,
    EngineBusyError,
    HoshikageError,
    InvalidArgumentError,
    NativeError,
    Reason,
)
from hoshikage_core.generation import Completion, Generation
from hoshikage_core.params import ContextShape
from hoshikage_core.prompt import ChatPrompt
from hoshikage_core.sampling import SamplingParams
from hoshikage_core.sequence import Sequence
from hoshikage_core.speculation import Speculation

if TYPE_CHECKING:
    from hoshikage_core.chat import ChatTemplate
    from hoshikage_core.model import Model

_CHOICES_MAX = 1024  # each keeps a sampler from the end of the prompt on


class Engine:
    """Generates text with a model; made by ``Model.engine()``.

    Thread-safe: one native step runs at a time, for all sequences together; ``cancel()`` of a generation or sequence
    needs no lock and interrupts the running step. A GPU cannot be interrupted: there, a step that is running goes to
    its end, and prompts are computed in pieces that take less than a tenth of a second.

    Attributes:
        model: The model.
        n_ctx: Tokens the KV cache holds, over all sequences.
        n_batch: Tokens one step computes at most.
        parallel: Sequences that may be alive at once.
        lock: Held during a native step.
        native: The native context.
    """

    def __init__(
        self,
        model: Model,
        shape: ContextShape,
        *,
        n_threads: int | None,
        n_threads_batch: int | None,
        cache_bytes: int,
        lora: SequenceOf[Lora] = (),
        speculation: Speculation | None = None,
    ) -> None:
        params = shape.native(n_threads, n_threads_batch)
        self.model = model
        self.n_ctx = shape.n_ctx
        self.n_batch = shape.n_batch
        self.parallel = shape.parallel
        self.lock = threading.RLock()
        self._sequences: dict[int, weakref.ref[Sequence]] = {}
        self._generations: list[weakref.ref[Generation]] = []
        self._closing = False
        self._computing: SequenceOf[Part] = ()
        self._chat: ChatTemplate | None = None
        self._texts = GrowingTexts(model)
        self.native_step = NativeStep(self.parallel, self.n_batch, awaits_end=bool(model.n_gpu_layers))
        self.native = Handle(_new_context(model, shape, params, lora), lib.hsk_context_free, "engine")
        self._prefixes = Prefixes(
            self.native,
            shape.n_ctx,
            self.native_step.n_held,
            n_back=0 if model.info.is_recurrent or model.info.is_hybrid else model.info.n_swa or ANYWHERE,
            room_bytes=cache_bytes,
        )
        self._guesser: Guesser | None = None
        if speculation is not None and shape.n_draft:
            try:
                self._guesser = Guesser(self.native, speculation, shape)
            except BaseException:
                self.native.close()
                raise
        n_guesses_max = 0 if self._guesser is None else self._guesser.n_max
        self._planner = Planner(shape, self._prefixes, n_guesses_max, is_interruptible=not model.n_gpu_layers)

    def stream(
        self,
        prompt: str | SequenceOf[int] | ChatPrompt,
        sampling: SamplingParams | None = None,
        *,
        max_tokens: int | None = None,
        stop: SequenceOf[str] = (),
        so_far: SequenceOf[int] = (),
        shape: ChatPrompt | None = None,
        n_top_logprobs: int | None = None,
        n_prompt_logprobs: int | None = None,
        n_choices: int = 1,
        first_choice: int = 0,
        thinking_budget: int | None = None,
        reuse: bool = True,
    ) -> Generation:
        """Starts an answer to a prompt, or several.

        Args:
            prompt: Text, token ids, or a rendered chat: its stop strings, its grammar and its reasoning block count.
            sampling: How tokens are chosen; None takes the defaults.
            max_tokens: Tokens of an answer at most; None: until the context is full; 0: compute the prompt only.
            stop: Texts that end an answer; they are not part of it.
            so_far: The tokens the answer already consists of, from a generation that was cut off: it goes on as that
                one would have, given the same prompt, stops and sampling (with its seed). They count towards
                ``max_tokens``, and their text comes in no event; if they complete the answer, the only event has no
                text. Computing a token among others rounds differently than computing it alone, so a choice between
                two tokens that are all but equally good may come out differently. Mirostat and adaptive_p learn from
                logits that are gone: they begin to learn anew.
            shape: The rendered chat that a prompt of token ids was made from.
            n_top_logprobs: Tell each token's log-probability, and those of so many likely ones in its place.
            n_prompt_logprobs: Tell the same of the prompt's tokens, but for the first. All of them are computed then,
                whatever ``reuse`` says, and in small pieces.
            n_choices: How many answers to give, one after the other from one computed prompt. Each is the one that
                ``choice_seed`` of the seed and of its number gives alone.
            first_choice: Where to begin; ``so_far`` is of this choice.
            thinking_budget: Tokens in the reasoning block at most; then it is closed. None: no limit. Without effect
                where ``shape`` names no tags for such a block.
            reuse: Begin with what earlier sequences have computed of the same first tokens; ``Generation.n_cached``
                says how many. Logits then differ by as much as computing tokens one by one or together does.

        Returns:
            A generation: iterate over it for its events.

        Raises:
            ContextLengthError: The prompt does not fit.
            EngineBusyError: All sequences are in use.
            GrammarError: A grammar or schema is wrong.
            InvalidArgumentError: Another argument is wrong.
            UnknownTokenError: A token of ``prompt`` or of ``logit_bias`` is not in the vocabulary.
            NativeError: The grammar does not allow ``so_far``.
        """
        if isinstance(prompt, ChatPrompt):
            if shape is not None:
                raise InvalidArgumentError(
                    "shape", Reason("shape_twice", "cannot be combined with a rendered chat as prompt")
                )
            shape, text = prompt, prompt.prompt
            self.model.require_room(text, self.n_ctx)
            prompt = self._texts.tokenize(text)
        elif isinstance(prompt, str):
            self.model.require_room(prompt, self.n_ctx)
            prompt = self.model.tokenize(prompt)
        so_far = _checks.token_ids("so_far", so_far)
        _checks.integer("n_choices", n_choices, 1, _CHOICES_MAX)
        _checks.integer("first_choice", first_choice, 0, n_choices - 1)
        if thinking_budget is not None:
            _checks.integer("thinking_budget", thinking_budget, 0, 2**31 - 1)
        reuse = reuse and n_prompt_logprobs is None  # what was computed before has left no logits
        sequence = self._open(prompt, sampling, shape, thinking_budget, first_choice, reuse)
        try:
            generation = Generation(
                sequence,
                max_tokens,
                stop,
                so_far,
                shape=shape,
                n_top_logprobs=n_top_logprobs,
                n_prompt_logprobs=n_prompt_logprobs,
                n_choices=n_choices,
                first_choice=first_choice,
            )
        except BaseException:
            sequence.close()
            raise
        with self.lock:
            self._generations.append(weakref.ref(generation))
        return generation

    def stream_chat(
        self,
        messages: SequenceOf[Mapping[str, Any]],
        sampling: SamplingParams | None = None,
        *,
        max_tokens: int | None = None,
        stop: SequenceOf[str] = (),
        n_top_logprobs: int | None = None,
        n_choices: int = 1,
        thinking_budget: int | None = None,
        **form: Any,
    ) -> Generation:
        """Starts the assistant's answer to a conversation: ``ChatTemplate.render`` and ``stream`` in one.

        Args:
            messages: As in OpenAI's chat API.
            sampling: How tokens are chosen; None takes the defaults.
            max_tokens: As in ``stream``.
            stop: As in ``stream``.
            n_top_logprobs: As in ``stream``.
            n_choices: As in ``stream``.
            thinking_budget: As in ``stream``.
            form: What ``ChatTemplate.render`` takes besides the messages: ``tools``, ``json_schema`` and so on.

        Raises:
            ChatTemplateError: The model's template refused the messages.
            ContextLengthError: The conversation does not fit.
            EngineBusyError: All sequences are in use.
            GrammarError: A grammar or schema is wrong.
            InvalidArgumentError: Another argument is wrong.
        """
        with self.lock:
            if self._chat is None:
                self._chat = self.model.chat()
        return self.stream(
            self._chat.render(messages, **form),
            sampling,
            max_tokens=max_tokens,
            stop=stop,
            n_top_logprobs=n_top_logprobs,
            n_choices=n_choices,
            thinking_budget=thinking_budget,
        )

    def generate(
        self,
        prompt: str | SequenceOf[int] | ChatPrompt,
        sampling: SamplingParams | None = None,
        *,
        max_tokens: int | None = None,
        stop: SequenceOf[str] = (),
        n_top_logprobs: int | None = None,
        n_prompt_logprobs: int | None = None,
        thinking_budget: int | None = None,
    ) -> Completion:
        """The whole answer to a prompt; arguments and errors are those of ``stream``."""
        with self.stream(
            prompt,
            sampling,
            max_tokens=max_tokens,
            stop=stop,
            n_top_logprobs=n_top_logprobs,
            n_prompt_logprobs=n_prompt_logprobs,
            thinking_budget=thinking_budget,
        ) as generation:
            return generation.result()

    def chat(
        self,
        messages: SequenceOf[Mapping[str, Any]],
        sampling: SamplingParams | None = None,
        *,
        max_tokens: int | None = None,
        stop: SequenceOf[str] = (),
        n_top_logprobs: int | None = None,
        thinking_budget: int | None = None,
        **form: Any,
    ) -> Completion:
        """The whole answer to a conversation; arguments and errors are those of ``stream_chat``."""
        with self.stream_chat(
            messages,
            sampling,
            max_tokens=max_tokens,
            stop=stop,
            n_top_logprobs=n_top_logprobs,
            thinking_budget=thinking_budget,
            **form,
        ) as generation:
            return generation.result()

    def open(self, tokens: SequenceOf[int], sampling: SamplingParams | None = None, *, reuse: bool = True) -> Sequence:
        """Opens a sequence to compute and sample by hand; nothing is computed yet.

        Args:
            tokens: Token ids, at least one.
            sampling: How ``sample()`` and ``step()`` choose; None takes the defaults.
            reuse: As in ``stream``.

        Raises:
            ContextLengthError: ``tokens`` do not fit.
            EngineBusyError: All sequences are in use.
            GrammarError: ``sampling``'s grammar or schema is wrong.
            InvalidArgumentError: No tokens, or an argument of the wrong type.
            UnknownTokenError: A token is not in the vocabulary.
        """
        return self._open(tokens, sampling, reuse=reuse)

    def _open(
        self,
        tokens: SequenceOf[int],
        sampling: SamplingParams | None,
        shape: ChatPrompt | None = None,
        thinking_budget: int | None = None,
        choice: int = 0,
        reuse: bool = True,
    ) -> Sequence:
        tokens = _checks.token_ids("tokens", tokens)
        if not tokens:
            raise InvalidArgumentError("tokens", Reason("no_token", "must hold at least one token"))
        if len(tokens) >= self.n_ctx:
            raise ContextLengthError(len(tokens), self.n_ctx)
        sampling = SamplingParams() if sampling is None else sampling
        _checks.instance("sampling", sampling, SamplingParams, "SamplingParams")
        _checks.in_vocabulary("tokens", tokens, self.model.info.n_vocab)
        _checks.in_vocabulary("logit_bias", sampling.logit_bias, self.model.info.n_vocab)
        if shape is not None:
            _checks.instance("shape", shape, ChatPrompt, "a rendered chat")
            if shape.grammar:
                sampling.require_no_grammar()
        with self.lock:
            self.require_open()
            self._reap()
            if len(self._sequences) == self.parallel:
                raise EngineBusyError(self.parallel)
            living = {seq_id: reference() for seq_id, reference in self._sequences.items()}
            running = {seq_id: sequence.tokens if sequence else [] for seq_id, sequence in living.items()}
            borders = self._borders(tokens, shape) if reuse else []
            seq_id = self._prefixes.take(tokens if reuse else [], running, borders)
            try:
                sequence = Sequence(
                    self,
                    seq_id,
                    tokens,
                    sampling,
                    shape=shape,
                    thinking_budget=thinking_budget,
                    choice=choice,
                    reuse=reuse,
                )
            except BaseException:
                self._prefixes.keep(seq_id, tokens)
                raise
            self._sequences[seq_id] = weakref.ref(sequence)
            return sequence

    def step(self) -> bool:
        """Computes one step of every running generation together.

        Each gets its next token, or a piece of its prompt computed; ``Generation.take()`` has the outcome.

        Returns:
            False if no generation is running.

        Raises:
            ClosedError: The engine is closed.
        """
        with self.lock:
            if self._closing:
                self._end_running()
            self.require_open()
            running = self._running()
            if len(running) != len(self._generations):
                self._reap()
            begun = time.perf_counter()
            chosen, parts = self._planner.plan(running, self._guess)
            if not parts:
                return bool(running)
            try:
                sampled = self.compute(parts)
            except CancelledError:
                return True  # the next plan leaves out what was cancelled
            except ContextFullError:
                chosen[-1].finish("length")
                return True
            if self._guesser is not None:
                self._guesser.learn(parts, sampled, time.perf_counter() - begun)
            for generation, (sequence, n_tokens, samples, guesses), tokens in zip(chosen, parts, sampled, strict=True):
                if sequence.is_scored:
                    self._rest()
                    generation.on_scored(n_tokens)
                if guesses:
                    generation.on_guesses(len(guesses), tokens)
                elif tokens:
                    generation.on_token(tokens[0])
                elif not samples and not generation.samples and not sequence.n_pending:
                    generation.on_logits()
                if sequence.failure is not None:
                    generation.fail(sequence.failure)
            if all(generation.finished for generation in running):
                self._rest()
            return True

    def _rest(self) -> None:
        """Lets the threads sleep: they look out for the next step, in the way of whoever gets the answer."""
        with self.native as context:
            lib.hsk_context_rest(context)

    def lie_down(self, file: int, *, room_bytes: int, limit_s: float) -> tuple[SleepingPrefix, ...]:
        """Puts what it has computed into a file, for the next engine of the same model and parameters.

        What runs is ended; afterwards the engine has nothing more to do than to be closed.

        Args:
            file: A descriptor; what ``wake`` was told of stays where it is, as far as it is still of use.
            room_bytes: How much of the file may be used.
            limit_s: How long that may take; what is not written by then is left out.

        Raises:
            ClosedError: The engine is closed.
        """
        with self.lock:
            self._end_running()
            self.require_open()
            bed = Bed(file, room_bytes, time.monotonic() + limit_s)
            return self._prefixes.lie_down(bed, self._planner.s_per_token)

    def wake(self, file: int, places: Iterable[SleepingPrefix]) -> None:
        """Takes over what another engine has left by ``lie_down``. It is read when a prompt needs it.

        What is damaged is computed again.

        Args:
            file: A descriptor of that file; it stays the caller's, and open as long as the engine.
            places: What ``lie_down`` returned.
        """
        with self.lock:
            self.require_open()
            self._prefixes.wake(file, places)

    @property
    def cuts_anywhere(self) -> bool:
        """Whether the memory of a sequence can go back to any token; else only to where it ends and to checkpoints."""
        return self._prefixes.cuts_anywhere

    @property
    def kept_bytes(self) -> int:
        """What it keeps of ended sequences in host memory, ``cache_bytes`` at most."""
        return self._prefixes.kept_bytes

    @property
    def progress(self) -> int:
        """A number that grows while a step computes: on the CPU hundreds of times a step, on a GPU once.

        Any thread: it waits for no step. Who watches it can tell a long computation from one that hangs.

        Raises:
            ClosedError: The engine is closed.
        """
        with self.native as context:
            return int(lib.hsk_context_progress_get(context))

    def close(self) -> None:
        """Ends what is running and frees the KV cache; using it then raises ClosedError. May be called twice."""
        self._closing = True
        self._interrupt()
        with self.lock:
            self._end_running()
            self.native.close()
            if self._chat is not None:
                self._chat.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def interrupt(self, sequence: Sequence) -> None:
        """Ends the running native step early if the sequence is part of it. Any thread.

        Not where that would cost other sequences all they hold: then the step goes to its end.
        """
        parts = self._computing
        if any(part[0] is sequence for part in parts) and (len(parts) == 1 or self._prefixes.goes_back):
            self._interrupt()

    def _interrupt(self) -> None:
        try:
            with self.native as context:
                lib.hsk_context_interrupt(context)
        except ClosedError:
            pass  # then nothing is running

    def compute(self, parts: SequenceOf[Part]) -> list[SequenceOf[int]]:
        """One native step; the lock must be held.

        Args:
            parts: Sequence, how many of its pending tokens, whether to sample after them (the logits are kept anyway
                when nothing is pending any more), and guesses of what that will be, one token after the other.

        Returns:
            The tokens sampled for each part, appended to its sequence: one, none, or the guesses that were right and
            one more. A sampler that failed leaves its error in ``Sequence.failure``; the other sequences go on.

        Raises:
            CancelledError: A sequence of the step was cancelled, the engine is being closed, or an interrupt came late;
                nothing was computed. A model whose memory cannot go back forgets its sequences: they are pending again.
            ContextFullError: The KV cache has no room; nothing was computed.
        """
        n_tokens = sum([part[1] + len(part[3]) for part in parts])
        if n_tokens > self._prefixes.make_room(n_tokens):
            raise ContextFullError(f"the context of {self.n_ctx} tokens is full")
        try:
            # Before the look at `cancelled`: whoever cancels now sees that it has to interrupt.
            self._computing = parts
            for part in parts:
                if part[0].cancelled or self._closing:
                    raise CancelledError("the step was cancelled")
            begun = time.monotonic()
            try:
                with self.native as context:
                    sampled = self.native_step.run(context, parts)
            except HoshikageError:
                self._prefixes.on_failed()
                raise
            self._planner.learn(parts, n_tokens, time.monotonic() - begun)
            self._prefixes.on_computed()
            return sampled
        except KeyboardInterrupt:
            # Ctrl-C came somewhere in between: what the sampler and the sequence know may differ by a token.
            for sequence, *_ in parts:
                sequence.cancelled = True
            raise
        finally:
            self._computing = ()

    def release(self, seq_id: int, tokens: SequenceOf[int]) -> None:
        """Ends a sequence, whose tokens these are; the lock must be held."""
        if self._sequences.pop(seq_id, None) is not None and not self.native.closed:
            self._prefixes.keep(seq_id, tokens)

    def n_at_once(self, seq_id: int, n: int) -> int:
        """How many of a sequence's next n tokens one step can compute; the lock must be held."""
        return self._planner.n_at_once(seq_id, n)

    def go_back(self, seq_id: int, n: int) -> None:
        """Lets a sequence hold its first n tokens only, or as many of them as it can; the lock must be held."""
        self._prefixes.go_back(seq_id, n)

    def _borders(self, tokens: SequenceOf[int], shape: ChatPrompt | None) -> list[int]:
        """After how many tokens a later prompt may part from this one."""
        if not self._prefixes.needs_borders:
            return []
        last = len(tokens) - 1
        if shape is None or not shape.borders:
            return [last]
        texts = [shape.prompt[:border] for border in shape.borders]
        before = [self.model.tokenize(text, parse_special=True) for text in texts if text]
        return [min(count_common(its, list(tokens)), last) for its in before]

    def _running(self) -> list[Generation]:
        return [g for reference in self._generations if (g := reference()) is not None and not g.finished]

    def _end_running(self) -> None:
        for generation in self._running():
            generation.finish("cancelled")

    def _reap(self) -> None:
        """Takes back the sequences that nobody holds any more."""
        for seq_id in [seq_id for seq_id, reference in self._sequences.items() if reference() is None]:
            self.release(seq_id, ())  # nobody knows any more which they were
        self._generations = [g for g in self._generations if (alive := g()) is not None and not alive.finished]

    def _guess(self, generation: Generation, n_spare: int, n_decoding: int) -> SequenceOf[int]:
        """Guesses of what comes next, as many as there is room for and are worth it."""
        assert self._guesser is not None
        n_max = min(n_spare, generation.n_guesses_max)
        if n_max <= 0:
            return ()
        try:
            self._computing = [(generation.sequence, 1, True, ())]  # a draft model computes, and that can be cancelled
            return self._guesser.guess(generation.sequence, n_max, n_decoding)
        finally:
            self._computing = ()

    def require_open(self) -> None:
        """Raises ClosedError once the engine is closed."""
        if self._closing:
            raise ClosedError("the engine is closed")


def _new_context(model: Model, shape: ContextShape, params: Any, lora: SequenceOf[Lora]) -> Any:
    model.require_context_memory(shape)
    out = ffi.new("hsk_context **")
    try:
        with native_loras(model, lora) as loras, model.native as native:
            call(lib.hsk_context_new, native, params, *loras, out)
    except NativeError:
        model.require_context_memory(shape)  # the likeliest reason, and the only one with figures
        raise
    return out[0]
