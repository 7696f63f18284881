"""Transport adapters for `requests`.

    PolicyAdapter                       the base of all the others: sends requests as its policies say
    ResilientAdapter                    the standard stack, from keywords
    RetryAdapter, BreakerAdapter, ...   one policy each
    install, uninstall                  the standard stack on a session that exists

The last two rows are loaded when a name of theirs is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.runtime.lazy import lazy_attributes
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from polvo_adapters.shells.install import install, uninstall
    from polvo_adapters.shells.requests.single_policy_adapters import (
        BreakerAdapter,
        BulkheadAdapter,
        FallbackAdapter,
        HedgeAdapter,
        IdempotencyAdapter,
        RateLimitAdapter,
        RegionsAdapter,
        RetryAdapter,
    )

__all__ = [
    "DEFAULT_TIMEOUT",
    "BreakerAdapter",
    "BulkheadAdapter",
    "CallStart",
    "FallbackAdapter",
    "HedgeAdapter",
    "IdempotencyAdapter",
    "LogicalCall",
    "PolicyAdapter",
    "RateLimitAdapter",
    "RegionsAdapter",
    "ResilientAdapter",
    "RetryAdapter",
    "call_started",
    "install",
    "uninstall",
]

_HOMES = {
    **dict.fromkeys(("install", "uninstall"), "polvo_adapters.shells.install"),
    **{name: "polvo_adapters.shells.requests.single_policy_adapters" for name in __all__ if name.endswith("Adapter")},
}

CallStart = LogicalCall  # the name of before

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
