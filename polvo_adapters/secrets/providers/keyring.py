"""Secrets in the keyring of the operating system, through the library keyring."""

from __future__ import annotations

from typing import Any

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Fetched, call_without_leak, extract_field, library
from polvo_adapters.secrets.providers.base import BaseProvider


class Keyring(BaseProvider):
    """Ask the keyring: `keyring://service/user`.

    Args:
        backend: A backend of the library, or None for the one that it chooses.
    """

    scheme = "keyring"

    def __init__(self, backend: Any = None) -> None:
        self._backend = backend

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the password of `service/user`, or a field of the JSON in it; see `Provider.fetch`."""
        service, slash, user = name.partition("/")
        if not (service and slash and user):
            raise ConfigurationError(f"Secret: the name {name!r} must be service/user; only a user may have a / in it")
        keyring = library("keyring", "keyring")
        backend = keyring if self._backend is None else self._backend
        value = call_without_leak(lambda: backend.get_password(service, user), lambda error: self._failure(name, error))
        if value is None:
            raise self.failure(name, "not found", "store it first, such as by `keyring set`")
        return Fetched(extract_field(self.scheme, name, value, field))

    def _failure(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        if kind == "NoKeyringError":
            return self.failure(name, "unavailable", "this machine has no keyring; install a backend", final=True)
        if kind in ("KeyringLocked", "InitError"):
            return self.failure(name, "sealed", "unlock the keyring")
        return self.failure(name, kind, f"the keyring raised {kind}")
