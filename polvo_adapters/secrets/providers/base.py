"""What the providers of this package share."""

from __future__ import annotations

from typing import Any

from polvo_adapters.errors import SecretError
from polvo_adapters.secrets.provider import Fetched, failure
from polvo_adapters.secrets.secret import Secret


class BaseProvider:
    """A provider of this package.

    Attributes:
        scheme: Its name in URIs and messages.
        local: Whether asking takes no time worth avoiding, so that nobody does it ahead of time on another thread.
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

    def failure(self, name: str, reason: str, advice: str, **keywords: Any) -> SecretError:
        """Return the error for a secret of this provider; see `failure`."""
        return failure(self.scheme, name, reason, advice, **keywords)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
