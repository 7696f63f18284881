"""The errors of the resilient client.

    MyAPIError                        base of all; also a `polvo_adapters.PolvoError`
    ├── APIConnectionError            a repeat may help, and the client has tried: no connection, a broken one
    │   ├── APITimeoutError           the client stopped waiting
    │   ├── ServerTimeoutError        408
    │   ├── ServiceUnavailableError   502, 503, 504
    │   ├── ServerError               any other status of 500 and above
    │   └── CircuitBreakerOpenError   the circuit breaker is open; nothing was sent
    ├── APIStatusError                any other status of 400 and above; a repeat does not help
    │   ├── AuthenticationError       401, 403
    │   ├── NotFoundError             404
    │   └── InvalidRequestError       400, 422
    ├── PoolTimeoutError              no slot of the bulkhead, or no connection of the pool, became free in time
    ├── ClientConfigurationError      + ValueError; a setting or an argument that cannot work; nothing was sent
    │   └── UnknownSettingError       + TypeError; a setting that does not exist
    └── ClientClosedError             + RuntimeError; the client was closed, or belongs to another event loop

A name that `polvo_adapters` has as well, such as NotFoundError, is another class there: `except polvo.PolvoError`
catches the errors of both. The exception of httpx or of a policy, where there was one, is the `__cause__`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.errors import PolvoError

if TYPE_CHECKING:
    import httpx

    from polvo_adapters.core.report import Report

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "CircuitBreakerOpenError",
    "ClientClosedError",
    "ClientConfigurationError",
    "InvalidRequestError",
    "MyAPIError",
    "NotFoundError",
    "PoolTimeoutError",
    "ServerError",
    "ServerTimeoutError",
    "ServiceUnavailableError",
    "UnknownSettingError",
]


class MyAPIError(PolvoError):
    """Base of every error of the client.

    A pickle or copy keeps all but the request; see `polvo_adapters.errors`.

    Args:
        message: What happened and what to do, for a person.
        method: HTTP method of the call.
        url: Its URL, without user name, query and fragment.
        request_id: Its `X-Request-ID`.
        response: The answer of the server, where there was one.
        report: What was performed for the call, where it was begun.
        **keywords: `host`, `attempts`, `retry_after`, `reason` and `request`, as for PolvoError.
    """

    response: httpx.Response | None  # type: ignore[assignment]
    """The answer of the server, or None."""
    request: httpx.Request | None  # type: ignore[assignment]
    """The request, or None where it was not made, and after a pickle."""

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        url: str = "",
        request_id: str = "",
        response: Any = None,
        report: Report | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(message, **keywords)
        self.response = response  # not by the base class, which would ask for its request
        self.method = method
        self.url = url
        self.request_id = request_id
        self.polvo = report

    @property
    def status_code(self) -> int | None:
        """The status of the answer, or None where there was none."""
        return None if self.response is None else self.response.status_code


class APIConnectionError(MyAPIError):
    """No answer, or one after which a repeat may help; the client has made all attempts that it may."""


class APITimeoutError(APIConnectionError):
    """The client stopped waiting: for a connection, for an answer, or for the server to take the request."""


class ServerTimeoutError(APIConnectionError):
    """408: the server ran out of time."""


class ServiceUnavailableError(APIConnectionError):
    """502, 503 or 504: the service is not able to answer now; `retry_after` tells when it will be."""


class ServerError(APIConnectionError):
    """Any other status of 500 and above: the server failed."""


class CircuitBreakerOpenError(APIConnectionError):
    """The circuit breaker refuses calls to a host that keeps failing, for `retry_after` seconds; nothing was sent."""


class APIStatusError(MyAPIError):
    """A status of 400 and above for which the caller is to blame; the same request gets it again."""


class AuthenticationError(APIStatusError):
    """401 or 403: no credential, one that is not accepted, or one that may not do this."""


class NotFoundError(APIStatusError):
    """404: nothing there."""


class InvalidRequestError(APIStatusError):
    """400 or 422: the request itself is wrong."""


class PoolTimeoutError(MyAPIError):
    """The client is saturated: no slot of the bulkhead, or no connection of the pool, became free in time."""


class ClientConfigurationError(MyAPIError, ValueError):
    """A setting or an argument cannot work; nothing was sent."""


class UnknownSettingError(ClientConfigurationError, TypeError):
    """There is no setting of this name."""


class ClientClosedError(MyAPIError, RuntimeError):
    """The client was closed, or is in use by another event loop; nothing was sent."""
