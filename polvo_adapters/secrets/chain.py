"""Secrets that several sources may have: the first that has the secret is used.

Theory of operation. An app has settings of its own and inherits those of its site. So a source that answers that it has
no such secret, or no such field, is passed over. A source that cannot be asked is an error: while the app's own secret
is out of reach, the site's must not take its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.secrets.provider import Fetched, Provider, find_async_fetch, is_local, renew_or_fetch
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.secrets.secret import Secret, resolve_source

_Ask = Callable[[Provider, str, "str | None"], Fetched]
_HAS_NOT = ("not found", "no such field")
_FLIGHTS = SharedCalls()


class FirstOf(BaseProvider):
    """Several sources that are asked in order; see `first_of`.

    Args:
        *sources: URIs, providers, functions or Secrets, in the order in which they are asked. A provider is asked for
            the name that this one is asked for.

    Raises:
        ConfigurationError: There is no source, or one of them is not a source.
        TypeError: A provider lacks a member of `Provider`.
    """

    scheme = "first-of"

    def __init__(self, *sources: str | Provider | Secret | Callable[[], Any]) -> None:
        if not sources:
            raise ConfigurationError("first_of: name at least one source")
        self._sources = tuple(resolve_source(source) for source in sources)
        self.local = all(is_local(source.provider) for source in self._sources)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret from the first source that has it; see `Provider.fetch`."""
        return self._find(name, field, _fetch)

    def renew(self, name: str, field: str | None) -> Fetched:
        """Do as `fetch`, with a value that is renewed where its source can do that; see `Provider`."""
        return self._find(name, field, renew_or_fetch)

    @property
    def fetch_async(self) -> Callable[[str, str | None], Awaitable[Fetched]] | None:
        """The asynchronous side, where one of the sources has one; see `Provider`."""
        has_any = any(find_async_fetch(source.provider) is not None for source in self._sources)
        return self._find_async if has_any else None

    async def _find_async(self, name: str, field: str | None) -> Fetched:
        for provider, own_name, own_field in self._sources:
            try:
                return await _fetch_async(provider, own_name or name, own_field or field)
            except SecretError as error:  # noqa: PERF203 - one source after the other
                if error.reason not in _HAS_NOT:
                    raise
        raise self._not_found_error(name)

    def _find(self, name: str, field: str | None, ask: _Ask) -> Fetched:
        for provider, own_name, own_field in self._sources:
            found = _ask_if_there(ask, provider, own_name or name, own_field or field)
            if found is not None:
                return found
        raise self._not_found_error(name)

    def _not_found_error(self, name: str) -> SecretError:
        asked = ", ".join(str(source._replace(name=source.name or name)) for source in self._sources)
        return self.fetch_error(name, "not found", f"none of these has it: {asked}")

    def __repr__(self) -> str:
        return f"<FirstOf {', '.join(map(str, self._sources))}>"


def _ask_if_there(ask: _Ask, provider: Provider, name: str, field: str | None) -> Fetched | None:
    """Return a secret, or None if the provider has none of that name."""
    try:
        return ask(provider, name, field)
    except SecretError as error:
        if error.reason not in _HAS_NOT:
            raise
        return None


def _fetch(provider: Provider, name: str, field: str | None) -> Fetched:
    return provider.fetch(name, field)


async def _fetch_async(provider: Provider, name: str, field: str | None) -> Fetched:
    ask = find_async_fetch(provider)
    if ask is not None:
        return await ask(name, field)
    from polvo_adapters.refresh.beside import run_beside  # with asyncio, which threads do without

    return await run_beside(_FLIGHTS, object(), partial(provider.fetch, name, field))


def first_of(*sources: str | Provider | Secret | Callable[[], Any]) -> FirstOf:
    """Return a provider that asks several sources, such as an app's before its site's; see `FirstOf`."""
    return FirstOf(*sources)
