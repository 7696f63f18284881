"""The credential of a request of httpx, renewed before an attempt that comes some time after it was put there."""

from __future__ import annotations

from typing import Protocol

import httpx

_ATTACHED = "polvo_credential"  # an extension, which copies of the request have as well


class RenewableCredential(Protocol):
    """The credential that an auth object has put on a request."""

    def renew(self, request: httpx.Request) -> None:
        """Put the present credential on a request, or on a copy of it, unless it carries none.

        Args:
            request: The request.

        Raises:
            TokenRefreshError: The credential has expired, and there is no other.
            SecretError: The same of a secret.
        """

    async def renew_async(self, request: httpx.Request) -> None:
        """Do as `renew`, without blocking the event loop."""


class ReplaceableCredential(RenewableCredential, Protocol):
    """A credential whose auth object may have another one, where the server refuses it.

    Attributes:
        auth: The auth object.
    """

    @property
    def auth(self) -> httpx.Auth:
        """The auth object."""


def note_credential(request: httpx.Request, credential: RenewableCredential) -> None:
    """Note what renews the credential of a request."""
    request.extensions = {**request.extensions, _ATTACHED: credential}


def find_credential(request: httpx.Request) -> RenewableCredential | None:
    """Return what renews the credential of a request, or None."""
    credential: RenewableCredential | None = request.extensions.get(_ATTACHED)
    return credential


def find_auth(request: httpx.Request) -> httpx.Auth | None:
    """Return the auth object that may have another credential for a request, or None."""
    auth: httpx.Auth | None = getattr(find_credential(request), "auth", None)
    return auth
