"""Responses that are kept: in memory only, bounded in number and size, and gone when the server ends.

Whoever knows a response's id and a key may read it. Ids cannot be guessed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hoshikage_server.api.responses.objects import Item, Response
from hoshikage_server.settings import LiveSettings

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Kept:
    """A response, and what it was an answer to: the items of the whole conversation until then."""

    response: Response
    input: tuple[Item, ...]
    n_bytes: int

    @property
    def items(self) -> tuple[Item, ...]:
        """The conversation, with the response at its end."""
        return (*self.input, *self.response.output)


class ResponseStore:
    """The latest responses. What is used moves to the end of those that are forgotten next.

    Args:
        settings: For `responses_max` and `responses_max_bytes`.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._items: dict[str, tuple[Item, int]] = {}  # by id, with the number of responses that have it
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, response: Response, given: Sequence[Item]) -> None:
        """Keeps a response, and forgets the oldest ones where there are too many."""
        limits = self._settings.now
        n_bytes = len(_encode(response)) + len(_encode(given))
        if limits.responses_max == 0 or n_bytes > limits.responses_max_bytes:
            return
        kept = Kept(response, tuple(given), n_bytes)
        self._kept[response.id] = kept
        self._n_bytes += n_bytes
        for item in kept.items:
            assert item.id is not None
            self._items[item.id] = (item, self._items.get(item.id, (item, 0))[1] + 1)
        while len(self._kept) > limits.responses_max or self._n_bytes > limits.responses_max_bytes:
            self.forget(next(iter(self._kept)))

    def find(self, response_id: str) -> Kept | None:
        """A response by its id."""
        kept = self._kept.get(response_id)
        if kept is not None:
            self._kept.move_to_end(response_id)
        return kept

    def find_item(self, item_id: str) -> Item | None:
        """An item of a kept conversation by its id."""
        return self._items.get(item_id, (None, 0))[0]

    def forget(self, response_id: str) -> bool:
        """Forgets a response, and what only it needs; False if there is none."""
        kept = self._kept.pop(response_id, None)
        if kept is None:
            return False
        self._n_bytes -= kept.n_bytes
        for item in kept.items:
            assert item.id is not None
            latest, n = self._items[item.id]
            if n > 1:
                self._items[item.id] = (latest, n - 1)
            else:
                del self._items[item.id]
        return True
