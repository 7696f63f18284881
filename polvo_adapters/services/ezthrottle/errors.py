"""The errors of EZThrottle, by the names of its published client.

    EZThrottleError                     PolvoError, and so requests.RequestException
    ├── ArgumentError                   + ConfigurationError, ValueError; names the field, and nothing was sent
    ├── AuthenticationError             + polvo_adapters.AuthenticationError; 401 or 403
    ├── RateLimitError                  + polvo_adapters.RateLimitError; 429
    │   └── QuotaExceededError          + polvo_adapters.QuotaExceededError; 402, the plan is used up
    ├── DuplicateJobError               + polvo_adapters.ConflictError; the key belongs to another job
    ├── InDoubtError                    + polvo_adapters.InDoubtError; a request may have been processed
    ├── UnknownJobError                 + LookupError; the engine has no such job
    ├── UnsupportedError                + NotImplementedError; the engine cannot do that
    ├── JobTimeoutError                 + builtins.TimeoutError; `TimeoutError` of the published client
    └── WebhookVerificationError        + polvo_adapters.WebhookVerificationError, ValueError

They carry no request and no cause; `response` is a copy without the key. ForwardToEZThrottle is none of them: it is
raised by the user's code, and an `except requests.RequestException` there must not swallow it.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from polvo_adapters import errors


class EZThrottleError(errors.PolvoError):
    """Base of every error: `host`, `attempts`, `retry_after`, `reason`, `response`, and `retry_at`.

    Args:
        message: What happened and what to do, for a person.
        retry_at: Unix time in milliseconds from which on a repeat may succeed, or None.
        **keywords: As for PolvoError.
    """

    def __init__(self, message: str = "", retry_at: int | None = None, **keywords: Any) -> None:
        super().__init__(message, **keywords)
        self.retry_at = retry_at

    @property
    def status_code(self) -> int | None:
        """The status of the response, or None where there was none."""
        return None if self.response is None else self.response.status_code


class ArgumentError(EZThrottleError, errors.ConfigurationError):
    """A setting or an argument is wrong; `reason` is its name, and nothing was sent."""


class AuthenticationError(EZThrottleError, errors.AuthenticationError):
    """The service does not accept the API key."""


class RateLimitError(EZThrottleError, errors.RateLimitError):
    """The service accepts no more jobs for the moment; see `retry_after` and `retry_at`."""


class QuotaExceededError(RateLimitError, errors.QuotaExceededError):
    """The plan is used up; a wait of seconds does not help."""


class DuplicateJobError(EZThrottleError, errors.ConflictError):
    """The key belongs to another job, or the service refuses a second job with it."""


class InDoubtError(EZThrottleError, errors.InDoubtError):
    """A request may have been processed and its answer is lost, so that it was not sent again."""


class UnknownJobError(EZThrottleError, LookupError):
    """The engine has no job of that id, or has it no more."""


class UnsupportedError(EZThrottleError, NotImplementedError):
    """The engine cannot do what was asked for; nothing was sent."""


class JobTimeoutError(EZThrottleError, builtins.TimeoutError):
    """The job did not end within the time that the caller was willing to wait; it goes on."""


class WebhookVerificationError(EZThrottleError, errors.WebhookVerificationError):
    """A webhook whose signature does not hold; `reason` says why."""


class ForwardToEZThrottle(Exception):
    """Raised by a function that `auto_forward` wraps, to have the call submitted as a job.

    Args:
        message: The reason, for a person.
        url: URL of the call.
        method: HTTP method.
        headers: Headers of the call.
        body: Its body.
        idempotent_key: Key of the job; by default a random one.
        metadata: Values that come back with the result.
        webhooks: Where the result is delivered to.
        regions: Regions to run in.
        fallback_on_error: Accepted and not used, as in the published client: the call is forwarded in any case.
    """

    def __init__(
        self,
        message: str = "Forwarding to EZThrottle",
        url: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        idempotent_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhooks: list[Mapping[str, Any]] | None = None,
        regions: list[str] | None = None,
        fallback_on_error: list[int] | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__(message)
        self.fields: dict[str, Any] = {
            "url": url,
            "method": method,
            "headers": headers,
            "body": body,
            "idempotent_key": idempotent_key,
            "metadata": metadata,
            "webhooks": webhooks,
            "regions": regions,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args)  # the fields may hold credentials of the call
