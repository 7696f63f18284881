"""The token that OpenBao or Vault is asked with: given or of a login, renewed as long as the server permits it.

Theory of operation. A token is a value with a lifetime, and is itself held by a `Secret`, whose provider is one of the
two here: one login or renewal for all threads, a quarter of the lifetime ahead of its end.

    token       at first                       ahead of its end                                refused
    ----------  -----------------------------  ----------------------------------------------  -----------
    of a login  logs in                        renews it; logs in where the server does not    logs in
                                               renew it for the whole of its first time
    given       looks it up, when it is used   renews it, where it can be renewed              nothing
                for the second time

To renew a token is better than to log in again, because the leases that were obtained by a token end with it. One that
is renewed for less than its first time has reached the longest that it may live: to renew it gains nothing.

Source: https://openbao.org/api-docs/auth/token/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from polvo_adapters.errors import SecretError
from polvo_adapters.redaction import unpicklable
from polvo_adapters.secrets.provider import Fetched
from polvo_adapters.secrets.providers.base import BaseProvider

LOOK_UP, RENEW = "auth/token/lookup-self", "auth/token/renew-self"

Ask = Callable[[str, str, str, "dict[str, Any] | None"], Any]
"""Sends method, path and fields with a token to the server, and returns the document of its answer."""


@unpicklable
class _Issued(NamedTuple):
    """What is known of a token.

    Attributes:
        token: The token.
        seconds: Its first lifetime.
        is_renewable: Whether the server says that it can be renewed.
    """

    token: str
    seconds: float
    is_renewable: bool

    def __repr__(self) -> str:
        return f"<_Issued, for {self.seconds:g} s>"


class LoginToken(BaseProvider):
    """The provider of the token of a login.

    Args:
        log_in: Logs in, and returns the part `auth` of the answer.
        ask: Asks the server.
    """

    scheme = "vault"

    def __init__(self, log_in: Callable[[], Any], ask: Ask) -> None:
        self._log_in, self._ask_server = log_in, ask
        self._issued: _Issued | None = None

    def fetch(self, name: str, field: str | None) -> Fetched:  # noqa: ARG002
        """Log in, and return the token; see `Provider.fetch`."""
        issued = self._issued = _read_auth(self._log_in())
        return Fetched(issued.token, issued.seconds or None)

    def renew(self, name: str, field: str | None) -> Fetched | None:  # noqa: ARG002
        """Return the token, renewed, or None where it is to be replaced; see `Provider`."""
        issued = self._issued
        if issued is None or not issued.is_renewable:
            return None
        try:
            seconds = _renew(self._ask_server, issued.token, issued.seconds)
        except (SecretError, TypeError, KeyError):
            return None  # a login says more about what is wrong
        return Fetched(issued.token, seconds) if seconds >= issued.seconds > 0 else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_issued": None}


@unpicklable
class GivenToken(BaseProvider):
    """The provider of the lifetime of a token that was given, and that this process cannot replace.

    Args:
        token: The token.
        ask: Asks the server.
    """

    scheme = "vault"

    def __init__(self, token: str, ask: Ask) -> None:
        self.token, self._ask_server = token, ask
        self._is_renewable, self._first_seconds = False, 0.0

    def fetch(self, name: str, field: str | None) -> Fetched:  # noqa: ARG002
        """Look the token up, and return it; see `Provider.fetch`."""
        try:
            data = self._ask_server("GET", LOOK_UP, self.token, None)["data"]
            seconds, self._is_renewable = _read_seconds(data["ttl"]), data.get("renewable") is True
            self._first_seconds = _read_seconds(data.get("creation_ttl")) or seconds
        except (TypeError, KeyError):
            return Fetched(self.token)
        except SecretError as error:
            _raise_if_transient(error)
            return Fetched(self.token)
        return Fetched(self.token, seconds if self._is_renewable and seconds > 0 else None)

    def renew(self, name: str, field: str | None) -> Fetched | None:  # noqa: ARG002
        """Return the token, renewed; without a lifetime where the server does not renew it any more."""
        if not self._is_renewable:
            return None
        try:
            seconds = _renew(self._ask_server, self.token, self._first_seconds)
        except (TypeError, KeyError):
            return Fetched(self.token)
        except SecretError as error:
            _raise_if_transient(error)
            return Fetched(self.token)
        return Fetched(self.token, seconds if seconds > 0 else None)


def _renew(ask: Ask, token: str, seconds: float) -> float:
    """Return for how many seconds the server has renewed a token, which is asked for as many as it had first."""
    return _read_seconds(ask("POST", RENEW, token, {"increment": int(seconds)})["auth"]["lease_duration"])


def _read_seconds(value: Any) -> float:
    """Return a lifetime in seconds, or 0 for none, and for what is no lifetime: it never costs a token."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if 0 < seconds < math.inf else 0.0


def _read_auth(auth: Any) -> _Issued:
    return _Issued(auth["client_token"], _read_seconds(auth.get("lease_duration")), auth.get("renewable") is True)


def _raise_if_transient(error: SecretError) -> None:
    """Raise an error that may be over soon; any other says that the server does not do this for this token."""
    if error.reason in ("sealed", "unavailable", "unreachable"):
        raise error
