"""Secrets in OpenBao and HashiCorp Vault, through the library hvac.

Theory of operation. A name is a path of the API, as the command `bao read` takes it: `secret/data/app` for version 2
of the key-value store that is mounted at `secret`, `secret/app` for version 1, `database/creds/reader` for credentials
that are made for whoever asks. hvac sends by a session of ours, so that what fails for a moment is asked for again, and
the whole obeys the deadline of the call.

Where the answer comes with a lease, its duration bounds the time of the secret; it is fetched again ahead of that. Two
fields of such a secret belong together: ask for "*", or each would come from a lease of its own.

**Logins.** The token of an AppRole is itself a Secret: one login for all threads, refreshed ahead of its end, and
once where the server refuses it.

Source: https://openbao.org/api-docs/
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.secrets.provider import Fetched, call_without_leak, copied, extract_field, library, text
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.secrets.providers.function import Function
from polvo_adapters.secrets.secret import Secret
from polvo_adapters.shells.requests.urls import positive
from polvo_adapters.shells.requests.urls import url as checked_url

if TYPE_CHECKING:
    import requests

Given: TypeAlias = "str | Callable[[], str]"
"""A secret, or a function that returns it, such as a Secret."""

_STAYED = "stayed behind when this was pickled; give it as a function that fetches it"


class Vault(BaseProvider):
    """Ask OpenBao or Vault: `vault://secret/data/app#password`.

    Args:
        url: Where it is; None for the environment variable VAULT_ADDR.
        token: The token to ask with, or a function that returns it; None for VAULT_TOKEN.
        role_id: The role to log in with by AppRole, in the place of a token.
        secret_id: Its secret, or a function that returns it.
        mount: Where AppRole is mounted.
        namespace: The namespace; None for VAULT_NAMESPACE.
        kv: Version of the key-value store, 1 or 2; "auto" to tell by the answer.
        version: Which version of the secret; None for the latest.
        session: The `requests.Session` to send by; None for one with a `ResilientAdapter`.
        verify: As for `requests`, for a session of its own; None for what the environment says.
        timeout: Seconds for one answer.
        allow_http: Whether secrets may go over plain http to other hosts than this one.
        clock: Time and chance for the login.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "vault"

    def __init__(
        self,
        url: str | None = None,
        token: Given | None = None,
        *,
        role_id: Given | None = None,
        secret_id: Given | None = None,
        mount: str = "approle",
        namespace: str | None = None,
        kv: int | str = "auto",
        version: int | None = None,
        session: requests.Session | None = None,
        verify: bool | str | None = None,
        timeout: float = 10.0,
        allow_http: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        if kv not in (1, 2, "auto"):
            raise ConfigurationError(f'Vault: kv={kv!r} must be 1, 2 or "auto"')
        if token is not None and role_id is not None:
            raise ConfigurationError("Vault: token and role_id do not go together")
        if (role_id is None) != (secret_id is None):
            raise ConfigurationError("Vault: role_id and secret_id go together")
        if url is not None:
            checked_url("url", url, "", allow_http)
        self._url, self._token = url, token
        self._role, self._mount, self._namespace = (role_id, secret_id), mount, namespace
        self._kv, self._version = kv, version
        self._session, self._verify, self._allow_http = session, verify, allow_http
        self._timeout = positive("timeout", timeout)
        self._login: Secret | None = None
        if role_id is not None:
            # Not beyond its end: the server would refuse it.
            self._login = Secret(Function(self._logged_in), "auth/approle", ttl=None, stale_if_error=0.0, clock=clock)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return what a path holds; see `Provider.fetch`."""
        path = _path(name)
        held = None if self._login is None else self._login.current()
        try:
            answer = self._read(name, path, self._given_token() if held is None else held.value)
        except SecretError as error:
            if held is None or self._login is None or error.reason != "denied":
                raise
            later = self._login.after(held)
            refused = copied(error)
            answer = None if later is None else self._read(name, path, later.value)
        if answer is None:
            raise refused
        return self._opened(name, answer, field)

    def _read(self, name: str, path: str, token: str) -> Any:
        parameters = {} if self._version is None else {"params": {"version": str(self._version)}}
        client = self._client(token)
        return call_without_leak(
            lambda: client.adapter.get(f"/v1/{path}", **parameters), lambda error: self._failure(name, error)
        )

    def _opened(self, name: str, answer: Any, field: str | None) -> Fetched:
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            advice = "check that VAULT_ADDR is that of the active server, and the path that of a secret"
            raise self.failure(name, "malformed", advice)
        if self._kv == 2 or (self._kv == "auto" and _is_versioned(data)):
            data = data.get("data")
        if not isinstance(data, dict):
            raise self.failure(name, "not found", "this version of it was deleted")
        duration = answer.get("lease_duration")
        leased = isinstance(duration, (int, float)) and duration > 0
        return Fetched(extract_field(self.scheme, name, data, field), float(duration) if leased else None)

    def _logged_in(self) -> Fetched:
        name = f"auth/{self._mount}/login"
        role, secret = (_value(name, given) for name, given in zip(("role_id", "secret_id"), self._role, strict=True))
        client = self._client("")

        def login() -> tuple[str, float]:
            answer = client.auth.approle.login(role, secret, use_token=False, mount_point=self._mount)["auth"]
            token, duration = answer["client_token"], float(answer["lease_duration"])
            if not isinstance(token, str):
                raise TypeError("client_token")
            return token, duration

        token, duration = call_without_leak(login, lambda error: self._login_failure(name, error))
        return Fetched(text(self.scheme, name, token), duration if duration > 0 else None)

    def _given_token(self) -> str:
        return _value("token", self._token if self._token is not None else os.environ.get("VAULT_TOKEN"))

    def _client(self, token: str) -> Any:
        hvac = library("hvac", "vault")
        url = self._url or os.environ.get("VAULT_ADDR")
        if not url:
            raise ConfigurationError("Vault: there is no url, and the environment has no VAULT_ADDR")
        return hvac.Client(
            url=checked_url("url", url, "", self._allow_http),
            token=token,
            namespace=self._namespace or os.environ.get("VAULT_NAMESPACE"),
            session=self._session or _session_of(os.getpid(), self._verified()),
            timeout=self._timeout,
            allow_redirects=False,  # the token would go along
        )

    def _verified(self) -> bool | str:
        if self._verify is not None:
            return self._verify
        return os.environ.get("VAULT_CACERT") or os.environ.get("VAULT_CAPATH") or True

    def _failure(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        reason, advice = _REASONS.get(kind, ("", ""))
        if not reason:
            reason = "unreachable" if _is_transport(error) else kind
            advice = "check VAULT_ADDR, proxies and network" if reason == "unreachable" else f"{kind} was raised"
        return self.failure(name, reason, advice, retry_after=getattr(error, "retry_after", None))

    def _login_failure(self, name: str, error: Exception) -> Exception:
        made = self._failure(name, error)
        if isinstance(made, SecretError):
            made.final = False  # that nobody can log in says nothing of the secret that is looked for
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state["_token"] = _left_behind(self._token)
        state["_role"] = tuple(map(_left_behind, self._role))
        return state

    def __repr__(self) -> str:
        return f"<Vault at {self._url or 'VAULT_ADDR'}>"


_REASONS = {
    "InvalidPath": ("not found", "check the path; version 2 of the key-value store has /data/ in it"),
    "Forbidden": ("denied", "check the token and its policies"),
    "Unauthorized": ("denied", "check the token"),
    "InvalidRequest": ("denied", "check the path, role_id and secret_id"),
    "VaultDown": ("sealed", "unseal the server, or wait until it is up"),
    "VaultNotInitialized": ("sealed", "initialize the server"),
    "RateLimitExceeded": ("unavailable", "the server's quota is used up; fetch less often"),
    "InternalServerError": ("unavailable", "the server failed; see its log"),
    "BadGateway": ("unavailable", "what the server depends on failed; see its log"),
}


class _Left:
    """In the place of a secret that was not pickled."""

    def __call__(self) -> str:
        raise ConfigurationError(f"Vault: the token or secret_id {_STAYED}")


def _left_behind(given: Given | None) -> Given | None:
    return given if given is None or callable(given) else _Left()


def _value(field: str, given: Given | None) -> str:
    value = given() if callable(given) else given
    if not isinstance(value, str) or not value or not value.isprintable() or not value.isascii():
        advice = ", and the environment has no VAULT_TOKEN" if field == "token" and given is None else ""
        raise ConfigurationError(f"Vault: {field} must be a text that a header can carry{advice}")
    return value


def _path(name: str) -> str:
    """Return a name as a path, quoted so that it stays within the API."""
    parts = name.strip("/").split("/")
    if not all(parts) or any(part in (".", "..") for part in parts):
        raise ConfigurationError(f"Secret: {name!r} is no path of the API of Vault, such as secret/data/app")
    return "/".join(quote(part, safe="") for part in parts)


def _is_versioned(data: dict[str, Any]) -> bool:
    metadata = data.get("metadata")
    return set(data) == {"data", "metadata"} and isinstance(metadata, dict) and "version" in metadata


def _is_transport(error: Exception) -> bool:
    import requests

    return isinstance(error, (requests.RequestException, OSError))


@lru_cache(maxsize=8)
def _session_of(process: int, verify: bool | str) -> requests.Session:  # noqa: ARG001 - a forked process makes its own
    import requests

    from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

    session = requests.Session()
    session.verify = verify
    for prefix in ("https://", "http://"):
        session.mount(prefix, ResilientAdapter())
    return session
