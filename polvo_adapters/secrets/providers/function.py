"""A function of your own as the provider of a secret."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Fetched, await_without_leak, extract_field
from polvo_adapters.secrets.providers.base import BaseProvider


class Function(BaseProvider):
    """A function as a provider.

    Args:
        function: Returns the secret, or a Fetched with its lifetime, or a mapping of fields. An exception that it
            raises becomes a SecretError without its text. A coroutine function is awaited by `Secret.aget`; `get` runs
            it on an event loop of its own, where none runs on the thread. So are coroutines that other functions
            return, by `aget` as well.
    """

    scheme = "function"

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    @property
    def fetch_async(self) -> Callable[[str, str | None], Awaitable[Fetched]] | None:
        """The asynchronous side, where the function is a coroutine function; see `Provider`."""
        return self._await if is_coroutine_function(self._function) else None

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret that the function returns; see `Provider.fetch`.

        Raises:
            ConfigurationError: It is a coroutine function, and an event loop runs on this thread.
        """
        return self._convert(name, self._ask(name, self._call), field)

    async def _await(self, name: str, field: str | None) -> Fetched:
        translate = partial(self._translate, name)
        return self._convert(name, await await_without_leak(self._function(), translate), field)

    def _call(self) -> Any:
        """Return what the function returns; a coroutine is run on an event loop of its own."""
        returned = self._function()
        if not inspect.iscoroutine(returned):
            return returned
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(returned)
        returned.close()
        raise ConfigurationError(
            "the secret comes from a coroutine function, and its get() would hold up the event loop that runs here; "
            "await its aget()"
        )

    def _convert(self, name: str, returned: Any, field: str | None) -> Fetched:
        value, lifetime = returned if isinstance(returned, Fetched) else (returned, None)
        return Fetched(extract_field(self.scheme, name, value, field), lifetime)


def is_coroutine_function(function: Callable[[], Any]) -> bool:
    """Return whether a function, or an object that is called as one, returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - of an object
