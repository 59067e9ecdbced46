"""Why a prompt was computed again: what the last ones had in common, and what became of it.

Tokens and messages of the last prompts stay in memory, and nothing of them is ever told but counts and positions.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hoshikage_server import logs

log = logging.getLogger(__name__)

Reason = Literal["changed", "evicted", "restarted", "cannot_cut", "disabled"]

_N_MAX = 16
_BYTES_MAX = 2 * 1024 * 1024
_TOKEN_BYTES = 4
_N_SLACK = 16  # tokens that are not worth a word: as many are computed as fast as they are copied

Texts = tuple[tuple[str, str], ...]
"""The messages of a conversation: role and content."""


@dataclass(frozen=True)
class Prompt:
    """A prompt that an engine has computed.

    Attributes:
        model: The model's id.
        engine: Which engine of which spec.
        texts: Its messages, those of a persona included; none of a plain text.
        tokens: What the template made of them, as the bytes of native 32-bit integers.
        n_cached: Tokens that did not have to be computed.
        reuses: Whether any might be taken over.
        cuts_anywhere: Whether the model's memory can go back to any token.
    """

    model: str
    spec: object
    engine: int
    texts: Texts
    tokens: bytes
    n_cached: int
    reuses: bool
    cuts_anywhere: bool

    @property
    def n_bytes(self) -> int:
        """What it takes to remember it, at most."""
        return len(self.tokens) + sum(4 * len(content) for _, content in self.texts)


@dataclass(frozen=True)
class Finding:
    """What became of a prompt.

    Attributes:
        model: The model's id.
        at: When its answer ended (Unix time).
        n_prompt: Its tokens.
        n_cached: How many did not have to be computed.
        n_expected: How many it has in common with one of the last prompts.
        reason: Why not more were reused: it differs from the prompt that it continues ("changed"), or what they have in
            common had no room to stay, belonged to an engine that is gone, ends where the model's memory cannot go back
            to, or was not to be used.
        message: Where it was changed: the first message that differs, counted from 0.
        character: How many characters of that message are the same.
    """

    model: str
    at: float
    n_prompt: int
    n_cached: int
    n_expected: int
    reason: Reason | None = None
    message: int | None = None
    character: int | None = None


class PromptLog:
    """The last prompts.

    Attributes:
        findings: What became of them, the oldest first.
    """

    def __init__(self) -> None:
        self.findings: deque[Finding] = deque(maxlen=_N_MAX)
        self._prompts: deque[Prompt] = deque(maxlen=_N_MAX)

    def note(self, prompt: Prompt) -> None:
        """Compares a prompt with those before, and remembers it."""
        earlier = [one for one in self._prompts if one.spec == prompt.spec]
        finding = _find(prompt, earlier)
        self.findings.append(finding)
        if finding.reason is not None:
            log.info(logs.fields(event="computed_again", **asdict(finding)))
        if prompt.n_bytes > _BYTES_MAX // 4:  # it would take the place of all others
            return
        self._prompts.append(prompt)
        while sum(one.n_bytes for one in self._prompts) > _BYTES_MAX:
            self._prompts.popleft()


def texts_of(messages: Iterable[Mapping[str, Any]]) -> Texts:
    """The messages of a question; calls are a part of their content."""

    def text(message: Mapping[str, Any]) -> str:
        rest = {name: value for name, value in message.items() if name not in ("role", "content")}
        content = message.get("content") or ""
        return f"{content}{json.dumps(rest)}" if rest else str(content)

    return tuple((str(message.get("role")), text(message)) for message in messages)


def _find(prompt: Prompt, earlier: Sequence[Prompt]) -> Finding:
    n_prompt = len(prompt.tokens) // _TOKEN_BYTES
    common = {id(one): _n_common(one.tokens, prompt.tokens) // _TOKEN_BYTES for one in earlier}
    best = max(reversed(earlier), key=lambda one: common[id(one)], default=None)
    n_expected = 0 if best is None else min(common[id(best)], n_prompt - 1)
    finding = Finding(prompt.model, time.time(), n_prompt, prompt.n_cached, n_expected)
    if best is not None and n_expected - prompt.n_cached >= _N_SLACK:
        return _because(finding, _loss(prompt, best))
    alike = max(reversed(earlier), key=lambda one: _n_same(one.texts, prompt.texts), default=None)
    if alike is None or len(alike.tokens) // _TOKEN_BYTES - common[id(alike)] < _N_SLACK:
        return finding
    return _because(finding, "changed", *place) if (place := _first_change(alike.texts, prompt.texts)) else finding


def _because(finding: Finding, reason: Reason, message: int | None = None, character: int | None = None) -> Finding:
    return Finding(**{**asdict(finding), "reason": reason, "message": message, "character": character})


def _loss(prompt: Prompt, before: Prompt) -> Reason:
    """Why what had been computed was not there."""
    if not prompt.reuses:
        return "disabled"
    if prompt.engine != before.engine:
        return "restarted"
    return "evicted" if prompt.cuts_anywhere else "cannot_cut"


def _first_change(before: Texts, now: Texts) -> tuple[int, int] | None:
    """Where one conversation differs from another that it continues; None if it does not, or is another one."""
    at = _n_common(before, now)
    if at == min(len(before), len(now)) or not _n_same(before, now):
        return None
    (role, text), (role_now, text_now) = before[at], now[at]
    return at, _n_common(text, text_now) if role == role_now else 0


def _n_same(left: Texts, right: Texts) -> int:
    """Messages that are the same at the same place; instructions are those of many conversations."""
    return sum(a == b and a[0] not in ("system", "developer") for a, b in zip(left, right, strict=False))


def _n_common(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How much two sequences have in common at their beginnings."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
