"""openai-python twice: the synchronous client and the asynchronous one, behind the same calls.

Both validate each answer and each chunk against the SDK's own models, which it does not do unless told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol

from openai import AsyncOpenAI, OpenAI
from server_process import ServerProcess
from shapes import KEY

_TIMEOUT_S = 120

Call = Callable[[Any], Any]


class Client(Protocol):
    """What tests do with either of them: `call` gets an OpenAI or an AsyncOpenAI."""

    def one(self, call: Call) -> Any:
        """What a method returns."""

    def all(self, call: Call) -> list[Any]:
        """What a stream yields."""

    def helper(self, call: Call, final: str) -> tuple[list[Any], Any]:
        """The events of a `.stream()` helper, and what its method `final` makes of them."""

    def lines(self, call: Call) -> list[str]:
        """The lines of a `with_streaming_response`, without the empty ones."""


class SyncClient:
    """openai.OpenAI."""

    def __init__(self, server: ServerProcess) -> None:
        self._client = OpenAI(**_options(server))

    def one(self, call: Call) -> Any:
        return call(self._client)

    def all(self, call: Call) -> list[Any]:
        made: Iterable[Any] = call(self._client)
        return list(made)

    def helper(self, call: Call, final: str) -> tuple[list[Any], Any]:
        with call(self._client) as stream:
            events = list(stream)
            return events, getattr(stream, final)()

    def lines(self, call: Call) -> list[str]:
        with call(self._client) as response:
            return [line for line in response.iter_lines() if line]

    def close(self) -> None:
        self._client.close()


class AsyncClient:
    """openai.AsyncOpenAI, with an event loop for each call."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    def one(self, call: Call) -> Any:
        async def run(client: AsyncOpenAI) -> Any:
            return await call(client)

        return self._run(run)

    def all(self, call: Call) -> list[Any]:
        async def run(client: AsyncOpenAI) -> list[Any]:
            made = call(client)
            stream: AsyncIterator[Any] = await made if isinstance(made, Awaitable) else made
            return [item async for item in stream]

        return self._run(run)

    def helper(self, call: Call, final: str) -> tuple[list[Any], Any]:
        async def run(client: AsyncOpenAI) -> tuple[list[Any], Any]:
            async with call(client) as stream:
                events = [event async for event in stream]
                return events, await getattr(stream, final)()

        return self._run(run)

    def lines(self, call: Call) -> list[str]:
        async def run(client: AsyncOpenAI) -> list[str]:
            async with call(client) as response:
                return [line async for line in response.iter_lines() if line]

        return self._run(run)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _run(self, do: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with AsyncOpenAI(**_options(self._server)) as client:
                return await do(client)

        return asyncio.run(run())


def _options(server: ServerProcess) -> dict[str, Any]:
    return {
        "base_url": f"{server.url}/v1",
        "api_key": KEY,
        "max_retries": 0,
        "timeout": _TIMEOUT_S,
        "_strict_response_validation": True,
    }
