"""Secrets in OpenBao and HashiCorp Vault, through the library hvac.

Theory of operation. A name is a path of the API, as the command `bao read` takes it: `secret/data/app` for version 2
of the key-value store that is mounted at `secret`, `secret/app` for version 1, `database/creds/reader` for credentials
that are made for each reader. hvac sends through a session with a ResilientAdapter, which retries and obeys the
deadline of the call.

If the response has a lease, its duration bounds the lifetime of the secret, which is fetched again ahead of that. Two
fields of such a secret belong together: ask for "*", or each would come from a lease of its own.

**Logins.** The token of an AppRole is itself a Secret: one login for all threads, refreshed ahead of its end, and
once when the server refuses it.

Source: https://openbao.org/api-docs/
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from polvo_adapters.core import paths
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.secrets.provider import (
    Fetched,
    call_without_leak,
    copy_without_request,
    extract_field,
    import_library,
    to_text,
)
from polvo_adapters.secrets.providers.base import BaseProvider, Credential, leave_text_behind, resolve_credential
from polvo_adapters.secrets.providers.function import Function
from polvo_adapters.secrets.secret import Secret
from polvo_adapters.shells.requests.urls import validate_seconds, validate_url

if TYPE_CHECKING:
    import requests


class Vault(BaseProvider):
    """OpenBao or HashiCorp Vault: `vault://secret/data/app#password`.

    Args:
        url: URL of the server; None for the environment variable VAULT_ADDR.
        token: The token, or a function that returns it; None for VAULT_TOKEN.
        role_id: The role to log in with by AppRole, in the place of a token.
        secret_id: Its secret, or a function that returns it.
        mount: Where AppRole is mounted.
        namespace: The namespace; None for VAULT_NAMESPACE.
        kv: Version of the key-value store, 1 or 2; "auto" to find out from the response.
        version: Which version of the secret; None for the latest.
        session: The `requests.Session` to send through; None for one with a `ResilientAdapter`.
        verify: As for `requests`, if there is no session; None for VAULT_CACERT, VAULT_CAPATH, or the default.
        timeout: Seconds for one response.
        allow_http: Whether secrets may go over plain http to other hosts than this one.
        clock: Time and chance for the login.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "vault"

    def __init__(
        self,
        url: str | None = None,
        token: Credential | None = None,
        *,
        role_id: Credential | None = None,
        secret_id: Credential | None = None,
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
            validate_url("url", url, "", allow_http)
        self._url, self._token = url, token
        self._role, self._mount, self._namespace = (role_id, secret_id), mount, namespace
        self._kv, self._version = kv, version
        self._session, self._verify, self._allow_http = session, verify, allow_http
        self._timeout = validate_seconds("timeout", timeout)
        self._login: Secret | None = None
        if role_id is not None:
            # Not beyond its end: the server would refuse it.
            self._login = Secret(Function(self._log_in), "auth/approle", ttl=None, stale_if_error=0.0, clock=clock)

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret at a path, or one of its fields; see `Provider.fetch`."""
        path = _quote_path(name)
        held = None if self._login is None else self._login.current()
        try:
            response = self._read(name, path, self._resolve_token() if held is None else held.value)
        except SecretError as error:
            if held is None or self._login is None or error.reason != "denied":
                raise
            later = self._login.after(held)
            refused = copy_without_request(error)
            response = None if later is None else self._read(name, path, later.value)
        if response is None:
            raise refused
        return self._extract(name, response, field)

    def _read(self, name: str, path: str, token: str) -> Any:
        parameters = {} if self._version is None else {"params": {"version": str(self._version)}}
        client = self._client(token)
        return self._ask(name, lambda: client.adapter.get(f"/v1/{path}", **parameters))

    def _extract(self, name: str, response: Any, field: str | None) -> Fetched:
        data = response.get("data") if isinstance(response, dict) else None
        if not isinstance(data, dict):
            advice = "check that VAULT_ADDR is that of the active server, and the path that of a secret"
            raise self.fetch_error(name, "malformed", advice)
        if self._kv == 2 or (self._kv == "auto" and _is_versioned(data)):
            data = data.get("data")
        if not isinstance(data, dict):
            raise self.fetch_error(name, "not found", "this version of it was deleted")
        duration = response.get("lease_duration")
        has_lease = isinstance(duration, (int, float)) and duration > 0
        return Fetched(extract_field(self.scheme, name, data, field), float(duration) if has_lease else None)

    def _log_in(self) -> Fetched:
        name = f"auth/{self._mount}/login"
        role, secret = (
            resolve_credential(credential, "Vault", field)
            for field, credential in zip(("role_id", "secret_id"), self._role, strict=True)
        )
        client = self._client("")

        def login() -> tuple[str, float]:
            grant = client.auth.approle.login(role, secret, use_token=False, mount_point=self._mount)["auth"]
            token, duration = grant["client_token"], float(grant["lease_duration"])
            if not isinstance(token, str):
                raise TypeError("client_token")
            return token, duration

        token, duration = call_without_leak(login, lambda error: self._translate_login(name, error))
        return Fetched(to_text(self.scheme, name, token), duration if duration > 0 else None)

    _logged_in = _log_in  # its name in the pickles of earlier versions

    def _resolve_token(self) -> str:
        token = self._token if self._token is not None else os.environ.get("VAULT_TOKEN")
        advice = ", and the environment has no VAULT_TOKEN" if token is None else ""
        return resolve_credential(token, "Vault", "token", advice)

    def _client(self, token: str) -> Any:
        hvac = import_library("hvac", "vault")
        url = self._url or os.environ.get("VAULT_ADDR")
        if not url:
            raise ConfigurationError("Vault: there is no url, and the environment has no VAULT_ADDR")
        return hvac.Client(
            url=validate_url("url", url, "", self._allow_http),
            token=token,
            namespace=self._namespace or os.environ.get("VAULT_NAMESPACE"),
            session=self._session or _process_session(os.getpid(), self._verification()),
            timeout=self._timeout,
            allow_redirects=False,  # the token would go along
        )

    def _verification(self) -> bool | str:
        if self._verify is not None:
            return self._verify
        return os.environ.get("VAULT_CACERT") or os.environ.get("VAULT_CAPATH") or True

    def _translate(self, name: str, error: Exception) -> Exception:
        known = _REASONS.get(type(error).__name__)
        if known is None and _is_transport(error):
            known = ("unreachable", "check VAULT_ADDR, proxies and network")
        if known is None:
            return super()._translate(name, error)
        return self.fetch_error(name, *known, retry_after=getattr(error, "retry_after", None))

    def _translate_login(self, name: str, error: Exception) -> Exception:
        translated = self._translate(name, error)
        if isinstance(translated, SecretError):
            translated.final = False  # a login that failed proves nothing about the secret
        return translated

    def __getstate__(self) -> dict[str, Any]:
        token, *role = (
            leave_text_behind(credential, "Vault", "the token or secret_id")
            for credential in (self._token, *self._role)
        )
        return {**vars(self), "_token": token, "_role": tuple(role)}

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


def _quote_path(name: str) -> str:
    """Return a name as a path of the API, quoted so that it cannot lead out of it."""
    parts = name.strip("/").split("/")
    if not all(parts) or paths.find_climb(name):
        raise ConfigurationError(f"Secret: {name!r} is no path of the API of Vault, such as secret/data/app")
    return "/".join(quote(part, safe="") for part in parts)


def _is_versioned(data: dict[str, Any]) -> bool:
    metadata = data.get("metadata")
    return set(data) == {"data", "metadata"} and isinstance(metadata, dict) and "version" in metadata


def _is_transport(error: Exception) -> bool:
    import requests

    return isinstance(error, (requests.RequestException, OSError))


@lru_cache(maxsize=8)
def _process_session(process: int, verify: bool | str) -> requests.Session:  # noqa: ARG001 - a forked process makes its own
    import requests

    from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

    session = requests.Session()
    session.verify = verify
    for prefix in ("https://", "http://"):
        session.mount(prefix, ResilientAdapter())
    return session
