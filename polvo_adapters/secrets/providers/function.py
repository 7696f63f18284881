"""A function of your own as the provider of a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polvo_adapters.secrets.provider import Fetched, call_without_leak, extract_field, failure
from polvo_adapters.secrets.providers.base import BaseProvider


class Function(BaseProvider):
    """Ask a function.

    Args:
        function: Returns the secret, or a Fetched with its lifetime, or a mapping of fields. What it raises becomes a
            SecretError without its text.
    """

    scheme = "function"

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return what the function returns; see `Provider.fetch`."""
        given = call_without_leak(self._function, lambda error: self._failure(name, error))
        value, lifetime = given if isinstance(given, Fetched) else (given, None)
        return Fetched(extract_field(self.scheme, name, value, field), lifetime)

    def _failure(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        return failure(
            self.scheme, name, kind, f"the function raised {kind}; its text may hold the secret and is not shown"
        )
