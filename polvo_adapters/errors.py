"""Every error that polvo_adapters raises, and the `requests` class that it also is.

    PolvoError                          requests.RequestException
    ├── ConfigurationError              + ValueError; a setting that cannot work, found before anything is sent
    │   └── SessionClosedError          + RuntimeError; the session was closed before the call
    ├── StatusError                     + requests.HTTPError; the server answered, and the answer is an error
    │   ├── InvalidRequestError         400, 422
    │   ├── AuthenticationError         401
    │   ├── AuthorizationError          403
    │   ├── NotFoundError               404
    │   ├── ConflictError               409
    │   ├── RateLimitError              429, or a quota known to be used up; `retry_after`
    │   │   └── QuotaExceededError      the plan's quota, not the pace: waiting seconds does not help
    │   └── ServerError                 500 and above
    │       ├── ServerTimeoutError      408, 504
    │       └── ServiceUnavailableError 502, 503; `retry_after`
    ├── RetriesExhaustedError           + requests.exceptions.RetryError; only where `raise_on_status` was asked for
    ├── DeadlineExceeded                + requests.Timeout; the call's total time is up, and the server has not answered
    │   └── RateLimitDeadlineExceeded   + RateLimitError; the quota frees only after the deadline
    ├── ReplayError                     + requests.exceptions.UnrewindableBodyError; the body could not be rewound
    ├── CircuitOpenError                + requests.ConnectionError; `retry_after`, `circuit`
    ├── PoolTimeoutError                + requests.ConnectionError, requests.Timeout; no slot became free in time
    ├── TokenRefreshError               `reason`: the authorization server's error code, or the cause; `final`
    ├── SecretError                     `reason` why a secret could not be fetched, `provider`, `name`; `final`
    ├── IdempotencyError                an idempotency key keeps a call from being sent, or answered
    │   ├── IdempotencyKeyError         + ConfigurationError; no key can be made, or it cannot be sent
    │   ├── IdempotencyConflictError    the key was used before, with another request, or for one that is done
    │   └── InDoubtError                a request may have arrived, and must not be sent again; `key`, `since`
    ├── EntityChangedError              + requests.exceptions.ChunkedEncodingError; a download whose entity has changed
    ├── ResponseError                   + requests.exceptions.InvalidJSONError; the answer is not what was promised
    └── WebhookVerificationError        + ValueError; a webhook whose signature does not hold

Old `except` clauses keep working, because every class is a `requests.RequestException` and, where `requests`
has the fitting class, a subclass of that too. Errors that come from below (`requests.ConnectionError` and its
kin) are not wrapped: they are raised as they were, with a note that tells how often the call was tried.

An error says what happened, to which host, after how many attempts and what to do; the data are attributes.
Pickling drops the request and those of the redirects before it, and with them every header, credential and body that
they carried. Responses keep status, body, harmless headers, and URLs without user name and query.

**Errors and frames.** An exception holds its traceback, the traceback holds the frames that it went through, and a
frame holds its local variables. A frame with a variable that still holds the exception, or the outcome that has it in
`error`, is a cycle: the exception, the connection pool and its sockets would live until the next garbage collection.
Every function that raises an exception that it holds in a variable therefore deletes the variable in a `finally`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests import exceptions as base

from polvo_adapters.redaction import without_request

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


class PolvoError(base.RequestException):
    """Base of every error of this library.

    Args:
        message: What happened and what to do, for a person.
        request: The request that failed.
        response: The last response, where there was one.
        host: Host that the call went to.
        attempts: How often the request was sent.
        retry_after: Seconds after which the call may succeed, where the server or a policy has said so.
        reason: Machine-readable cause, such as an OAuth2 error code.
    """

    def __init__(
        self,
        message: str = "",
        *,
        request: PreparedRequest | None = None,
        response: Response | None = None,
        host: str | None = None,
        attempts: int = 0,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, request=request, response=response)
        self.host = host
        self.attempts = attempts
        self.retry_after = retry_after
        self.reason = reason

    def __str__(self) -> str:
        text = super().__str__()
        if self.host is not None and self.host not in text:
            text = f"{self.host}: {text}"
        return f"{text} ({self.attempts} attempts)" if self.attempts > 1 and "attempts" not in text else text

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__, request=None)
        if self.response is not None:
            state["response"] = without_request(self.response)
        return (type(self), self.args, state)


class ConfigurationError(PolvoError, ValueError):
    """A setting cannot work; nothing was sent."""


class SessionClosedError(ConfigurationError, RuntimeError):
    """The session, or the transport, was closed before the call; nothing was sent."""


class StatusError(PolvoError, base.HTTPError):
    """The server answered with an error status; `response` holds the answer."""

    @property
    def status_code(self) -> int | None:
        """The status of the response, or None where the error was foreseen without asking the server."""
        return None if self.response is None else self.response.status_code


class InvalidRequestError(StatusError):
    """400 or 422: the request itself is wrong; sending it again cannot help."""


class AuthenticationError(StatusError):
    """401: no credential, or one that the server does not accept."""


class AuthorizationError(StatusError):
    """403: the credential is known, but may not do this."""


class NotFoundError(StatusError):
    """404: nothing there."""


class ConflictError(StatusError):
    """409: the request collides with the resource's state."""


