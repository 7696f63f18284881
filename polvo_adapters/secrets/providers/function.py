"""A function of your own as the provider of a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polvo_adapters.secrets.provider import Fetched, extract_field
from polvo_adapters.secrets.providers.base import BaseProvider


class Function(BaseProvider):
    """A function as a provider.

    Args:
        function: Returns the secret, or a Fetched with its lifetime, or a mapping of fields. An exception that it
            raises becomes a SecretError without its text.
    """

    scheme = "function"

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret that the function returns; see `Provider.fetch`."""
        returned = self._ask(name, self._function)
        value, lifetime = returned if isinstance(returned, Fetched) else (returned, None)
        return Fetched(extract_field(self.scheme, name, value, field), lifetime)
