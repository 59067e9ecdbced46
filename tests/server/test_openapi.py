"""/openapi.json: complete, valid, and true, as far as a machine can try."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from typing import Any

import falcon.inspect
import msgspec
import pytest
import schemathesis
from api_client import Api, MakeApi
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from hoshikage_server.api import openapi
from hoshikage_server.api.struct_fields import always_there

IMPLIED = {"HEAD", "OPTIONS"}
MODELS = {"m": {"path": "/nowhere", "model": "m.gguf"}, "a/b:c@d": {"path": "/nowhere", "model": "other.gguf"}}


class Inner(msgspec.Struct):
    left_out: int | msgspec.UnsetType
    also: int | msgspec.UnsetType | None = msgspec.UNSET
    never: int | None = None


class Short(msgspec.Struct, omit_defaults=True):
    always: list[Inner]
    sometimes: dict[str, Inner | None] = {}


class Asked(msgspec.Struct):
    optional: int = 1


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    return make_api(MODELS)


@pytest.fixture(scope="module")
def document(api: Api) -> Any:
    return api.get("/openapi.json").json


def test_it_is_valid(document: Any) -> None:
    """By OpenAPI 3.1's own schema; no reference leads nowhere."""
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_nothing_is_forgotten(api: Api, document: Any) -> None:
    """Each route that the application has, with each method, by Falcon's own account."""
    described = {(path, verb.upper()) for path, verbs in document["paths"].items() for verb in verbs}
    for route in falcon.inspect.inspect_routes(api.client.app):
        path = re.sub(r":\w+\}", "}", route.path)
        methods = {method.method for method in route.methods if not method.internal} - IMPLIED
        assert methods, path
        for method in methods:
            assert [found for found in described if found[0].startswith(path) and found[1] == method], (path, method)


def test_names_are_unique_and_speak(document: Any) -> None:
    """Generated clients name their functions after them; people read the rest."""
    operations = [one for verbs in document["paths"].values() for one in verbs.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name) for name in ids), ids
    assert all(one["summary"] and one["description"] for one in operations)


def test_an_undeclared_responder(api: Api) -> None:
    """It is found out by whoever asks for the document, the tests first."""

    class Forgotten:
        def on_get(self, request: object, response: object) -> None:
            """Does something."""

    with pytest.raises(LookupError, match="get /v1/forgotten"):
        openapi.document({"/v1/forgotten": Forgotten()})


def test_fields_that_are_always_there_are_required(document: Any) -> None:
    """In answers; in requests only those without a default are."""
    schemas = document["components"]["schemas"]
    assert set(schemas["ErrorBody"]["required"]) == {"message", "type", "param", "code"}
    assert set(schemas["ModelObject"]["required"]) == {"id", "created", "hoshikage", "object", "owned_by"}
    assert set(schemas["ChatRequest"]["required"]) == {"model", "messages"}


def test_fields_that_may_be_unset_are_not() -> None:
    """Whether that is their default or not; nor are those that are left out while they have theirs."""

    found = always_there([Short, Asked], [Asked])
    assert found == {Short: ["always"], Inner: ["never"]}


def test_streams_are_described(document: Any) -> None:
    """The events' object, and how they end."""
    answer = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "text/event-stream"}
    assert "[DONE]" in answer["description"]


def test_it_needs_no_key_and_wakes_nothing(make_api: MakeApi) -> None:
    """What it says is no secret: tools fetch it before they have a key."""
    api = make_api(api_keys="k")
    assert api.get("/openapi.json").status_code == 200
    status = api.get("/v1/status", headers={"Authorization": "Bearer k"}).json
    assert status["n_engine_starts"] == 0


CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_it_holds(api: Api, mode: GenerationMode) -> None:
    """Requests made up from the document, good and bad: no 5xx, only documented statuses and types, bodies as said."""
    statuses: Counter[int] = Counter()
    for found in schemathesis.openapi.from_wsgi("/openapi.json", api.client.app).get_all_operations():
        one = found.ok()

        @limits(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
        @given(case=one.as_strategy(generation_mode=mode), is_known=st.integers(0, 3).map(bool))
        def ask(case: schemathesis.Case, is_known: bool) -> None:
            if is_known and isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                case.body["model"] = "m"
            if is_known and case.path_parameters:
                case.path_parameters["model_id"] = "m"
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            statuses[response.status_code] += 1

        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
            ask()
    assert {200, 400, 404} <= statuses.keys() or mode is not GenerationMode.POSITIVE, statuses
    assert 400 in statuses
