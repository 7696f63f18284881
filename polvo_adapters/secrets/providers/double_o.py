"""Secrets of a Double-O service: one token, one secret.

Theory of operation. The response to `GET /api/secret` with the token in the Authorization header is `{"value": ...}` or
`{"error": "..."}`. `polvo_adapters.shells.requests.one_shot` makes the request, as it makes those for tokens: bounded
in time and size, repeated where that is safe, redirects not followed. The server's text is not shown in messages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from polvo_adapters.errors import SecretError
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.secrets.provider import Fetched, extract_field
from polvo_adapters.secrets.providers.base import (
    BaseProvider,
    Credential,
    LeftBehind,
    leave_text_behind,
    resolve_credential,
)
from polvo_adapters.shells.one_shot import OneShotError, OneShotResponse
from polvo_adapters.shells.requests.one_shot import Channel, send_one
from polvo_adapters.shells.urls import validate_seconds, validate_url

if TYPE_CHECKING:
    import requests

SERVICE = "https://double-o-539191849800.europe-west1.run.app"
"""URL of the hosted service."""

_MISSING = object()
_FLIGHTS = SharedCalls()


class DoubleO(BaseProvider):
    """A Double-O service: `Secret(DoubleO(token))`, or `double-o://`.

    Args:
        token: The token, or a function that returns it; None for the environment variable DOUBLE_O_TOKEN.
        base_url: URL of the service.
        session: The `requests.Session` whose adapters are used.
        timeout: Seconds for a whole fetch.
        allow_http: Whether secrets may go over plain http to other hosts than this one.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "double-o"

    def __init__(
        self,
        token: Credential | None = None,
        *,
        base_url: str = SERVICE,
        session: requests.Session | None = None,
        timeout: float = 20.0,
        allow_http: bool = False,
    ) -> None:
        self._base = validate_url("base_url", base_url, "", allow_http).rstrip("/")
        self._token = token
        self._session, self._seconds = session, validate_seconds("timeout", timeout)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret of the token; see `Provider.fetch`."""
        failure: SecretError
        channel = Channel(self._session, None, None, self._seconds)
        try:
            response = send_one(channel, "GET", self._url, headers=self._make_headers())
        except OneShotError as error:
            failure = self._unreachable_error(name, error)
        else:
            return Fetched(extract_field(self.scheme, name, self._read(name, response), field))
        raise failure

    @property
    def fetch_async(self) -> Callable[[str, str | None], Awaitable[Fetched]] | None:
        """The asynchronous side, with httpx; None without that, and with a session, whose adapters are to be used."""
        return self._fetch_async if self._session is None and find_spec("httpx") is not None else None

    async def _fetch_async(self, name: str, field: str | None) -> Fetched:
        from polvo_adapters.refresh.beside import run_beside
        from polvo_adapters.shells.httpx.one_shot import send_one_async

        failure: SecretError
        headers = await run_beside(_FLIGHTS, object(), self._make_headers) if callable(self._token) else None
        try:
            response = await send_one_async(self._url, headers=headers or self._make_headers(), seconds=self._seconds)
        except OneShotError as error:
            failure = self._unreachable_error(name, error)
        else:
            return Fetched(extract_field(self.scheme, name, self._read(name, response), field))
        raise failure

    @property
    def _url(self) -> str:
        return f"{self._base}/api/secret"

    def _make_headers(self) -> dict[str, str]:
        given = os.environ.get("DOUBLE_O_TOKEN") if self._token is None else self._token
        return {"Authorization": f"Bearer {resolve_credential(given, 'DoubleO', 'token, or DOUBLE_O_TOKEN,')}"}

    def _unreachable_error(self, name: str, error: OneShotError) -> SecretError:
        advice = f"{error.cause}; {error.advice}" if error.cause else "check the address, proxies and network"
        return self.fetch_error(name, "unreachable", advice, host=error.host, retry_after=error.retry_after)

    def _read(self, name: str, response: OneShotResponse) -> Any:
        """Return the value in a response.

        Raises:
            SecretError: It has none.
        """
        try:
            document = json.loads(response.body)
        except (ValueError, RecursionError):
            document = None
        fields = document if isinstance(document, dict) else {}
        value = fields.get("value", _MISSING)
        reason, advice = _classify(response.status, fields, value)
        if reason:
            raise self.fetch_error(name, reason, advice, host=response.host, retry_after=response.retry_after)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_token": leave_text_behind(self._token, "DoubleO", "the token")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        left_behind = state.pop("_left", False)  # how pickles of before say it
        vars(self).update(state, **({"_token": LeftBehind("DoubleO", "the token")} if left_behind else {}))

    def __repr__(self) -> str:
        return f"<DoubleO at {self._base}>"


def _classify(status: int, fields: dict[str, Any], value: object) -> tuple[str, str]:
    """Return the reason why a response has no secret, and what to do; two empty texts if it has one."""
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
    return "malformed", "the response has no value; check base_url"
