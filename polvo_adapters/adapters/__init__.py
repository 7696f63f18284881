"""Transport adapters for `requests`, and how to put them into a session that already exists.

    policy          PolicyAdapter, which all the others are: drives the flow of its policies
    resilient       ResilientAdapter: the standard stack, from keywords
    single          RetryAdapter, BreakerAdapter and so on: one policy each
    installation    install and uninstall

The last two are loaded when a name of theirs is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.runtime.lazy import lazy_attributes
from polvo_adapters.shells.requests.policy_adapter import DEFAULT_TIMEOUT, PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

if TYPE_CHECKING:
    from polvo_adapters.shells.requests.install import install, uninstall
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
    **dict.fromkeys(("install", "uninstall"), "polvo_adapters.shells.requests.install"),
    **dict.fromkeys(
        (
            "BreakerAdapter",
            "BulkheadAdapter",
            "FallbackAdapter",
            "HedgeAdapter",
            "IdempotencyAdapter",
            "RateLimitAdapter",
            "RegionsAdapter",
            "RetryAdapter",
        ),
        "polvo_adapters.shells.requests.single_policy_adapters",
    ),
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
