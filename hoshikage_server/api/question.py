"""A chat request as the engine takes it. Neither falcon nor gevent is needed: the command line asks engines as well."""

from __future__ import annotations

from typing import Any

from hoshikage_server.api import conversation
from hoshikage_server.api.schema import ChatRequest
from hoshikage_server.registry.catalog import Served


def question(chat: ChatRequest, served: Served, language: str) -> dict[str, Any]:
    """The fields of `wire.Generate` besides its id: the request's values, over the persona's, over the model's.

    Args:
        chat: The request.
        served: What answers it.
        language: The person's, in which a persona speaks that does not say.
    """
    return {
        "messages": served.opening(conversation.plain(chat.messages), chat.language, language),
        "sampling": chat.sampling().over(served.sampling),
        "max_tokens": chat.token_limit,
        "stop": (*chat.stops, *served.stop),
        "form": served.form(chat.form()),
        "n_choices": chat.n or 1,
        "n_top_logprobs": chat.n_top_logprobs,
        "wants_progress": chat.return_progress is True,
        "wants_timings": chat.timings_per_token is True,
        "reuses": chat.cache_prompt is not False,
    }
