"""Secrets that are looked for in several places: the first that has it wins.

Theory of operation. An app has settings of its own and inherits those of its site. So a source that answers that it has
no such secret, or no such field, is passed over. One that cannot be asked is not: that the app's own secret is
out of reach must not put the site's in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets.provider import Fetched, Provider
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.secrets.secret import Secret, resolve_source

_HAS_NOT = ("not found", "no such field")


class FirstOf(BaseProvider):
    """Ask several sources; `first_of` makes it.

    Args:
        *sources: URIs, providers, functions or Secrets, in the order in which they are asked. A provider is asked for
            the name that this one is asked for.
    """

    scheme = "first-of"

    def __init__(self, *sources: str | Provider | Secret | Callable[[], Any]) -> None:
        if not sources:
            raise ConfigurationError("first_of: name at least one source")
        self._sources = tuple(resolve_source(source) for source in sources)
        self.local = all(getattr(source.provider, "local", False) for source in self._sources)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return what the first source has that has it; see `Provider.fetch`."""
        for provider, own_name, own_field in self._sources:
            found = _found(provider, own_name or name, own_field or field)
            if found is not None:
                return found
        asked = ", ".join(str(source._replace(name=source.name or name)) for source in self._sources)
        raise self.failure(name, "not found", f"none of these has it: {asked}")

    def __repr__(self) -> str:
        return f"<FirstOf {', '.join(map(str, self._sources))}>"


def _found(provider: Provider, name: str, field: str | None) -> Fetched | None:
    """Return what a provider has, or None where it has nothing."""
    try:
        return provider.fetch(name, field)
    except SecretError as error:
        if error.reason not in _HAS_NOT:
            raise
        return None


def first_of(*sources: str | Provider | Secret | Callable[[], Any]) -> FirstOf:
    """Return a provider that asks several sources, such as an app's before its site's; see `FirstOf`."""
    return FirstOf(*sources)
