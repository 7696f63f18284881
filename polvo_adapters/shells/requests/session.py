"""A session for new code: base URL, timeouts and resilience by keyword, and errors that say what to do.

It follows redirects itself, so its deadline bounds the whole logical call: every hop counts from the moment when the
call began. A 429 that outlives the retries raises RateLimitError here, where a mounted adapter returns it; and so does
another error by which the server says the same, such as a 403 with the reason `userRateLimitExceeded`.

A call is made on behalf of one tenant from its preparation to its last hop, whatever is set meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from requests._internal_utils import to_native_string

from polvo_adapters.context.call import CallSpan, LogicalCall, call_settings, call_started, current_call
from polvo_adapters.context.one_call import call as one_call
from polvo_adapters.context.tenant import TenantScope, tenant_scope_for, validate_tenant
from polvo_adapters.core import setting_kinds, validate
from polvo_adapters.core.calls import origin
from polvo_adapters.core.setting_kinds import check_settings, show_value
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.defaults import SESSION_DEFAULTS, DefaultDeadline
from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.stack import make_policy, refuse_unknown_keywords
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.request_identity import format_key
from polvo_adapters.shells.requests.hooks import defer_hooks
from polvo_adapters.shells.requests.json_errors import explain_json
from polvo_adapters.shells.requests.plain_words import complete_error
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.status_error import find_verdict, status_error
from polvo_adapters.shells.requests.tenancy import Tenancy
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT
from polvo_adapters.shells.requests.urls import make_absolute, resolve
from polvo_adapters.shells.requests.verbs import Verbs
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.policies.options import StackOptions
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation
    from polvo_adapters.shells.requests.download import OnChange

_UNSET: Any = object()
_KINDS = {"clock": setting_kinds.CLOCK, "raise_for_status": setting_kinds.FLAG}
_OWN_KEYWORDS = ("base_url", "auth", "timeout", "tenancy", "store", "raise_for_status", "clock")
_CALL_OPTIONS = frozenset(CallOptions.__annotations__) - {"timeout", "idempotency_key"}  # which have a meaning already


class Session(Verbs):
    """A `requests.Session` that is resilient from the start.

    Args:
        base_url: URL that relative URLs are appended to. With one, `auth` and an `Authorization` header of the session
            go to its origin only, not to other hosts given as absolute URLs.
        auth: As for `requests`: a (user, password) tuple or an auth object.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte, where the call names no
            timeout of its own; None for no limit.
        tenancy: Where requests name their tenant, or None where the tenant only selects state.
        store: Where state lives that outlives a call; share it between sessions to share the state.
        raise_for_status: Raise a StatusError for every status of 400 or above.
        clock: Time and chance; tests pass a virtual clock.
        **options: Retries, deadline, rate limit and all other policies; see
            `polvo_adapters.policies.options.StackOptions`.

    Raises:
        TypeError: A keyword is unknown, or a value is of no known kind.
        ValueError: A value is out of range.
        ConfigurationError: Regions would take the place of a host that names the tenant.
    """

    __attrs__ = [
        *requests.Session.__attrs__,
        "base_url",
        "timeout",
        "tenancy",
        "raise_for_status",
        "clock",
        "_tenant",
        "_seconds",
        "_default_deadline",
    ]

    tenancy: Tenancy | None = None
    _tenant = ""
    _seconds: float | None = None
    _default_deadline: DefaultDeadline | None = None  # an older pickle has none

    def __init__(
        self,
        base_url: str | None = None,
        auth: Any = None,
        *,
        timeout: Any = DEFAULT_TIMEOUT,
        tenancy: Tenancy | None = None,
        store: Store | None = None,
        raise_for_status: bool = False,
        clock: Clock = SYSTEM,
        **options: Unpack[StackOptions],
    ) -> None:
        refuse_unknown_keywords(options, type(self).__name__, _OWN_KEYWORDS)
        check_settings(type(self).__name__, {"clock": clock, "raise_for_status": raise_for_status}, _KINDS)
        super().__init__()
        self.base_url = _validate_base_url(base_url)
        self.auth = _validate_auth(auth)
        self.timeout = validate.timeout("timeout", timeout)
        self.tenancy = _validate_tenancy(tenancy, options.get("regions"))
        self.raise_for_status = raise_for_status
        self.clock = clock
        deadline: Any = options.get("deadline")
        self._seconds = deadline.seconds if isinstance(deadline, Deadline) else deadline
        self._default_deadline = None if "deadline" in options else DefaultDeadline.of(options)
        stack = {**SESSION_DEFAULTS, **options}
        self._mount(store=MemoryStore(now=clock.now) if store is None else store, **stack)

    def _mount(self, **keywords: Any) -> None:
        regions = make_policy("regions", keywords.get("regions"))
        if regions is not None and not regions.serves and "://" in (self.base_url or ""):
            keywords["regions"] = replace(regions, serves=self.base_url)
        for prefix in self.adapters:
            adapter = self.adapters[prefix] = ResilientAdapter(**keywords, timeout=None, clock=self.clock)
            adapter.serve(self)

    def request(  # type: ignore[override]  # the same, but a timeout of None means none here
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = _UNSET,
        *args: Any,
        **keywords: Any,
    ) -> requests.Response:
        """Send a request; arguments as for `requests.Session.request`, `url` relative to `base_url`.

        There are more keywords: `idempotency_key`, for the key of the operation where the session has `idempotency`,
        and those of `polvo_adapters.call`, such as `retry=False`, for what is said for this call alone.

        Returns:
            The response; its `polvo` is the report of the call.

        Raises:
            requests.RequestException: As `requests` does.
            RateLimitError: 429 or another error for want of quota, after all retries.
            QuotaExceededError: The quota of a plan is used up; at once.
            DeadlineExceeded: The deadline is over.
            StatusError: Any status of 400 or above, with `raise_for_status`.
            ConfigurationError: The tenant is missing or does not fit into the request; or the session has no
                `idempotency`, or the key cannot be sent.
        """
        key = keywords.pop("idempotency_key", None)
        if not _CALL_OPTIONS.isdisjoint(keywords):
            said: Any = {name: keywords.pop(name) for name in _CALL_OPTIONS & keywords.keys()}
            args = (params, data, headers, cookies, files, auth, timeout, *args)
            with one_call(**said):
                return Session.request(self, method, url, *args, **keywords, idempotency_key=key)
        if timeout is _UNSET:
            timeout = self.timeout
        given = url
        try:
            with self._tenant_scope() as tenant, self._call_scope(timeout, begins=True):
                url, is_home = resolve(url, self.base_url, tenant, self.tenancy)
                if not is_home:
                    auth = _no_auth if auth is None and self.auth is not None else auth
                    headers = {"Authorization": None, **(headers or {})}
                if key is not None:
                    headers = self._add_key(url, key, headers or {})
                return super().request(
                    method, url, params, data, headers, cookies, files, auth, timeout, *args, **keywords
                )
        except requests.RequestException as error:
            complete_error(error, given, url)
            raise

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request on behalf of its tenant; see `requests.Session.prepare_request`."""
        with self._tenant_scope() as tenant:
            if self.tenancy is not None:
                request = self.tenancy.apply(request, tenant, self.base_url)
            return super().prepare_request(request)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep credentials and the tenant from another origin that a redirect leads to."""
        super().rebuild_auth(prepared_request, response)
        before, after = response.request.url or "", prepared_request.url or ""
        if self.tenancy is not None and self.should_strip_auth(before, after):
            self.tenancy.withdraw(prepared_request.headers)

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        """Send a prepared request; arguments as for `requests.Session.send`, and the timeout of the session."""
        current = current_call()
        if current is not None and current.session is self and current.sent:
            defer_hooks(request)
            return super().send(request, **keywords)  # a hop of the call in progress
        keywords.setdefault("timeout", self.timeout)
        try:
            with self._tenant_scope(), self._call_scope(keywords["timeout"], sent=True):
                defer_hooks(request)
                response = super().send(request, **keywords)
        except requests.RequestException as error:
            complete_error(error, request.url)
            raise
        if response.status_code >= 400:
            verdict = find_verdict(response)
            if self.raise_for_status or response.status_code == 429 or verdict.is_about_pace:
                raise status_error(response, verdict)
        explain_json(response)
        return response

    def download(
        self,
        url: str,
        path: str | os.PathLike[str],
        *,
        on_change: OnChange = "restart",
        progress: Callable[[int, int | None], object] | None = None,
        **keywords: Any,
    ) -> Path:
        """Download a URL to a file, which appears once it is whole, or not at all.

        A body that breaks off goes on where it broke off, now and, where the server proves that it is still the same
        entity, in a later call: what has come is kept beside the file until then.

        Args:
            url: The URL, relative to `base_url` where there is one.
            path: The file, which is replaced where it exists; or a directory, in which it gets the name at the end of
                the URL.
            on_change: "restart" to begin anew where the entity changes while it is downloaded, or has changed since the
                call that left its beginning; "fail" to raise.
            progress: A function that is called with the number of bytes that are there, and of those that there will
                be, which is None where the server does not say. What it raises ends the download.
            **keywords: Those of `get`; `resume=False` for one that does not go on.

        Returns:
            The path of the file.

        Raises:
            requests.RequestException: As `get` does, and where the body breaks off and does not go on.
            StatusError: The status is 400 or above, or another that comes without a file.
            EntityChangedError: The entity has changed, and `on_change` is "fail"; or it changes again and again.
            ConfigurationError: The path is a directory, and the URL does not end in a name.
            OSError: The file cannot be written.
        """
        from polvo_adapters.shells.requests.download import download

        with self._tenant_scope() as tenant, self._call_scope(None):  # each part of it has its own default deadline
            absolute = make_absolute(url, self.base_url, tenant, self.tenancy)
            return download(
                self.get, url, path, on_change=on_change, progress=progress, absolute_url=absolute, **keywords
            ).path

    @contextmanager
    def _call_scope(self, timeout: Any, *, sent: bool = False, begins: bool = False) -> Iterator[None]:
        """Note when the call began, which is before the token that it needs is obtained.

        Args:
            timeout: The timeout of its attempts, on which the default deadline depends.
            sent: Whether its first request is about to be sent.
            begins: Whether it is a call of its own even within one of this session, as one that a hook makes is.
        """
        outer, now, span = current_call(), self.clock.now(), CallSpan()
        is_within = begins or (outer is not None and outer.session is not self)
        if is_within and outer is not None and outer.is_default and outer.deadline is not None:
            outer = None  # a deadline that no caller has named bounds its own call alone
        if outer is not None and outer.session is self:
            start = outer._replace(sent=sent)
        else:  # a call within a call of another session ends with that
            default, settings = self._default_deadline, call_settings.get()
            own = self._seconds if default is None else default.seconds(timeout)
            seconds = own if settings is None else settings.seconds(own)
            is_default = default is not None and seconds is own and (outer is None or outer.deadline is None)
            start = LogicalCall(self, now, _earliest_deadline(outer, seconds, now), sent, is_default, span)
        token = call_started.set(start)
        try:
            yield
        finally:
            span.is_over = True
            call_started.reset(token)

    def set_tenant(self, identifier: str | int | None) -> None:
        """Make the calls of this session on behalf of a tenant, where no `with` block says otherwise.

        It holds for all threads that use the session; `with session.tenant(...)` holds in one thread or task only.

        Args:
            identifier: Name or number of the tenant; None for none.

        Raises:
            ConfigurationError: It cannot be the name of a tenant.
        """
        self._tenant = "" if identifier is None else validate_tenant(identifier)

    def tenant(self, identifier: str | int) -> TenantScope:
        """Make the calls of this session, and of no other, within a `with` block on behalf of a tenant.

        Args:
            identifier: Name or number of the tenant; see `polvo_adapters.tenant`, whose blocks hold for all sessions.

        Raises:
            ConfigurationError: It cannot be the name of a tenant.
        """
        return TenantScope(validate_tenant(identifier), self)

    def _tenant_scope(self) -> AbstractContextManager[str]:
        """Return the block of a call for the current tenant."""
        return tenant_scope_for(self, self._tenant, required=self.tenancy is not None and self.tenancy.required)

    def circuit(self, url: str = "") -> Circuit:
        """Return the circuit that a URL belongs to, for the current tenant; see `PolicyAdapter.circuit`.

        Args:
            url: A URL, relative to `base_url` where there is one.

        Raises:
            ConfigurationError: There is no circuit breaker for it.
        """
        with self._tenant_scope() as tenant:
            url = make_absolute(url, self.base_url, tenant, self.tenancy)
            if self.tenancy is not None:
                url = self.tenancy.address(url, tenant, self.base_url)
            return self._get_policy_adapter(url, "circuit breaker").circuit(url)

    def operation(self, url: str, key: str, *, caller: str | None = None) -> Operation:
        """Return the operation of an idempotency key, for the current tenant; see `PolicyAdapter.operation`.

        Args:
            url: A URL of the server that the key was sent to, relative to `base_url` where there is one.
            key: The key.
            caller: The caller that the key belongs to, as `caller` of an IdempotencyError says it; by default the one
                that the headers, `auth` and `cert` of this session tell.

        Raises:
            ConfigurationError: There is no record of keys.
        """
        with self._tenant_scope() as tenant:
            url = make_absolute(url, self.base_url, tenant, self.tenancy)
            adapter = self._get_policy_adapter(url, "record of idempotency keys")
            request = None
            if caller is None:
                with suppress(requests.exceptions.InvalidURL):  # which looks up an operation all the same
                    request = self.prepare_request(requests.Request("POST", url))
            return adapter.operation(url, key, caller=caller, request=request, certificate=self.cert)

    def _get_policy_adapter(self, url: str, wanted: str) -> PolicyAdapter:
        """Return the adapter for a URL, or raise ConfigurationError where it is not a PolicyAdapter."""
        adapter = self.get_adapter(url)
        if not isinstance(adapter, PolicyAdapter):
            raise ConfigurationError(f"there is no {wanted} for {origin(url)}; mount one, or ask for another URL")
        return adapter

    def _add_key(self, url: str, key: str, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the headers with an idempotency key."""
        bound = getattr(self.get_adapter(url), "_bound", None)
        keys = None if bound is None else bound.keys
        if keys is None:
            raise ConfigurationError(
                "idempotency_key: idempotency is not enabled on this session; make it with idempotency=True"
            )
        if keys.header.lower() in (to_native_string(name).lower() for name in headers):
            raise ConfigurationError(f"idempotency_key: {keys.header} is among the headers as well; give one of them")
        return {**headers, keys.header: format_key(keys, key)}


