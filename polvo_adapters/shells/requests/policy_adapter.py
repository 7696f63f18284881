"""The transport adapter that sends requests as policies say.

Theory of operation. A PolicyAdapter is a `requests.adapters.HTTPAdapter`. Its `send` makes the flow of its policies,
drives it on the calling thread, and returns the response, or raises the exception, that the flow ends with. It sends
through its own connection pool, or through any other adapter given as `inner`.

Like every adapter, it sits below redirects, cookies and `auth`, so that each hop is a call of its own.

Retries do not multiply. Where the policies retry, a retry policy in the adapter below is left out: not switched off in
that adapter, which other code may use, but in the view through which this one sends. A urllib3 `Retry` is either asked
in the place of the policy, or left out in the same way:

    max_retries of the adapter, or of the one that it wraps    retries are decided by
    ---------------------------------------------------------  --------------------------------------------------
    as it was when this adapter was made                       the policy, which ResilientAdapter makes of a Retry
                                                               that it finds, unless it is given another
    assigned since then                                        what was assigned
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import requests
from requests.adapters import DEFAULT_POOLSIZE, BaseAdapter, HTTPAdapter
from urllib3.util import Retry

from polvo_adapters.context.call import call_settings, settings_scope
from polvo_adapters.core import setting_kinds, validate
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.identity import PLAIN_SENDER, Sender
from polvo_adapters.core.report import Entry
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.drivers.sync import drive
from polvo_adapters.policies.asked_retry import AskedRetry
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.one_call import CallSettings
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import pool_size
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.bound_policies import BoundPolicies, PolicyControls
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.overruns import report_unwatched
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.shells.requests.hooks import has_left_origin
from polvo_adapters.shells.requests.nesting_adapter import NestingAdapter
from polvo_adapters.shells.requests.outer_call import find_logical_call, note_end
from polvo_adapters.shells.requests.repeatable_request import RepeatableRequest
from polvo_adapters.shells.requests.requested_retry import (
    RETRY_POLICIES,
    as_retry,
    ask_instead,
    find_requested_retry,
)
from polvo_adapters.shells.requests.response import hand_over
from polvo_adapters.shells.requests.rest import let_resume
from polvo_adapters.shells.requests.wire.named_timeout import (
    ASKED,
    DEFERRED,
    UNLIMITED,
    UNSET,
    choose_usable,
    find_default_timeout,
    is_none_on_purpose,
    sends_through_another,
)
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.pools import kind_of_view
from polvo_adapters.shells.requests.wire.recording_retry import NO_RETRY
from polvo_adapters.shells.requests.wire.route import Route
from polvo_adapters.shells.requests.wire.transmission import Transmission
from polvo_adapters.shells.requests.wrapping import become_wrapping
from polvo_adapters.stores.base import Store

_SET_BY_INIT = frozenset({"policies", "inner", "store", "clock", "_bound", "_bound_retries", "_pool_limits"})
_KINDS = {
    "clock": setting_kinds.CLOCK,
    "pool_connections": setting_kinds.whole(0),
    "pool_maxsize": setting_kinds.whole(0),
    "pool_block": setting_kinds.FLAG,
    "max_retries": setting_kinds.SettingKind(
        "a whole number, or a Retry of urllib3",
        lambda value: value is None or isinstance(value, int) or hasattr(value, "increment"),
    ),
}


class PolicyAdapter(NestingAdapter, PolicyControls):
    """An adapter that sends requests as its policies say.

    Mount it on any session: `session.mount("https://api.example.com/", PolicyAdapter(Deadline(10)))`.

    Args:
        *policies: The policies, outermost first; without any it is an ordinary adapter.
        inner: The adapter to send through; by default it has connection pools of its own.
        store: Where state lives that outlives a call; by default in the memory of this adapter.
        timeout: Timeout of an attempt where the caller named none, in seconds or as a (connect, read) tuple; by default
            that of the `inner`, where it has one, and otherwise none.
        clock: Time and chance; tests pass a virtual clock.
        credential: Where the API takes its credential, if not in a usual place: the name of a header, "?parameter",
            "cookie:name", or several; see `polvo_adapters.core.identity`.
        **http_adapter_keywords: Those of `requests.adapters.HTTPAdapter`: pool_connections, pool_maxsize, pool_block,
            max_retries. Only without `inner`.

    Raises:
        TypeError: A policy is none, a keyword is unknown, or pool settings are given together with `inner`.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "policies", "inner", "store", "timeout", "clock", "credential", "installed"]

    credential: str | Sequence[str] | None = None
    installed: Any = None  # the installation that this adapter was made for
    timeout: Any = None
    """Timeout of an attempt where the caller names none; an adapter made without one has that of its class."""
    _session: weakref.ref[requests.Session] | None = None  # the one that it serves, where that is known
    _transmission: Transmission | None = None  # the attempt of an adapter outside of this one, in a view on it
    _owner: ConnectionOwner | None = None  # the caller, in a view for one of several that share the adapter
    _default_timeout: Any = None  # that of a call, or how to find it out, where this adapter was given none
    _defers = False  # whether deadlines are kept below an adapter, so that it may be handed a timeout of None
    _class_timeout: Any = None  # the default of the class, in an adapter that wraps another
    _retries: Retry | None = None  # what the adapter below has in the place of its own `max_retries`, or None for those
    _bound_retries: Any  # `max_retries` as they were when the policies were bound
    _below: BaseAdapter | None  # the wrapped adapter, or a view on it that does not retry

    def __init__(
        self,
        *policies: Policy,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        timeout: float | tuple[float | None, float | None] | None = UNSET,
        clock: Clock = SYSTEM,
        credential: str | Sequence[str] | None = None,
        **http_adapter_keywords: Any,
    ) -> None:
        check_settings(type(self).__name__, {"clock": clock, **http_adapter_keywords}, _KINDS)
        self.credential = credential
        self.policies = policies
        self.inner = inner
        self.store: Any = store
        if timeout is not UNSET:  # what a subclass has put there before stays
            self.timeout = validate.timeout("timeout", timeout)
        self.clock = clock
        if inner is None:
            self._set_pool_limits(http_adapter_keywords.get("pool_connections", DEFAULT_POOLSIZE))
            super().__init__(**http_adapter_keywords)
        elif not _is_adapter(inner):
            raise TypeError(f"{type(self).__name__}: inner must be a transport adapter, not {type(inner).__name__}")
        elif http_adapter_keywords:
            names = ", ".join(http_adapter_keywords)
            raise TypeError(f"{type(self).__name__}: {names} belong to the adapter given as inner")
        self._bind()

    def _make_default_policies(self) -> tuple[Policy, ...]:
        """Return the policies of an adapter that is given none."""
        return ()

    def _init_late(self) -> None:
        """Do what `__init__` does, where a class beside this one calls that of HTTPAdapter and passes this one over."""
        self.policies, self.inner, self.store, self.clock = self._make_default_policies(), None, None, SYSTEM
        self._set_pool_limits(self.__dict__.get("_pool_connections", DEFAULT_POOLSIZE))
        self._bind()

    def _bind(self) -> None:
        """Prepare once what all calls need."""
        self._bound = BoundPolicies(
            type(self).__name__, self.policies, self.store, self.clock, self.credential, asks=True
        )
        self.store = self._bound.store
        retry = _find_retry_policy(self.policies)
        self._retries = retry.retry if isinstance(retry, AskedRetry) else None if retry is None else NO_RETRY
        self._bound_retries = self._read_max_retries()
        if self.inner is None:
            self._below, self._route = None, Route(self, PolicyAdapter)
        else:
            self._bind_inner(self.inner, may_retry=retry is None)
        self._default_timeout = find_default_timeout(type(self), self.inner, PolicyAdapter)
        forks.register(self)

    def _bind_inner(self, inner: BaseAdapter, *, may_retry: bool) -> None:
        """Prepare once what all calls through a wrapped adapter need."""
        self._below = inner if may_retry else _without_retries(inner)
        self._route = Route(self._below)
        if kind_of_view(inner) is None and any(isinstance(policy, Deadline) for policy in self.policies):
            report_unwatched(type(inner))
        self._defers = isinstance(inner, PolicyAdapter) or (self._route.is_watched and sends_through_another(inner))
        become_wrapping(self)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a prepared request as the policies say; arguments as for `HTTPAdapter.send`.

        Returns:
            The last response; its `polvo` is the report of the call.

        Raises:
            requests.RequestException: The exception from below, with a note and the report as `polvo`; or a PolvoError
                that a policy put in its place.
        """
        if self._read_max_retries() is not self._bound_retries:
            self._adopt_max_retries()
        bound, clock, outer, settings = self._bound, self.clock, self._transmission, call_settings.get()
        below = self if self._below is None else self._below
        sockets, retries, fallback = None, self._retries, None
        if outer is not None:
            sockets, retries = outer.sockets, outer.retries if retries is None else retries
        if timeout is None:
            timeout, fallback = self._choose_timeout(outer)
        keywords = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        if settings is not None:
            bound, settings, settings_below, retries = self._apply_settings(settings, keywords, retries)
        repeatable = RepeatableRequest(request)
        if repeatable.body == "single-use":
            repeatable.find_signer(self._session)
        exchange = RequestsExchange(self._route, below, repeatable, keywords, clock, sockets, self._owner, retries)
        exchange.above = self
        entries: list[Entry] = []
        logical = find_logical_call(outer, clock, exchange)
        sender = Sender(cert, verify, proxies, self._name_transport()) if bound.identifies else PLAIN_SENDER
        has_left = bound.reroutes and has_left_origin(request)
        url, now = request.url or "", clock.now()
        call = bound.begin(request, url, repeatable.body, now, sender, logical, settings, rerouted=has_left)
        if self._defers or fallback is not None:  # after the request has got its key and its id
            exchange.expect_own_send(fallback, self._defers)
        began = clock.now()
        if settings is None:
            outcome = drive(bound.flow(call), exchange, self.store, clock, entries, call)
        else:
            with settings_scope(settings_below):
                outcome = drive(bound.flow(call), exchange, self.store, clock, entries, call)
        report = bound.report(call, request, outcome, entries, clock.now() - began)
        note_end(outer, outcome, report)
        if outcome.error is not None:
            exchange.close()
            try:
                raise attach_report(outcome.error, report, request)
            finally:
                del outcome  # see errors.py, "Errors and frames"
        response = exchange.take_response(outcome)
        hand_over(response, report)
        response.connection = self  # a replay after 401 must pass the policies as well
        if bound.resumes:
            rest = call if exchange.spared_deadline is None else call.with_deadline(None)
            let_resume(response, self.store, exchange, bound.policies, rest)
        return response

    def _choose_timeout(self, outer: Transmission | None) -> tuple[Any, Any]:
        """Return the timeout of a call that names none, and that for the pool of an adapter which may have its own."""
        above = None if outer is None else outer.fallback
        if above is UNLIMITED:
            return None, UNLIMITED
        default, fallback = self.__dict__.get("timeout", self._default_timeout), None
        if default is DEFERRED:
            default, fallback = None, self._class_timeout if above is None else above
        elif default is ASKED:
            default = choose_usable(self.timeout, self._class_timeout)
        if default is None and fallback is None:
            return above, None
        return (None, UNLIMITED) if is_none_on_purpose(2) else (default, fallback)

    def serve(self, session: requests.Session) -> None:
        """Sign requests anew for each attempt by the `auth` of a session, where that has signed them with a nonce."""
        self._session = weakref.ref(session)

    def _adopt_max_retries(self) -> None:
        """Let the `Retry` that was assigned since this adapter was made decide in the place of the policy."""
        retry = as_retry(self._read_max_retries())
        self.policies = tuple(ask_instead(policy, retry) for policy in self.policies)
        self._bind()

    def _apply_settings(
        self, settings: CallSettings, keywords: dict[str, Any], retries: Retry | None
    ) -> tuple[BoundPolicies, CallSettings, CallSettings | None, Retry | None]:
        """Return what a call goes by for which settings were given in a block.

        Args:
            settings: The settings of the block.
            keywords: Those of the attempts, which get the timeout of the block.
            retries: What the adapter below has in the place of its `max_retries` in other calls.

        Returns:
            The policies, the settings for this adapter, those for adapters below, and what the adapter below has in
            the place of its `max_retries`.
        """
        bound, here, below = self._bound.for_call(settings, self.inner)
        if here.has_timeout:
            keywords["timeout"] = here.timeout
        is_told_below = retries is None and isinstance(self.inner, PolicyAdapter)
        if here.says_retries and not is_told_below:
            retries = next((each.retry for each in bound.policies if isinstance(each, AskedRetry)), NO_RETRY)
        return bound, here, below, retries

    def __getattr__(self, name: str) -> Any:
        # Code that expects the wrapped adapter finds its poolmanager and the like here.
        inner = None if name.startswith("__") else self.__dict__.get("inner")
        if inner is None and name in _SET_BY_INIT and "max_retries" in self.__dict__ and "_bound" not in self.__dict__:
            self._init_late()
            return getattr(self, name)
        if inner is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(inner, name)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: self.__dict__[name] for name in self.__attrs__ if name in self.__dict__}
        others = set(self.__attrs__).difference(state, PolicyAdapter.__attrs__)
        return {**state, **{name: getattr(self, name) for name in others if hasattr(self, name)}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("inner") is None:
            self._set_pool_limits(state.get("_pool_connections", DEFAULT_POOLSIZE))
            super().__setstate__(state)
        else:
            for name, value in state.items():
                setattr(self, name, value)
        self._bind()


def _is_adapter(value: Any) -> bool:
    """Return whether a value may be an adapter; a session has a `send` too."""
    return hasattr(value, "send") and not isinstance(value, (requests.Session, type))


def fit_pool(keywords: dict[str, Any], policies: Sequence[Policy]) -> None:
    """Add the `pool_maxsize` that the bulkheads among the policies need to keywords of an adapter that has none."""
    size = pool_size(policies)
    if size:
        keywords.setdefault("pool_maxsize", size)


def find_nested_retry(adapter: BaseAdapter | None) -> ExponentialBackoff | AskedRetry | Retry | None:
    """Return how an adapter retries by itself, or None."""
    while isinstance(adapter, PolicyAdapter):
        policy = _find_retry_policy(adapter.policies)
        if policy is not None:
            return policy
        if adapter.inner is None:
            break
        adapter = adapter.inner
    return find_requested_retry(getattr(adapter, "max_retries", None))


def _find_retry_policy(policies: Sequence[Policy]) -> ExponentialBackoff | AskedRetry | None:
    return next((policy for policy in policies if isinstance(policy, RETRY_POLICIES)), None)


def _without_retries(adapter: BaseAdapter) -> BaseAdapter:
    """Return a view on an adapter whose policies do not retry, or the adapter itself where they do not anyway."""
    if not isinstance(adapter, PolicyAdapter) or find_nested_retry(adapter) is None:
        return adapter
    twin = object.__new__(type(adapter))
    twin.__dict__.update(adapter.__dict__)
    twin.policies = tuple(each for each in twin.policies if not isinstance(each, RETRY_POLICIES))
    twin._bind()
    if twin.inner is not None:
        twin._below = _without_retries(twin.inner)
        twin._route = Route(twin._below)
    return twin
