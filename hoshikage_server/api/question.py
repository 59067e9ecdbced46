"""A chat request as the engine takes it. Neither falcon nor gevent is needed: the command line asks engines as well."""

from __future__ import annotations

from hoshikage_server.api import conversation
from hoshikage_server.api.schema import ChatRequest
from hoshikage_server.registry.entry import ModelEntry


def question(chat: ChatRequest, entry: ModelEntry) -> dict[str, object]:
    """The fields of `wire.Generate` besides its id: the request's values, over those of the model's entry."""
    return {
        "messages": conversation.plain(chat.messages),
        "sampling": chat.sampling().over(entry.given.sampling),
        "max_tokens": chat.token_limit,
        "stop": (*chat.stops, *entry.stop),
        "form": chat.form(),
        "n_choices": chat.n or 1,
        "n_top_logprobs": chat.n_top_logprobs,
        "wants_progress": chat.return_progress is True,
        "wants_timings": chat.timings_per_token is True,
    }
