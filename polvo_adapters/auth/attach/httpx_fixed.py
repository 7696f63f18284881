"""Credentials that do not change, for `httpx`: `httpx.AsyncClient(auth=bearer(token).httpx())`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import httpx

from polvo_adapters.auth.attach.httpx_places import put_header, put_parameter


class FixedCredential(Protocol):
    """An auth object whose credential never changes."""

    def place(self) -> tuple[str, str, bool]:
        """Return the name of the header or parameter, the value, and whether it is a parameter."""


class HTTPXFixedAuth(httpx.Auth):
    """Authorization of the requests of `httpx` by a credential that never changes.

    Args:
        auth: The auth object that has the credential; sessions of `requests` may use it at the same time.
    """

    def __init__(self, auth: FixedCredential) -> None:
        self._auth = auth

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the credential on a request of either client.

        Raises:
            ConfigurationError: The credential stayed behind when the auth object was pickled.
        """
        name, value, is_parameter = self._auth.place()
        (put_parameter if is_parameter else put_header)(request, name, value)
        yield request

    def __repr__(self) -> str:
        return f"<HTTPXFixedAuth of {self._auth!r}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._auth == self._auth

    def __hash__(self) -> int:
        return hash((type(self), self._auth))
