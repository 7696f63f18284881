"""The errors of Taruvi, by the names of its published client.

    TaruviError                         PolvoError, and so requests.RequestException
    ├── ConfigurationError              + polvo_adapters.ConfigurationError, ValueError; nothing was sent
    ├── APIError                        the server answered, and the answer is an error
    │   ├── ValidationError             400, 422; + polvo_adapters.InvalidRequestError
    │   ├── AuthenticationError         401; + polvo_adapters.AuthenticationError
    │   │   └── NotAuthenticatedError   401, and the client has no credential
    │   ├── AuthorizationError          403; + polvo_adapters.AuthorizationError
    │   ├── NotFoundError               404; + polvo_adapters.NotFoundError
    │   ├── ConflictError               409; + polvo_adapters.ConflictError
    │   ├── RateLimitError              429; + polvo_adapters.RateLimitError
    │   ├── BillingError                402, 429 or 503 with a code of the plan; `module`, `retryable`
    │   ├── ServerError                 500 and above; + polvo_adapters.ServerError
    │   ├── ServiceUnavailableError     503; + polvo_adapters.ServiceUnavailableError
    │   └── GatewayTimeoutError         504; + polvo_adapters.ServerTimeoutError
    ├── NetworkError                    there is no answer
    │   ├── TimeoutError                + the TimeoutError of Python, requests.Timeout
    │   └── ConnectionError             + the ConnectionError of Python, requests.ConnectionError
    ├── RuntimeError                    + the RuntimeError of Python
    │   └── FunctionExecutionError      a function of Taruvi failed; raised by `raise_for_result`
    └── ResponseError                   the answer does not have the promised form; + polvo_adapters.ResponseError

Three of them have the names of exceptions of Python. `from polvo_adapters.services.taruvi import *` leaves these out;
each is a subclass of the exception whose name it has, so a clause that was written for the one catches the other.

They carry no request and no cause; `response` is a copy without the credential.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from requests import exceptions as base

from polvo_adapters import errors


class TaruviError(errors.PolvoError):
    """Base of every error of a Taruvi client.

    Args:
        message: What the server or the client says is wrong, for a person.
        status_code: Status of the response, or None where there was none.
        details: What the server says about it, such as the fields that it refuses.
        code: The server's code for the error, such as "NOT_FOUND".
        where: The call, such as "GET api.taruvi.cloud/api/users/bob/".
        advice: What to do.
        **keywords: As for `polvo_adapters.PolvoError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        details: Mapping[str, Any] | None = None,
        code: str | None = None,
        where: str = "",
        advice: str = "",
        **keywords: Any,
    ) -> None:
        super().__init__(message, **keywords)
        self.message = message
        self._status_code = status_code
        self.details: dict[str, Any] = dict(details or {})
        self.code = code
        self.where = where
        self.advice = advice

    @property
    def status_code(self) -> int | None:
        """Status of the response, or None where there was none."""
        return self._status_code

    def to_dict(self) -> dict[str, Any]:
        """Return the error as a dict of plain values, for a log or an answer of one's own."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "status_code": self.status_code,
            "details": self.details,
            "code": self.code,
            "retry_after": self.retry_after,
        }

    def __str__(self) -> str:
        status = "" if self.status_code is None else f"[{self.status_code}] "
        tries = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        where = f"{self.where}{tries}: " if self.where else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{where}{status}{self.message}{advice}"


class ConfigurationError(TaruviError, errors.ConfigurationError):
    """A setting or an argument cannot work; nothing was sent."""


class APIError(TaruviError):
    """The server answered, and the answer is an error."""


class ValidationError(APIError, errors.InvalidRequestError):
    """400 or 422: the request is wrong; `details` names the fields."""


class AuthenticationError(APIError, errors.AuthenticationError):
    """401: the server does not accept the credential."""


class NotAuthenticatedError(AuthenticationError):
    """401, and the client has no credential: sign in first."""


class AuthorizationError(APIError, errors.AuthorizationError):
    """403: the credential may not do this."""


class NotFoundError(APIError, errors.NotFoundError):
    """404: it is not there."""


class ConflictError(APIError, errors.ConflictError):
    """409: it is there already, or was changed meanwhile."""


class RateLimitError(APIError, errors.RateLimitError):
    """429: too many requests; `retry_after` says when to come back."""


class BillingError(APIError):
    """The plan does not allow the call.

    Attributes:
        module: The part of Taruvi that is concerned, such as "functions", or None.
        retryable: Whether the same call may succeed later without a change of the plan.
    """

    module: str | None = None
    retryable: bool = False


class ServerError(APIError, errors.ServerError):
    """500 or above: the server failed."""


class ServiceUnavailableError(APIError, errors.ServiceUnavailableError):
    """503: the server cannot answer now; `retry_after` says when to come back."""


class GatewayTimeoutError(APIError, errors.ServerTimeoutError):
    """504: a server behind the server ran out of time."""


class NetworkError(TaruviError):
    """There is no answer."""


class TimeoutError(NetworkError, base.Timeout, builtins.TimeoutError):  # noqa: A001 - the name of the published client
    """No answer came in time."""


class ConnectionError(NetworkError, base.ConnectionError, builtins.ConnectionError):  # noqa: A001 - as above
    """The server could not be reached, or the connection broke off."""


class RuntimeError(TaruviError, builtins.RuntimeError):  # noqa: A001 - as above
    """Something in the runtime of functions is not as it has to be."""


class FunctionExecutionError(RuntimeError):
    """A function of Taruvi failed; `details` has its traceback where the server tells it."""


class ResponseError(TaruviError, errors.ResponseError):
    """The answer does not have the promised form; `details` has its status and its beginning."""


_BY_STATUS: dict[int, type[APIError]] = {
    400: ValidationError,
    401: AuthenticationError,
    403: AuthorizationError,
    404: NotFoundError,
    409: ConflictError,
    422: ValidationError,
    429: RateLimitError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
}


def error_for_status(status: int) -> type[APIError]:
    """Return the class of error that stands for a status that is no success."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIError)
