"""Token counts and timings of an answer, as OpenAI's and llama-server's objects."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hoshikage_server.engines.wire import Done, Progress, Timings


class PromptDetails(msgspec.Struct, frozen=True):
    """What is in a prompt."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    """What is in an answer."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """How many tokens an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class TimingsObject(msgspec.Struct, frozen=True):
    """llama-server's: n tokens, their milliseconds, and what follows from these."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | msgspec.UnsetType = msgspec.UNSET
    draft_n_accepted: int | msgspec.UnsetType = msgspec.UNSET


class PromptProgress(msgspec.Struct, frozen=True):
    """llama-server's: how much of a prompt has been computed."""

    total: int
    cache: int
    processed: int
    time_ms: int


def usage_of(ends: Sequence[Done]) -> Usage:
    """The counts of all choices together.

    Args:
        ends: Of every choice.
    """
    n_prompt = sum(done.n_prompt for done in ends)
    n_completion = sum(done.n_completion for done in ends)
    return Usage(
        n_prompt,
        n_completion,
        n_prompt + n_completion,
        PromptDetails(sum(done.n_cached for done in ends)),
        CompletionDetails(sum(done.n_reasoning for done in ends)),
    )


def timings_of(timings: Timings | None) -> TimingsObject | msgspec.UnsetType:
    """Where an answer's time went; nothing where the engine does not say."""
    if timings is None:
        return msgspec.UNSET
    return TimingsObject(
        timings.n_cached,
        timings.n_prompt,
        timings.prompt_ms,
        *_rates(timings.n_prompt, timings.prompt_ms),
        timings.n_predicted,
        timings.predicted_ms,
        *_rates(timings.n_predicted, timings.predicted_ms),
        *((timings.n_drafted, timings.n_accepted) if timings.n_drafted else ()),
    )


def progress_of(frame: Progress) -> PromptProgress:
    """How far a prompt is."""
    return PromptProgress(frame.n_prompt, frame.n_cached, frame.n_done, round(frame.ms))


def _rates(n: int, ms: float) -> tuple[float, float]:
    """Milliseconds a token, and tokens a second; 0 where there is nothing to divide by."""
    return (ms / n if n else 0.0), (n * 1000 / ms if ms else 0.0)
