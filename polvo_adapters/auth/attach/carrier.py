"""What an auth object must offer so that a refused credential can be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from requests import PreparedRequest

    from polvo_adapters.core.report import Entry
    from polvo_adapters.refresh.lifecycle import KnownToken


UNHEARD = "polvo_token"
"""Attribute of a request: what was done for its token, and is not in a report yet."""


class HeldCredential(Protocol):
    """What a request carries."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def header(self) -> str:
        """What is sent of it."""

    @property
    def known(self) -> KnownToken:
        """Which generation it is."""


class HTTPXCarrier(Protocol):
    """An auth object whose credential requests of `httpx` can carry as well."""

    def ready(self) -> Any:
        """Return what requests are given as long as it takes no time, else None."""

    def held(self) -> Any:
        """Return what requests are given, refreshed if need be."""

    def headers_for(self, held: Any, method: str, url: str) -> dict[str, str]:
        """Return the headers that put it on a request."""

    def after(self, held: Any, entries: list[Entry] | None = None) -> Any:
        """Return a later one than one that was refused, or None."""

    def challenged(self, held: Any, url: str, headers: Mapping[str, str]) -> bool:
        """Tell whether it is to be sent once more as it is."""

    def _refused(self, held: Any) -> None:
        """Remember that it was refused."""


class CredentialCarrier(Protocol):
    """Who puts a token, or a secret, on requests."""

    _held: dict[str, Any]

    @property
    def _headers(self) -> tuple[str, ...]:
        """The headers that must not go to another origin."""

    def _attach(self, request: PreparedRequest, held: Any) -> None:
        """Put it on a request, in the place of an earlier one."""

    def _carries(self, request: PreparedRequest, held: Any) -> bool:
        """Tell whether it is on a request."""

    def _refused(self, held: Any) -> None:
        """Remember that it was refused."""

    def after(self, held: Any, entries: list[Entry] | None = None) -> Any:
        """Return a later one, or None."""

    def challenged(self, held: Any, url: str, headers: Mapping[str, str]) -> bool:
        """Tell whether it is to be sent once more as it is."""
