"""The adapter that most code mounts: the standard stack of policies, from keywords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.options import DeadlineLike, OptionalPolicies, RetryLike
from polvo_adapters.policies.stack import refuse_unknown_keywords, standard
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.fixed_options import fix_options
from polvo_adapters.shells.requests.nesting_adapter import NestingAdapter
from polvo_adapters.shells.requests.policy_adapter import (
    PolicyAdapter,
    find_nested_retry,
    fit_pool,
)
from polvo_adapters.shells.requests.requested_retry import find_requested_retry
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT
from polvo_adapters.shells.requests.wire.named_timeout import UNSET
from polvo_adapters.stores.base import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

    class ResilientAdapterOptions(OptionalPolicies, total=False):
        """The optional policies, and the keywords of `requests.adapters.HTTPAdapter`."""

        pool_connections: int
        pool_maxsize: int
        max_retries: Any
        pool_block: bool
        credential: str | Sequence[str] | None


_ADAPTER_KEYWORDS = (
    *("pool_connections", "pool_maxsize", "max_retries", "pool_block"),
    *("inner", "store", "timeout", "clock", "credential"),
)


@fix_options
class ResilientAdapter(PolicyAdapter):
    """An adapter with retries, one deadline, and the optional policies that are asked for.

    Retries are on by default: three attempts where a repeat is safe, within a budget. The retries of an `inner` that
    retries by itself are taken over, unless `retry` says otherwise. Everything else is off by default.

    Args:
        retry: True for the defaults, False for no retries, an ExponentialBackoff, a mapping of its keywords, or a
            urllib3 `Retry`.
        deadline: Seconds for a whole call, or a Deadline; None for no limit.
        inner: The adapter to send through.
        store: Where state lives; share it to share the state.
        timeout: Timeout of an attempt where the caller named none, in seconds or as a (connect, read) tuple; None for
            no limit. By default that of the `inner`, where it has one, and otherwise 30 seconds. It does not replace a
            `timeout=None` that the caller has written.
        clock: Time and chance.
        **options: The optional policies, see `polvo_adapters.policies.options.OptionalPolicies`; and the keywords of
            `requests.adapters.HTTPAdapter`, without `inner`. The connection pool is made large enough for a bulkhead,
            unless `pool_maxsize` is given.
    """

    timeout: Any = DEFAULT_TIMEOUT

    def __init__(
        self,
        retry: RetryLike = True,
        deadline: DeadlineLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        timeout: float | tuple[float | None, float | None] | None = UNSET,
        clock: Clock = SYSTEM,
        **options: Unpack[ResilientAdapterOptions],
    ) -> None:
        http_adapter_keywords: dict[str, Any] = {**options}
        self._refuse_unknown(http_adapter_keywords)
        if retry is True:
            retry = find_nested_retry(inner) or find_requested_retry(http_adapter_keywords.get("max_retries")) or True
        own = http_adapter_keywords.keys() & OptionalPolicies.__annotations__.keys()
        chosen: Any = {name: http_adapter_keywords.pop(name) for name in own}
        policies = standard(retry=retry, deadline=deadline, **chosen)
        if inner is None:
            fit_pool(http_adapter_keywords, policies)
        super().__init__(*policies, inner=inner, store=store, timeout=timeout, clock=clock, **http_adapter_keywords)

    def _refuse_unknown(self, keywords: dict[str, Any]) -> None:
        """Raise TypeError for a keyword that neither the stack nor an adapter knows."""
        classes = type(self).__mro__
        if classes[classes.index(NestingAdapter) + 1] is HTTPAdapter:  # another class beside this one may know it
            refuse_unknown_keywords(keywords, type(self).__name__, _ADAPTER_KEYWORDS)

    def _make_default_policies(self) -> tuple[Policy, ...]:
        return standard(retry=find_requested_retry(self.__dict__.get("max_retries")) or True, deadline=None)
