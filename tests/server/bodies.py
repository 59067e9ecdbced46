"""Bodies of chat requests: good ones, and good ones gone bad."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from hoshikage_server.api.schema import ChatRequest

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just({}) | st.just([]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FULL: dict[str, Any] = {
    **dict.fromkeys(ChatRequest.__struct_fields__),
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "assistant", "content": "y"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["a"],
    "response_format": {"type": "text"},
}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid body in which some values, anywhere, are replaced, removed or joined by others."""
    body: Any = json.loads(json.dumps(FULL))
    for _ in range(draw(st.integers(1, 4))):
        place = body
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(values)
            break
    data = json.dumps(body).encode()
    if draw(st.integers(0, 9)) == 0:
        position = draw(st.integers(0, len(data)))
        data = data[:position] + draw(st.binary(max_size=4)) + data[position + draw(st.integers(0, 3)) :]
    return data
