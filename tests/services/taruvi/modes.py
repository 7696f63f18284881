"""Calls of both kinds of clients, from the same tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from polvo_adapters.services.taruvi import Client

MODES = ("sync", "async")


def call(
    mode: str,
    url: str,
    use: Callable[[Any], Any],
    token: str | None = "access-0",
    *,
    sign: Callable[[Any], Any] | None = None,
    **keywords: Any,
) -> Any:
    """Return what a function of a client returns, which is closed afterwards.

    Args:
        mode: The kind of the client.
        url: URL of the API.
        use: The function; a coroutine that it returns is awaited.
        token: The token that the client is signed in with, or None.
        sign: Signs the client in in place of that.
        **keywords: Those of `Client`.
    """
    client: Any = Client(url, "my-app", mode=mode, **{"max_retries": 0, **keywords})  # type: ignore[call-overload]
    if sign is not None:
        client = sign(client)
    elif token is not None:
        client = client.auth.signInWithToken(token)
    if mode == "sync":
        with client:
            return use(client)

    async def main() -> Any:
        async with client:
            return await use(client)

    return asyncio.run(main())
