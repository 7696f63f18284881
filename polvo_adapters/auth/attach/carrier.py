"""The members of an auth object that the replacement of a refused credential needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from requests import PreparedRequest

    from polvo_adapters.auth.attach.replaced_credentials import ReplacedCredentials
    from polvo_adapters.core.credential_refusals import RefusalTest
    from polvo_adapters.core.report import Entry
    from polvo_adapters.refresh.background import SharedCalls
    from polvo_adapters.refresh.lifecycle import KnownToken


class HeldCredential(Protocol):
    """A credential as requests carry it."""

    @property
    def tenant(self) -> str:
        """Name of the tenant that it belongs to."""

    @property
    def header(self) -> str:
        """The text that is sent."""

    @property
    def known(self) -> KnownToken:
        """The generation of the credential, and its times."""


class ReplaceableCredential(Protocol):
    """An auth object that can replace a refused credential.

    Attributes:
        refusals: The test for answers that refuse the credential.
        replaced: What is known of credentials that replaced refused ones; empty as long as none did.
    """

    refusals: RefusalTest
    replaced: ReplacedCredentials

    def note_answer(self, held: Any, place: str, *, refused: bool) -> None:
        """Learn from an answer to a request that carried a credential: where it was refused, or has worked."""

    def renew(self, held: Any) -> Any:
        """Return what to put on a request that is sent again in the place of a credential; None for nothing new."""

    def may_replace(self, held: Any, place: str) -> bool:
        """Return whether a refusal is a reason to obtain another credential; otherwise it is the answer."""

    def after(self, held: Any, entries: list[Entry] | None = None) -> Any:
        """Return a later credential than a refused one, or None if there is none."""

    def is_proof_refused(self, held: Any, url: str, headers: Mapping[str, str]) -> bool:
        """Return whether a refused request is to be sent once more with the same credential."""

    def _mark_refused(self, held: Any) -> None:
        """Remember that a credential was refused."""


class HTTPXCarrier(ReplaceableCredential, Protocol):
    """An auth object whose credential requests of `httpx` can carry as well."""

    @property
    def flights(self) -> SharedCalls:
        """The refreshes in progress that tasks wait for."""

    @property
    def parameter(self) -> str | None:
        """Name of the query parameter that the credential is put in; None where it goes into headers."""

    def peek_held(self) -> Any:
        """Return the credential, or None if the caller would have to wait for it."""

    def get_held(self) -> Any:
        """Return the credential, refreshed if need be."""

    def make_headers(self, held: Any, method: str, url: str) -> dict[str, str]:
        """Return the headers that put the credential on a request."""

    def is_in(self, held: Any, headers: Mapping[str, Any]) -> bool:
        """Return whether the headers of a request have the credential in them."""


@runtime_checkable
class AsyncCarrier(Protocol):
    """An auth object that obtains its credential without blocking an event loop by means of its own."""

    async def aget_held(self) -> Any:
        """Return the credential, refreshed if need be."""

    async def aafter(self, held: Any) -> Any:
        """Return a later credential than a refused one, or None if there is none."""


class CredentialCarrier(ReplaceableCredential, Protocol):
    """An auth object that puts a token, or a secret, on requests of `requests`."""

    _held: dict[str, Any]

    @property
    def _headers(self) -> tuple[str, ...]:
        """The headers that must not be sent to another origin."""

    @property
    def _parameters(self) -> tuple[str, ...]:
        """The query parameters that must not be sent there."""

    def _attach(self, request: PreparedRequest, held: Any) -> None:
        """Put the credential on a request, in the place of an earlier one."""

    def _carries(self, request: PreparedRequest, held: Any) -> bool:
        """Return whether a request carries the credential."""
