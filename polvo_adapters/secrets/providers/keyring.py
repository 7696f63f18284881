"""Secrets in the keyring of the operating system, through the library keyring."""

from __future__ import annotations

from typing import Any

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Fetched, extract_field, import_library
from polvo_adapters.secrets.providers.base import BaseProvider


class Keyring(BaseProvider):
    """The keyring of the operating system: `keyring://service/user`.

    Args:
        backend: A backend of the library keyring, or None for the one that it chooses.
    """

    scheme = "keyring"

    def __init__(self, backend: Any = None) -> None:
        self._backend = backend

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the password of `service/user`, or a field of the JSON in it; see `Provider.fetch`."""
        service, slash, user = name.partition("/")
        if not (service and slash and user):
            raise ConfigurationError(f"Secret: the name {name!r} must be service/user; only a user may have a / in it")
        keyring = import_library("keyring", "keyring")
        backend = keyring if self._backend is None else self._backend
        value = self._ask(name, lambda: backend.get_password(service, user))
        if value is None:
            raise self.fetch_error(name, "not found", "store it first, such as by `keyring set`")
        return Fetched(extract_field(self.scheme, name, value, field))

    def _translate(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        if kind == "NoKeyringError":
            return self.fetch_error(name, "unavailable", "this machine has no keyring; install a backend", final=True)
        if kind in ("KeyringLocked", "InitError"):
            return self.fetch_error(name, "sealed", "unlock the keyring")
        return super()._translate(name, error)