def _earliest_deadline(outer: LogicalCall | None, seconds: float | None, now: float) -> float | None:
    """Return the deadline of a call of so many seconds that may be part of another call."""
    ends = [] if outer is None or outer.deadline is None else [outer.deadline]
    if seconds is not None:
        ends.append(now + seconds)
    return min(ends, default=None)


def _validate_base_url(value: Any) -> str | None:
    """Return the base URL, or raise an error where it is none."""
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(f"base_url: expected a URL such as 'https://api.example.com', or None, not {kind}")
    if value and "://" not in value:  # it is not shown, as it may have a password
        raise ConfigurationError("base_url: the scheme is missing; begin it with 'https://'")
    return value


def _validate_auth(value: Any) -> Any:
    """Return what `requests` can use as `auth`, or raise an error, which shows nothing of it."""
    is_pair = isinstance(value, tuple) and len(value) == 2
    if is_pair and None in value:
        raise TypeError("auth: user or password is None; is the environment variable set that it is read from?")
    if value is None or is_pair or (callable(value) and not isinstance(value, type)):
        return value
    found = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    raise TypeError(
        "auth: expected a (user, password) tuple or an auth object, such as polvo.auth.bearer(token), "
        f"polvo.auth.OAuth2(...) or an AuthBase, not {found}"
    )


def _validate_tenancy(tenancy: Any, regions: object) -> Tenancy | None:
    """Return the tenancy, or raise an error where it is none or contradicts the regions."""
    if tenancy is None:
        return None
    if not isinstance(tenancy, Tenancy):
        raise TypeError(f"tenancy={show_value(tenancy)}: expected Tenancy(...) or None")
    if tenancy.names_host and regions is not None:
        raise ConfigurationError(
            f"tenancy={tenancy!r}: the regions are other hosts, which would not know the tenant; use header or path"
        )
    return tenancy


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request as it is: an `auth` that keeps those of the session and of a netrc file from the host."""
    return request
