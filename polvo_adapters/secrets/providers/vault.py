"""Secrets in OpenBao and HashiCorp Vault, through the library hvac.

Theory of operation. A name is a path of the API, as the command `bao read` takes it: `secret/data/app` for version 2
of the key-value store that is mounted at `secret`, `secret/app` for version 1, `database/creds/reader` for credentials
that are made for each reader. hvac sends through a session with a ResilientAdapter, which retries and obeys the
deadline of the call.

If the response has a lease, its duration bounds the lifetime of the secret. One that can be renewed is renewed when
three quarters of it are over, and the value stays. It is replaced by a new one where the server does not renew it, or
for less than half of its first time, because the longest time that it may live is near; and where the server that it
is for has refused it. Two fields of such a secret belong together: ask for "*", or each would come from a lease of its
own.

The token, given or of a login, is renewed as well: see `polvo_adapters.secrets.providers.vault_token`.

Source: https://openbao.org/api-docs/
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from polvo_adapters.context.call import settings_scope
from polvo_adapters.core import paths, setting_kinds
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.setting_kinds import SettingKind, check_settings
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.policies.one_call import FOR_ONE_SERVER
from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.secrets.provider import (
    Fetched,
    Provider,
    call_without_leak,
    copy_without_request,
    extract_field,
    import_library,
)
from polvo_adapters.secrets.providers.base import BaseProvider, Credential, leave_text_behind, resolve_credential
from polvo_adapters.secrets.providers.vault_login import VaultLogin
from polvo_adapters.secrets.providers.vault_token import GivenToken, LoginToken
from polvo_adapters.secrets.secret import Secret
from polvo_adapters.shells.plain_words import describe_cause
from polvo_adapters.shells.urls import validate_seconds, validate_url

if TYPE_CHECKING:
    import requests


_AT_MOST_A_QUARTER = 1e9  # seconds before its end from which on a token is renewed; a Secret takes a quarter at most
_USED_PART = 0.75  # of a lease that can be renewed: the rest is for the renewal
_MOST_LEASES = 1000
_LONGEST_OUTAGE = 7 * 86_400.0  # seconds for which it is tried to renew a token that was given


@unpicklable
class _Lease(NamedTuple):
    """A secret that the server has lent.

    Attributes:
        lease_id: Name of the lease at the server.
        value: The secret, or the field of it that was asked for.
        seconds: For how long it was lent first.
    """

    lease_id: str
    value: str
    seconds: float

    def __repr__(self) -> str:
        return f"<_Lease for {self.seconds:g} s>"


_KINDS = {
    "token": setting_kinds.SECRET | None,
    "role_id": setting_kinds.SECRET | None,
    "secret_id": setting_kinds.SECRET | None,
    "login": SettingKind("a VaultLogin", lambda value: isinstance(value, VaultLogin)) | None,
    "mount": setting_kinds.TEXT,
    "namespace": setting_kinds.TEXT | None,
    "version": setting_kinds.whole(1) | None,
    "session": setting_kinds.SESSION | None,
    "verify": setting_kinds.VERIFY | None,
    "allow_http": setting_kinds.FLAG,
    "clock": setting_kinds.CLOCK,
}


class Vault(BaseProvider):
    """OpenBao or HashiCorp Vault: `vault://secret/data/app#password`.

    Args:
        url: URL of the server; None for the environment variable VAULT_ADDR.
        token: The token, or a function that returns it; None for VAULT_TOKEN.
        login: The login that a token is obtained by, such as `VaultLogin.kubernetes("app")`.
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
        clock: Time and chance for the life of the token.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "vault"

    def __init__(
        self,
        url: str | None = None,
        token: Credential | None = None,
        *,
        login: VaultLogin | None = None,
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
        given_kinds = {
            "token": token,
            "role_id": role_id,
            "secret_id": secret_id,
            "login": login,
            "mount": mount,
            "namespace": namespace,
            "version": version,
            "session": session,
            "verify": verify,
            "allow_http": allow_http,
            "clock": clock,
        }
        check_settings("Vault", given_kinds, _KINDS, ConfigurationError, shows=False)
        if isinstance(kv, bool) or kv not in (1, 2, "auto"):
            raise ConfigurationError(f'Vault: kv={kv!r} must be 1, 2 or "auto"')
        ways = {"token": token, "login": login, "role_id": role_id}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ConfigurationError(f"Vault: {' and '.join(given)} do not go together")
        if (role_id is None) != (secret_id is None):
            raise ConfigurationError("Vault: role_id and secret_id go together")
        if url is not None:
            validate_url("url", url, "", allow_http)
        self._url, self._token = url, token
        self._role, self._mount, self._namespace = (role_id, secret_id), mount, namespace
        self._kv, self._version = kv, version
        self._session, self._verify, self._allow_http = session, verify, allow_http
        self._timeout = validate_seconds("timeout", timeout)
        self._method, self._clock = login, clock
        self._leases: dict[tuple[str, str | None], _Lease] = {}
        self._given: Secret | None = None
        self._login: Secret | None = None
        if role_id is not None or login is not None:
            # Not beyond its end: the server would refuse it.
            provider = LoginToken(self._log_in, self._ask_server)
            self._login = self._hold_token(provider, self._login_path, stale_if_error=0.0)

    @property
    def _login_path(self) -> str:
        return f"auth/{self._mount}/login" if self._method is None else self._method.path

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return the secret at a path, or one of its fields; see `Provider.fetch`."""
        response = self._ask_with_token(name, "GET", _quote_path(name), self._parameters)
        fetched = self._extract(name, response, field)
        lease_id = response.get("lease_id")
        if isinstance(lease_id, str) and lease_id and response.get("renewable") is True and fetched.lifetime:
            while len(self._leases) >= _MOST_LEASES:
                self._leases.pop(next(iter(list(self._leases)), ("", None)), None)
            self._leases[name, field] = _Lease(lease_id, fetched.value, fetched.lifetime)
            return fetched._replace(lifetime=fetched.lifetime * _USED_PART)
        return fetched

    def renew(self, name: str, field: str | None) -> Fetched | None:
        """Return the value of a lease that the server has renewed, or None where it is to be replaced."""
        lease = self._leases.get((name, field))
        if lease is None:
            return None
        fields = {"lease_id": lease.lease_id, "increment": int(lease.seconds)}
        try:
            response = self._ask_with_token(name, "PUT", "sys/leases/renew", {"json": fields})
        except SecretError as error:
            if error.reason in ("sealed", "unavailable", "unreachable"):
                raise
            response = None
        duration = _read_duration(response)
        if duration is None or duration < lease.seconds / 2:
            self._leases.pop((name, field), None)
            return None
        return Fetched(lease.value, duration * _USED_PART)

    @property
    def _parameters(self) -> dict[str, Any]:
        return {} if self._version is None else {"params": {"version": str(self._version)}}

    def _ask_with_token(self, name: str, method: str, path: str, keywords: dict[str, Any]) -> Any:
        """Return the answer to a request with the present token, or with the next one where that is refused."""
        if self._login is None:
            token = self._resolve_token()
            self._renew_given(token)
            response = self._send(name, method, path, token, keywords)
            if self._given is None:
                self._given = self._hold_given(token)  # it is looked up when it is used again
            return response
        held = self._login.current()
        try:
            return self._send(name, method, path, held.value, keywords)
        except SecretError as error:
            if error.reason != "denied":
                raise
            later = self._login.after(held)
            refused = copy_without_request(error)
        if later is None:
            raise refused
        return self._send(name, method, path, later.value, keywords)

    def _hold_given(self, token: str) -> Secret:
        provider = GivenToken(token, self._ask_server)
        return self._hold_token(provider, "auth/token", stale_if_error=_LONGEST_OUTAGE)

    def _hold_token(self, provider: Provider, name: str, *, stale_if_error: float) -> Secret:
        """Return the Secret that holds a token; a fetch that needs it renews it, and runs ahead of time itself."""
        return Secret(
            provider,
            name,
            ttl=None,
            stale_if_error=stale_if_error,
            refresh_before=_AT_MOST_A_QUARTER,
            background=False,
            clock=self._clock,
        )

    def _renew_given(self, token: str) -> None:
        """Renew a token that was given, if it is time; the server says what it thinks of one that is not renewed."""
        if self._given is None:
            return
        if self._given.source.provider.token != token:  # type: ignore[attr-defined]
            self._given = self._hold_given(token)
        with suppress(SecretError):
            self._given.get()

    def _ask_server(self, method: str, path: str, token: str, fields: dict[str, Any] | None) -> Any:
        return self._send(path, method, path, token, {} if fields is None else {"json": fields})

    def _send(self, name: str, method: str, path: str, token: str, keywords: dict[str, Any]) -> Any:
        client = self._client(token)
        with settings_scope(FOR_ONE_SERVER):
            return self._ask(name, lambda: client.adapter.request(method, f"/v1/{path}", **keywords))

    def _extract(self, name: str, response: Any, field: str | None) -> Fetched:
        data = response.get("data") if isinstance(response, dict) else None
        if not isinstance(data, dict):
            advice = "check that VAULT_ADDR is that of the active server, and the path that of a secret"
            raise self.fetch_error(name, "malformed", advice)
        if self._kv == 2 or (self._kv == "auto" and _is_versioned(data)):
            data = data.get("data")
        if not isinstance(data, dict):
            raise self.fetch_error(name, "not found", "this version of it was deleted")
        return Fetched(extract_field(self.scheme, name, data, field), _read_duration(response))

    def _log_in(self) -> Any:
        """Log in, and return the part `auth` of the answer."""
        path = self._login_path
        fields = self._build_login_fields()
        client = self._client("")

        def login() -> Any:
            with settings_scope(FOR_ONE_SERVER):
                return client.adapter.request("POST", f"/v1/{path}", json=fields)

        answer = call_without_leak(login, lambda error: self._translate_login(path, error))
        auth = answer.get("auth") if isinstance(answer, dict) else None
        auth = auth if isinstance(auth, dict) else {}
        token = auth.get("client_token")
        if isinstance(token, str) and token and token.isascii() and token.isprintable():
            return auth
        advice = "check that VAULT_ADDR is that of the active server, and the path that of a login"
        if auth.get("mfa_requirement"):
            advice = "the server asks for a second factor; log in by a method that needs none"
        error = self.fetch_error(path, "malformed", advice)
        error.final = False  # as in _translate_login
        raise error

    _logged_in = _log_in  # its name in the pickles of earlier versions

    def _build_login_fields(self) -> dict[str, str]:
        if self._method is not None:
            return self._method.build_fields()
        return {
            field: resolve_credential(credential, "Vault", field)
            for field, credential in zip(("role_id", "secret_id"), self._role, strict=True)
        }

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
            cause, advice = describe_cause(error, self._host)
            known = ("unreachable", f"{cause}; {advice}, and VAULT_ADDR")
        if known is None:
            return super()._translate(name, error)
        return self.fetch_error(name, *known, host=self._host, retry_after=getattr(error, "retry_after", None))

    @property
    def _host(self) -> str:
        return find_host(self._url or os.environ.get("VAULT_ADDR") or "")

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
        return {**vars(self), "_token": token, "_role": tuple(role), "_leases": {}, "_given": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"_method": None, "_clock": SYSTEM, "_leases": {}, "_given": None, **state})

    def __repr__(self) -> str:
        return f"<Vault at {self._url or 'VAULT_ADDR'}>"


_REASONS = {
    "InvalidPath": ("not found", "check the path; version 2 of the key-value store has /data/ in it"),
    "Forbidden": ("denied", "check the token and its policies"),
    "Unauthorized": ("denied", "check the token"),
    "InvalidRequest": ("denied", "check the path, and what is sent to log in"),
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


def _read_duration(response: Any) -> float | None:
    """Return the seconds of a lease, or None where there is none."""
    duration = response.get("lease_duration") if isinstance(response, dict) else None
    is_number = isinstance(duration, (int, float)) and not isinstance(duration, bool)
    return float(duration) if is_number and duration > 0 else None  # type: ignore[arg-type, operator]


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
