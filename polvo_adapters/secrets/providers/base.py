"""What the providers of this package share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets.provider import Fetched, call_without_leak, fetch_error
from polvo_adapters.secrets.secret import Secret

T = TypeVar("T")
Credential: TypeAlias = "str | Callable[[], str]"
"""A text that a provider is asked with, or a function that returns it, such as a Secret."""


class BaseProvider:
    """A provider of this package.

    Attributes:
        scheme: Its name in URIs and messages.
        local: Whether a fetch is so fast that it is not made ahead of time on another thread.
    """

    scheme = ""
    local = False

    def secret(self, name: str, *, field: str | None = None, **keywords: Any) -> Secret:
        """Return a secret of this provider.

        Args:
            name: Its name there.
            field: Which of its fields.
            **keywords: As for `Secret`.
        """
        return Secret(self, name, field=field, **keywords)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a secret as it is now; see `Provider.fetch`."""
        raise NotImplementedError

    def fetch_error(self, name: str, reason: str, advice: str, **keywords: Any) -> SecretError:
        """Return the error for a secret of this provider; see `fetch_error`."""
        return fetch_error(self.scheme, name, reason, advice, **keywords)

    def _ask(self, name: str, ask: Callable[[], T]) -> T:
        """Return what `ask` returns; raise the error of `_translate` in the place of its exception."""
        return call_without_leak(ask, lambda error: self._translate(name, error))

    def _translate(self, name: str, error: Exception) -> Exception:
        """Return the error for an exception of a library; it contains nothing of its text."""
        kind = type(error).__name__
        return self.fetch_error(name, kind, f"{kind} was raised; its text may hold the secret and is not shown")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class LeftBehind:
    """A credential that was not pickled: to call it is an error.

    Args:
        owner: Class of the provider, for the message.
        field: What the credential is called there.
    """

    owner, field = "Vault", "the token or secret_id"  # of pickles that hold neither

    def __init__(self, owner: str, field: str) -> None:
        self.owner, self.field = owner, field

    def __call__(self) -> str:
        """Raise a ConfigurationError that says what to do."""
        raise ConfigurationError(
            f"{self.owner}: {self.field} stayed behind when this was pickled; give it as a function that fetches it"
        )


def leave_text_behind(credential: Credential | None, owner: str, field: str) -> Credential | None:
    """Return a credential as it is pickled: a text is replaced by what raises an error when it is used.

    Args:
        credential: The credential.
        owner: Class of the provider, for the message.
        field: What it is called there.
    """
    keep = credential is None or callable(credential)
    return credential if keep else LeftBehind(owner, field)


def resolve_credential(credential: Credential | None, owner: str, field: str, advice: str = "") -> str:
    """Return the text of a credential.

    Args:
        credential: The credential.
        owner: Class of the provider, for the message.
        field: What it is called there.
        advice: End of the message.

    Raises:
        ConfigurationError: It is no text that a header can carry.
    """
    value = credential() if callable(credential) else credential
    if not isinstance(value, str) or not value or not value.isprintable() or not value.isascii():
        raise ConfigurationError(f"{owner}: {field} must be a text that a header can carry{advice}")
    return value
