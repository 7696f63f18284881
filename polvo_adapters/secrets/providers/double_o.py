"""Secrets of a Double-O service: one token, one secret.

Theory of operation. `GET /api/secret` with the token in the Authorization header answers with `{"value": ...}`, or with
`{"error": "..."}`. The exchange is the one by which tokens are asked for (`polvo_adapters.shells.requests.one_shot`):
bounded in time and size, repeated where that is safe, redirects not followed. What the server says is not repeated to
people.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets.provider import Fetched, extract_field
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.shells.requests.one_shot import Channel, OneShotError, OneShotResponse, send_one
from polvo_adapters.shells.requests.urls import positive
from polvo_adapters.shells.requests.urls import url as checked_url

if TYPE_CHECKING:
    import requests

SERVICE = "https://double-o-539191849800.europe-west1.run.app"
"""Where the hosted service is."""

_MISSING = object()


class DoubleO(BaseProvider):
    """Ask a Double-O service: `Secret(DoubleO(token))`, or `double-o://`.

    Args:
        token: The token, or a function that returns it; None for the environment variable DOUBLE_O_TOKEN.
        base_url: Where the service is.
        session: The `requests.Session` whose adapters are used.
        timeout: Seconds for a whole fetch.
        allow_http: Whether secrets may go over plain http to other hosts than this one.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "double-o"

    def __init__(
        self,
        token: str | Callable[[], str] | None = None,
        *,
        base_url: str = SERVICE,
        session: requests.Session | None = None,
        timeout: float = 20.0,
        allow_http: bool = False,
    ) -> None:
        self._base = checked_url("base_url", base_url, "", allow_http).rstrip("/")
        self._token, self._left = token, False
        self._session, self._seconds = session, positive("timeout", timeout)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret of the token; see `Provider.fetch`."""
        token = self._value()
        problem: SecretError
        try:
            answer = send_one(
                Channel(self._session, None, None, self._seconds),
                "GET",
                f"{self._base}/api/secret",
                headers={"Authorization": f"Bearer {token}"},
            )
        except OneShotError as error:
            advice = "check the address, proxies and network"
            problem = self.failure(name, "unreachable", advice, host=error.host, retry_after=error.retry_after)
        else:
            return Fetched(extract_field(self.scheme, name, self._read(name, answer), field))
        raise problem

    def _read(self, name: str, answer: OneShotResponse) -> Any:
        """Return the value of an answer.

        Raises:
            SecretError: It has none.
        """
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        fields = document if isinstance(document, dict) else {}
        value = fields.get("value", _MISSING)
        reason, advice = _judged(answer.status, fields, value)
        if reason:
            raise self.failure(name, reason, advice, host=answer.host, retry_after=answer.retry_after)
        return value

    def _value(self) -> str:
        if self._left:
            raise ConfigurationError(
                "DoubleO: the token stayed behind when this was pickled; give it as a function that fetches it"
            )
        given = os.environ.get("DOUBLE_O_TOKEN") if self._token is None else self._token
        token = given() if callable(given) else given
        if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
            raise ConfigurationError("DoubleO: token, or DOUBLE_O_TOKEN, must be a text that a header can carry")
        return token

    def __getstate__(self) -> dict[str, Any]:
        left = self._token is not None and not callable(self._token)
        return {**vars(self), "_token": None if left else self._token, "_left": left or self._left}

    def __repr__(self) -> str:
        return f"<DoubleO at {self._base}>"


def _judged(status: int, fields: dict[str, Any], value: object) -> tuple[str, str]:
    """Return why an answer is no secret, and what to do; twice nothing where it is one."""
    if status in (401, 403):
        return "denied", "the token is not accepted; get another one"
    if status == 404:
        return "not found", "the service has no secret for this token"
    if status == 429 or status >= 500:
        return "unavailable", f"the service answered {status}"
    if not 200 <= status < 300:
        return "malformed", f"the service answered {status}; check base_url"
    if value is None:
        return "not found", "the service has no secret for this token"
    if value is not _MISSING:
        return "", ""
    if fields.get("error") not in (None, "", False):
        return "denied", "the service refuses; see that the token is valid"
    return "malformed", "the answer has no value; check base_url"
