"""What sessions of every library do alike: the deadline and the tenant of each call, and the look at its state.

`polvo.Session` and `polvo.AsyncSession` are each a subclass of this and of the session of their library, so that the
two sides of a process that moves from one to the other mean the same by the same keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polvo_adapters.context.call import CallSpan, LogicalCall, call_settings, call_started, current_call
from polvo_adapters.context.tenant import TenantScope, tenant_scope_for, validate_tenant
from polvo_adapters.core import setting_kinds
from polvo_adapters.core.http import text_of
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.defaults import DefaultDeadline
from polvo_adapters.policies.stack import make_policy, switch_off
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.request_identity import format_key
from polvo_adapters.shells.tenancy import Tenancy

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.policies.options import StackOptions
    from polvo_adapters.shells.bound_policies import PolicyControls
    from polvo_adapters.shells.circuit_control import Circuit


_NO_HOST = re.compile(r"https?://(?:[/?#]|\Z)", re.IGNORECASE)
KINDS = {"clock": setting_kinds.CLOCK, "raise_for_status": setting_kinds.FLAG}
"""The kinds of settings of a session."""


class CallScope:
    """A block of code in which a session makes a call.

    Args:
        start: The call.
        span: What is to be told when the block is over.
    """

    __slots__ = ("_span", "_start", "_token")

    def __init__(self, start: LogicalCall, span: CallSpan) -> None:
        self._start, self._span = start, span

    def __enter__(self) -> None:
        self._token = call_started.set(self._start)

    def __exit__(self, *_: object) -> None:
        self._span.is_over = True
        call_started.reset(self._token)


@fix_options
class SessionCalls:
    """Mixin of sessions: whose deadline and whose tenant their calls have."""

    clock: Any
    tenancy: Tenancy | None = None
    _tenant = ""
    _seconds: float | None = None
    _default_deadline: DefaultDeadline | None = None  # an older pickle has none
    _known_seconds: tuple[Any, float | None] | None = None  # a timeout, and the seconds of a call by it

    def _note_deadline(self, options: StackOptions) -> None:
        """Note the deadline that calls have by the keywords of the session."""
        deadline: Any = switch_off(options.get("deadline"))
        self._seconds = deadline.seconds if isinstance(deadline, Deadline) else deadline
        self._default_deadline = None if "deadline" in options else DefaultDeadline.of(options)
        self._known_seconds = None

    def _call_scope(self, timeout: Any, *, sent: bool = False, begins: bool = False) -> CallScope:
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
            own = self._seconds if default is None else self._find_default_seconds(default, timeout)
            seconds = own if settings is None else settings.seconds(own)
            is_default = default is not None and seconds is own and (outer is None or outer.deadline is None)
            start = LogicalCall(self, now, _earliest_deadline(outer, seconds, now), sent, is_default, span)
        return CallScope(start, span)

    def _find_default_seconds(self, default: DefaultDeadline, timeout: Any) -> float | None:
        known = self._known_seconds
        if known is None or known[0] is not timeout:
            known = self._known_seconds = timeout, default.seconds(timeout)
        return known[1]

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
            url = self._add_tenant(self._make_absolute(url, tenant), tenant)
            return self._find_controls(url, "circuit breaker").circuit(url)

    def _make_absolute(self, url: str, tenant: str) -> str:
        """Return the absolute URL for one that is relative to the base URL, with the tenant in it."""
        raise NotImplementedError

    def _add_tenant(self, url: str, tenant: str) -> str:
        """Return an absolute URL with the tenant in it."""
        raise NotImplementedError

    def _find_controls(self, url: str, wanted: str) -> PolicyControls:
        """Return the adapter or transport for a URL, or raise ConfigurationError where it has no policies."""
        raise NotImplementedError


def _earliest_deadline(outer: LogicalCall | None, seconds: float | None, now: float) -> float | None:
    """Return the deadline of a call of so many seconds that may be part of another call."""
    ends = [] if outer is None or outer.deadline is None else [outer.deadline]
    if seconds is not None:
        ends.append(now + seconds)
    return min(ends, default=None)


def make_key_header(keys: IdempotencyKeys | None, key: str, given: Iterable[Any]) -> dict[str, str]:
    """Return the header with an idempotency key.

    Args:
        keys: The policy of keys, or None.
        key: The key.
        given: The names of the headers of the call.

    Raises:
        ConfigurationError: There is no policy, or the key is given twice.
    """
    if keys is None:
        raise ConfigurationError(
            "idempotency_key: idempotency is not enabled on this session; make it with idempotency=True"
        )
    if keys.header.lower() in (text_of(name).lower() for name in given):
        raise ConfigurationError(f"idempotency_key: {keys.header} is among the headers as well; give one of them")
    return {keys.header: format_key(keys, key)}


def name_served_host(options: Mapping[str, Any], base_url: str | None) -> dict[str, Any]:
    """Return the keywords of a session, whose regions serve its base URL unless they say what they serve."""
    regions = make_policy("regions", options.get("regions"))
    if regions is None or regions.serves or "://" not in (base_url or ""):
        return {**options}
    return {**options, "regions": replace(regions, serves=base_url)}


def validate_base_url(value: Any) -> str | None:
    """Return the base URL, or raise an error where it is none."""
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(f"base_url: expected a URL such as 'https://api.example.com', or None, not {kind}")
    if value and "://" not in value:  # it is not shown, as it may have a password
        raise ConfigurationError("base_url: the scheme is missing; begin it with 'https://'")
    if value and (_NO_HOST.match(value) or any(map(str.isspace, value))):
        raise ConfigurationError("base_url: there is no host, or a space; give a URL such as 'https://api.example.com'")
    return value


def validate_tenancy_of(tenancy: Any, regions: object) -> Tenancy | None:
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
