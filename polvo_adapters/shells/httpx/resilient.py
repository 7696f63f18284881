"""The transports that most code mounts: the standard stack of policies, from keywords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx

from polvo_adapters.core.effects import Policy
from polvo_adapters.drivers import aio
from polvo_adapters.policies.options import DeadlineLike, OptionalPolicies, RetryLike
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.policies.stack import pool_size, refuse_unknown_keywords, standard
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.bound_policies import PolicyControls
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport, PolicyTransport
from polvo_adapters.stores.base import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

    class ResilientTransportOptions(OptionalPolicies, total=False):
        """The optional policies, and the keywords of `httpx.HTTPTransport`."""

        verify: Any
        cert: Any
        trust_env: bool
        http1: bool
        http2: bool
        limits: httpx.Limits
        proxy: Any
        uds: str | None
        local_address: str | None
        retries: int
        socket_options: Any
        stream: bool
        credential: str | Sequence[str] | None


_DEFAULT_CONNECTIONS = 100  # of a pool of httpx that is given no limits
_TRANSPORT_KEYWORDS = (
    *("verify", "cert", "trust_env", "http1", "http2", "limits", "proxy", "uds", "local_address", "retries"),
    *("socket_options", "stream", "credential", "inner", "store", "clock"),
)


@fix_options
class ResilientTransport(PolicyTransport):
    """A transport with retries, one deadline, and the optional policies that are asked for, as ResilientAdapter.

    Args:
        retry: True for the defaults, False for no retries, an ExponentialBackoff, a mapping of its keywords, or a
            urllib3 `Retry`. The retries of an `inner` that retries by itself are taken over, unless it says otherwise.
        deadline: Seconds for a whole call, or a Deadline; None for no limit.
        inner: The transport to send through; by default an `httpx.HTTPTransport`.
        store: Where state lives; share it to share the state.
        clock: Time and chance.
        **options: The optional policies, see `polvo_adapters.policies.options.OptionalPolicies`; `stream` and
            `credential` of PolicyTransport; and the keywords of `httpx.HTTPTransport`, without `inner`. The connection
            pool is made large enough for a bulkhead, unless `limits` are given.
    """

    def __init__(
        self,
        retry: RetryLike = True,
        deadline: DeadlineLike = None,
        *,
        inner: httpx.BaseTransport | None = None,
        store: Store | None = None,
        clock: Clock = SYSTEM,
        **options: Unpack[ResilientTransportOptions],
    ) -> None:
        policies, keywords = _split(type(self).__name__, retry, deadline, inner, {**options})
        super().__init__(*policies, inner=inner, store=store, clock=clock, **keywords)


@fix_options
class AsyncResilientTransport(AsyncPolicyTransport):
    """The same for an `httpx.AsyncClient`; arguments as for ResilientTransport."""

    def __init__(
        self,
        retry: RetryLike = True,
        deadline: DeadlineLike = None,
        *,
        inner: httpx.AsyncBaseTransport | None = None,
        store: Store | None = None,
        clock: aio.AsyncClock = aio.ASYNC_SYSTEM,
        **options: Unpack[ResilientTransportOptions],
    ) -> None:
        policies, keywords = _split(type(self).__name__, retry, deadline, inner, {**options})
        super().__init__(*policies, inner=inner, store=store, clock=clock, **keywords)


def _split(
    owner: str, retry: RetryLike, deadline: DeadlineLike, inner: Any, keywords: dict[str, Any]
) -> tuple[tuple[Policy, ...], dict[str, Any]]:
    """Return the policies that keywords stand for, and the keywords of the transport."""
    refuse_unknown_keywords(keywords, owner, _TRANSPORT_KEYWORDS)
    if retry is True:
        retry = find_nested_retry(inner) or True
    own = keywords.keys() & OptionalPolicies.__annotations__.keys()
    chosen: Any = {name: keywords.pop(name) for name in own}
    policies = standard(retry=retry, deadline=deadline, **chosen)
    size = pool_size(policies)
    if inner is None and size > _DEFAULT_CONNECTIONS:
        keywords.setdefault("limits", httpx.Limits(max_connections=size, max_keepalive_connections=size))
    return policies, keywords


def find_nested_retry(transport: Any) -> Any:
    """Return the policy by which a transport retries by itself, or None."""
    while isinstance(transport, PolicyControls):
        place = retry_place(transport.policies)
        if place is not None:
            return transport.policies[place]
        transport = getattr(transport, "inner", None)
    return None
