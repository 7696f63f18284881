"""A resilient asynchronous client: retries, a circuit breaker, a bulkhead and typed errors behind plain verbs.

    async with ResilientClient(ClientConfig(base_url="https://api.example.com")) as client:
        response = await client.get("/users")

It needs the extra `httpx`. The errors are in `polvo_adapters.client.exceptions`.
"""

from __future__ import annotations

try:
    import httpx as _httpx  # noqa: F401
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    from polvo_adapters.runtime.extras import missing_text

    raise ImportError(missing_text("polvo_adapters.client", "httpx", "httpx")) from error

from polvo_adapters.client.config import (
    BulkheadConfig,
    CircuitBreakerConfig,
    ClientConfig,
    LoggingConfig,
    RetryConfig,
    TimeoutConfig,
)
from polvo_adapters.client.pending_call import PendingCall
from polvo_adapters.client.resilient_client import ResilientClient, create_resilient_client

__all__ = [
    "BulkheadConfig",
    "CircuitBreakerConfig",
    "ClientConfig",
    "LoggingConfig",
    "PendingCall",
    "ResilientClient",
    "RetryConfig",
    "TimeoutConfig",
    "create_resilient_client",
]