class RateLimitError(StatusError):
    """429, or a quota known to be used up: `retry_after` tells after how many seconds to come back."""


class QuotaExceededError(RateLimitError):
    """The plan's quota is used up; a wait of seconds does not help."""


class ServerError(StatusError):
    """500 or above: the server failed."""


class ServerTimeoutError(ServerError):
    """408 or 504: the server, or one behind it, ran out of time."""


class ServiceUnavailableError(ServerError):
    """502 or 503: the server is not able to answer now."""


class RetriesExhaustedError(PolvoError, base.RetryError):
    """All attempts ended in a status that was to be retried; `response` is the last answer."""


class DeadlineExceeded(PolvoError, base.Timeout):
    """The total time of the call is up, and the server has not answered."""


class RateLimitDeadlineExceeded(RateLimitError, DeadlineExceeded):
    """The quota frees only after the deadline; `retry_after` is the server's real delay."""


class ReplayError(PolvoError, base.UnrewindableBodyError):
    """The request was not sent again, because its body could not be rewound, and the server has not answered."""


class CircuitOpenError(PolvoError, base.ConnectionError):
    """The circuit breaker refuses calls to a host that keeps failing; nothing was sent.

    Attributes:
        circuit: Which circuit.
    """

    circuit = ""


class PoolTimeoutError(PolvoError, base.ConnectionError, base.Timeout):
    """All slots of the bulkhead stayed busy for as long as the call was willing to wait."""


class TokenRefreshError(PolvoError):
    """No valid token could be obtained; `reason` says why.

    Args:
        message: What happened and what to do, for a person.
        status: Status of the authorization server's answer, or 0 where there was none.
        final: Whether asking again with the same credentials cannot help.
        lost: Whether a refresh token may have reached the server, and the answer was lost.
        **keywords: As for PolvoError.
    """

    def __init__(
        self, message: str = "", *, status: int = 0, final: bool = False, lost: bool = False, **keywords: Any
    ) -> None:
        super().__init__(message, **keywords)
        self.status = status
        self.final = final
        self.lost = lost


class SecretError(PolvoError):
    """A secret could not be fetched; `reason` says why.

    Args:
        message: What happened and what to do, for a person.
        provider: Scheme of the provider that was asked, such as "vault".
        name: Name of the secret there.
        final: Whether asking again in the same way cannot help: it is not there, or has another form.
        **keywords: As for PolvoError.
    """

    def __init__(
        self, message: str = "", *, provider: str = "", name: str = "", final: bool = False, **keywords: Any
    ) -> None:
        super().__init__(message, **keywords)
        self.provider = provider
        self.name = name
        self.final = final


class IdempotencyError(PolvoError):
    """An idempotency key keeps a call from being sent, or from being answered; `reason` says how.

    Attributes:
        caller: The caller that the key belongs to, for `adapter.operation(url, key, caller=error.caller)`; it reveals
            nothing of the credential.
    """

    caller: str = ""


class IdempotencyKeyError(IdempotencyError, ConfigurationError):
    """A request has no key, cannot be given one, or has one that cannot be sent; nothing was sent."""


class IdempotencyConflictError(IdempotencyError):
    """The key belongs to another request, or to one that is done; the same call with the same key cannot succeed.

    Where the server says so, `response` is its answer. Where the record of this client does, nothing was sent.
    """


class InDoubtError(IdempotencyError):
    """An earlier request with the key may have reached the server; nothing was sent now.

    Find out on the other side whether it was done, and say so with
    `adapter.operation(url, key, caller=error.caller).resolve(...)`.

    Args:
        message: What happened and what to do, for a person.
        key: The key.
        since: Seconds since the request was sent.
        **keywords: As for PolvoError.
    """

    def __init__(self, message: str = "", *, key: str = "", since: float = 0.0, **keywords: Any) -> None:
        super().__init__(message, **keywords)
        self.key = key
        self.since = since


class EntityChangedError(PolvoError, base.ChunkedEncodingError):
    """What was being downloaded is not the same any more, so that its parts do not fit together."""


class ResponseError(PolvoError, base.InvalidJSONError):
    """The answer does not have the promised form."""


class WebhookVerificationError(PolvoError, ValueError):
    """The signature of a webhook does not hold."""


_BY_STATUS: dict[int, type[StatusError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthorizationError,
    404: NotFoundError,
    408: ServerTimeoutError,
    409: ConflictError,
    422: InvalidRequestError,
    429: RateLimitError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServerTimeoutError,
}


def error_for_status(status: int) -> type[StatusError]:
    """Return the class of error that stands for a status of 400 or above."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else StatusError)
