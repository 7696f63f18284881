"""A session for new code: base URL, timeouts and resilience by keyword, and errors that say what to do.

It follows redirects itself, so its deadline bounds the whole logical call: every hop counts from the moment when the
call began. A 429 that outlives the retries raises RateLimitError here, where a mounted adapter returns it; and so does
another error by which the server says the same, such as a 403 with the reason `userRateLimitExceeded`.

A call is made on behalf of one tenant from its preparation to its last hop, whatever is set meanwhile.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from polvo_adapters.context.call import current_call
from polvo_adapters.context.one_call import call as one_call
from polvo_adapters.core import validate
from polvo_adapters.core.calls import origin
from polvo_adapters.core.http import text_of
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.defaults import SESSION_DEFAULTS
from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.stack import refuse_unknown_keywords
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.requests.hooks import defer_hooks
from polvo_adapters.shells.requests.json_errors import explain_json
from polvo_adapters.shells.requests.plain_words import complete_error
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT
from polvo_adapters.shells.requests.url_reading import parse_as_requests
from polvo_adapters.shells.requests.verbs import Verbs
from polvo_adapters.shells.session_calls import (
    KINDS,
    SessionCalls,
    make_key_header,
    name_served_host,
    validate_base_url,
    validate_tenancy_of,
)
from polvo_adapters.shells.status_error import find_verdict, raises, status_error
from polvo_adapters.shells.tenancy import Tenancy
from polvo_adapters.shells.urls import make_absolute, resolve
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.options import StackOptions
    from polvo_adapters.shells.downloads import OnChange
    from polvo_adapters.shells.operation_control import Operation

_UNSET: Any = object()
_OWN_KEYWORDS = ("base_url", "auth", "timeout", "tenancy", "store", "raise_for_status", "clock")
_CALL_OPTIONS = frozenset(CallOptions.__annotations__) - {"timeout", "idempotency_key"}  # which have a meaning already


@partial(fix_options, more=("store",))
class Session(SessionCalls, Verbs):
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
        check_settings(type(self).__name__, {"clock": clock, "raise_for_status": raise_for_status}, KINDS)
        super().__init__()
        self.base_url = validate_base_url(base_url)
        self.auth = _validate_auth(auth)
        self.timeout = validate.timeout("timeout", timeout)
        self.tenancy = validate_tenancy_of(tenancy, options.get("regions"))
        self.raise_for_status = raise_for_status
        self.clock = clock
        self._note_deadline(options)
        stack = {**SESSION_DEFAULTS, **options}
        self._mount(store=MemoryStore(now=clock.now) if store is None else store, **stack)

    def _mount(self, **keywords: Any) -> None:
        keywords = name_served_host(keywords, self.base_url)
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
                url, is_home = resolve(url, self.base_url, tenant, self.tenancy, parse_as_requests)
                if not is_home:
                    auth = _no_auth if auth is None and self.auth is not None else auth
                    headers = {"Authorization": None, **(headers or {})}
                if key is not None:
                    headers = {**(headers or {}), **make_key_header(self._find_keys(url), key, headers or ())}
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
                request = _name_tenant(self.tenancy, request, tenant, self.base_url)
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
            if raises(response.status_code, verdict, raise_for_status=self.raise_for_status):
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
                the URL. One that is named with a slash at its end is made where it is missing.
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
            absolute = make_absolute(url, self.base_url, tenant, self.tenancy, parse_as_requests)
            return download(
                self.get, url, path, on_change=on_change, progress=progress, absolute_url=absolute, **keywords
            ).path

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
            url = make_absolute(url, self.base_url, tenant, self.tenancy, parse_as_requests)
            adapter = self._get_policy_adapter(url, "record of idempotency keys")
            request = None
            if caller is None:
                with suppress(requests.exceptions.InvalidURL):  # which looks up an operation all the same
                    request = self.prepare_request(requests.Request("POST", url))
            return adapter.operation(url, key, caller=caller, request=request, certificate=self.cert)

    def _make_absolute(self, url: str, tenant: str) -> str:
        return make_absolute(url, self.base_url, tenant, self.tenancy, parse_as_requests)

    def _add_tenant(self, url: str, tenant: str) -> str:
        if self.tenancy is None:
            return url
        return self.tenancy.address(url, tenant, self.base_url, parse=parse_as_requests)

    def _find_controls(self, url: str, wanted: str) -> PolicyAdapter:
        return self._get_policy_adapter(url, wanted)

    def _find_keys(self, url: str) -> IdempotencyKeys | None:
        bound = getattr(self.get_adapter(url), "_bound", None)
        return None if bound is None else bound.keys

    def _get_policy_adapter(self, url: str, wanted: str) -> PolicyAdapter:
        """Return the adapter for a URL, or raise ConfigurationError where it is not a PolicyAdapter."""
        adapter = self.get_adapter(url)
        if not isinstance(adapter, PolicyAdapter):
            raise ConfigurationError(f"there is no {wanted} for {origin(url)}; mount one, or ask for another URL")
        return adapter


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


def _name_tenant(tenancy: Tenancy, request: requests.Request, name: str, base_url: str | None) -> requests.Request:
    """Return a copy of a request that names the tenant."""
    url: Any = request.url
    if not name or not tenancy.is_home(url, name, base_url, parse=parse_as_requests):
        return request
    request = copy.copy(request)
    request.url = tenancy.address(url, name, base_url, parse=parse_as_requests)
    added = tenancy.make_headers(name)
    if added:
        replaced = {header.lower() for header in added}
        given = dict(request.headers or {}).items()
        others = {header: value for header, value in given if text_of(header).lower() not in replaced}
        request.headers = {**others, **added}
    return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request as it is: an `auth` that keeps those of the session and of a netrc file from the host."""
    return request
