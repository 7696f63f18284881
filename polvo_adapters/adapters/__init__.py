"""Transport adapters for `requests`, and how to put them into a session that already exists.

    policy          PolicyAdapter, which all the others are: drives the flow of its policies
    resilient       ResilientAdapter: the standard stack, from keywords
    single          RetryAdapter, BreakerAdapter and so on: one policy each
    installation    install and uninstall

The last two are loaded when a name of theirs is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.adapters.policy import DEFAULT_TIMEOUT, CallStart, PolicyAdapter, call_started
from polvo_adapters.adapters.resilient import ResilientAdapter
from polvo_adapters.loading import load

if TYPE_CHECKING:
    from polvo_adapters.adapters.installation import install, uninstall
    from polvo_adapters.adapters.single import (
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
    "PolicyAdapter",
    "RateLimitAdapter",
    "RegionsAdapter",
    "ResilientAdapter",
    "RetryAdapter",
    "call_started",
    "install",
    "uninstall",
]


_HOMES = {name: "installation" if name in ("install", "uninstall") else "single" for name in __all__}


def __getattr__(name: str) -> Any:
    return load(__name__, _HOMES, name)
