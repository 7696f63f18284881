"""Transport adapters for `requests`, and how to put them into a session that already exists.

policy          PolicyAdapter, which all the others are: drives the flow of its policies
resilient       ResilientAdapter: the standard stack, from keywords
single          RetryAdapter, BreakerAdapter and so on: one policy each
installation    install and uninstall
"""

from polvo_adapters.adapters.installation import install, uninstall
from polvo_adapters.adapters.policy import DEFAULT_TIMEOUT, CallStart, PolicyAdapter, call_started
from polvo_adapters.adapters.resilient import ResilientAdapter
from polvo_adapters.adapters.single import (
    BreakerAdapter,
    BulkheadAdapter,
    FallbackAdapter,
    HedgeAdapter,
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
    "PolicyAdapter",
    "RateLimitAdapter",
    "RegionsAdapter",
    "ResilientAdapter",
    "RetryAdapter",
    "call_started",
    "install",
    "uninstall",
]
