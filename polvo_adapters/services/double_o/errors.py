"""The errors of Double-O, by the names of its published client.

    DoubleOError                        PolvoError, and so requests.RequestException
    ├── SecretError                     + polvo_adapters.SecretError
    ├── EnvError                        + polvo_adapters.SecretError
    ├── ProxyError
    ├── AuthenticationError             + polvo_adapters.AuthenticationError
    │   └── TokenError                  + ConfigurationError, ValueError; the token cannot be sent, and nothing was
    └── ArgumentError                   + ConfigurationError, ValueError; nothing was sent

They carry no request and no cause; `response` is a copy without the token.
"""

from __future__ import annotations

from polvo_adapters import errors


class DoubleOError(errors.PolvoError):
    """Base of every error of a Double-O client: `host`, `attempts`, `retry_after`, `reason`, `response`."""

    @property
    def status_code(self) -> int | None:
        """The status of the response, or None where there was none."""
        return None if self.response is None else self.response.status_code


class SecretError(DoubleOError, errors.SecretError):
    """A secret could not be fetched."""


class EnvError(DoubleOError, errors.SecretError):
    """Variables of an environment could not be fetched, or cannot be used."""


class ProxyError(DoubleOError):
    """A call through the proxy failed."""


class AuthenticationError(DoubleOError, errors.AuthenticationError):
    """The server does not accept the token."""


class TokenError(AuthenticationError, errors.ConfigurationError):
    """The token cannot be sent in a header; nothing was sent."""


class ArgumentError(DoubleOError, errors.ConfigurationError):
    """An argument of a call or a client is wrong; nothing was sent."""
