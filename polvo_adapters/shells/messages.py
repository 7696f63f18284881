"""What messages of errors need of a request and of its response, of whatever library."""

from __future__ import annotations

from typing import Any, Protocol


class SentRequest(Protocol):
    """A request, as `requests.PreparedRequest` has it."""

    method: Any
    url: Any
    headers: Any

    @property
    def body(self) -> Any:
        """The body in memory, or what it is read from."""


class ReceivedResponse(Protocol):
    """A response, as `requests.Response` has it."""

    status_code: int
    reason: Any
    url: Any
    headers: Any
    _content: Any

    @property
    def request(self) -> Any:
        """The request, a SentRequest."""

    @property
    def history(self) -> Any:
        """The redirects that led to it."""

    @property
    def cookies(self) -> Any:
        """Its cookies, whose `value` is theirs."""
