"""Where the resources of this package stand."""

from __future__ import annotations

from typing import Any

import falcon

from hoshikage_server.api.answering import Answering
from hoshikage_server.api.responses.kept import KeptCancel, KeptInput, KeptResponse
from hoshikage_server.api.responses.resource import ResponseInputTokens, Responses
from hoshikage_server.api.responses.store import ResponseStore
from hoshikage_server.engines.answers import Answers
from hoshikage_server.registry.catalog import Catalog
from hoshikage_server.settings import LiveSettings


def add_responses(app: falcon.App[Any, Any], settings: LiveSettings, catalog: Catalog, answers: Answers) -> None:
    """Adds /v1/responses and everything below it; what is kept lives as long as the application."""
    store = ResponseStore(settings)
    app.add_route("/v1/responses", Responses(settings, catalog, Answering(settings, answers), store))
    app.add_route("/v1/responses/input_tokens", ResponseInputTokens(settings, catalog, answers.vocabulary, store))
    app.add_route("/v1/responses/{response_id}", KeptResponse(store))
    app.add_route("/v1/responses/{response_id}/cancel", KeptCancel(store))
    app.add_route("/v1/responses/{response_id}/input_items", KeptInput(store))
