"""Responses that were kept: GET and DELETE /v1/responses/{id}, its input_items, and cancel."""

from __future__ import annotations

from typing import Annotated, Literal

import falcon
import msgspec
from msgspec import Meta

from hoshikage_server import invalid
from hoshikage_server.api import body
from hoshikage_server.api.operations import operation
from hoshikage_server.api.responses.objects import Item, Response
from hoshikage_server.api.responses.schema import check_include
from hoshikage_server.api.responses.store import Kept, ResponseStore
from hoshikage_server.errors import RequestError

_LIMIT = 20
_LIMIT_MAX = 100


class Deleted(msgspec.Struct, frozen=True):
    """A response is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(msgspec.Struct, frozen=True):
    """A page of items."""

    data: tuple[Item, ...]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class Page(msgspec.Struct, frozen=True):
    """Which items: at most `limit` (20) after one of them, the latest first unless `order` is "asc"."""

    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=_LIMIT_MAX)] = _LIMIT


class KeptResponse:
    """One of them."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    @operation(
        "Retrieve response",
        answer=Response,
        codes=("response_not_found", "response_not_in_background", "invalid_value"),
    )
    def on_get(self, request: falcon.Request, response: falcon.Response, response_id: str) -> None:
        """Shows it as it ended."""
        kept = _find(self._store, response_id)
        _check_include(request)
        if request.get_param("stream") == "true":
            raise RequestError("response_not_in_background", param="stream", response=response_id)
        body.write(response, kept.response)

    @operation("Delete response", answer=Deleted, codes=("response_not_found",))
    def on_delete(self, request: falcon.Request, response: falcon.Response, response_id: str) -> None:
        """Forgets it; responses that continued it stay."""
        _find(self._store, response_id)
        self._store.forget(response_id)
        body.write(response, Deleted(response_id))


class KeptInput:
    """What one of them was an answer to."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    @operation(
        "List input items", answer=ItemList, query=Page, codes=("response_not_found", "item_not_found", "invalid_value")
    )
    def on_get(self, request: falcon.Request, response: falcon.Response, response_id: str) -> None:
        """Lists the items of the whole conversation, the latest first unless told otherwise."""
        items = _find(self._store, response_id).input
        _check_include(request)
        order = request.get_param("order") or "desc"
        if order not in ("asc", "desc"):
            raise RequestError("invalid_value", param="order", got=invalid.show(order), supported="'asc', 'desc'")
        if order == "desc":
            items = items[::-1]
        begin = _after(items, request.get_param("after"))
        page = items[begin : begin + _limit(request.get_param("limit"))]
        has_more = begin + len(page) < len(items)
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        body.write(response, ItemList(page, has_more, first, last))


class KeptCancel:
    """Cancelling: what is kept has ended, and what runs is cancelled by closing its connection."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    @operation("Cancel response", answer=Response, codes=("response_not_found", "response_not_in_background"))
    def on_post(self, request: falcon.Request, response: falcon.Response, response_id: str) -> None:
        """Refuses, as OpenAI does for what was not begun in the background."""
        _find(self._store, response_id)
        raise RequestError("response_not_in_background", response=response_id)


def _find(store: ResponseStore, response_id: str) -> Kept:
    kept = store.find(response_id)
    if kept is None:
        raise RequestError("response_not_found", param="response_id", response=response_id)
    return kept


def _check_include(request: falcon.Request) -> None:
    """Of what it may name all is there that was made."""
    for name in ("include", "include[]"):  # OpenAI's clients write the second
        check_include(request.get_param_as_list(name) or ())


def _after(items: tuple[Item, ...], item_id: str | None) -> int:
    if item_id is None:
        return 0
    for index, item in enumerate(items):
        if item.id == item_id:
            return index + 1
    raise RequestError("item_not_found", param="after", item=item_id)


def _limit(text: str | None) -> int:
    if text is None:
        return _LIMIT
    try:
        limit = int(text)
    except ValueError:
        raise RequestError(
            "invalid_value", param="limit", got=invalid.show(text), supported=f"1-{_LIMIT_MAX}"
        ) from None
    if limit < 1:
        raise RequestError("integer_below_min_value", param="limit", limit=1, got=limit)
    if limit > _LIMIT_MAX:
        raise RequestError("integer_above_max_value", param="limit", limit=_LIMIT_MAX, got=limit)
    return limit
