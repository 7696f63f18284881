"""Production-grade resilience for code that already uses `requests`.

    session.mount("https://api.example.com/", polvo.ResilientAdapter())    one host of a session that exists
    polvo.install(session)                                                 everything that is mounted on it
    import polvo_adapters.requests as requests                             nothing else changes

and for new code `import polvo_adapters as polvo`: `polvo.get(url)`, `polvo.Session(base_url=..., deadline=30)`.

The verbs of this module share pooled connections between calls, threads and hosts, but never cookies or
credentials.

Importing it costs next to nothing: each name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.moved import install_finder
from polvo_adapters.runtime.lazy import lazy_attributes
from polvo_adapters.version import __version__

if TYPE_CHECKING:
    from polvo_adapters import adapters, auth, errors, headers, secrets, stores, transports
    from polvo_adapters.context.correlation import correlated
    from polvo_adapters.context.tenant import current_tenant, tenant
    from polvo_adapters.errors import (
        AuthenticationError,
        AuthorizationError,
        CircuitOpenError,
        ConfigurationError,
        ConflictError,
        DeadlineExceeded,
        IdempotencyConflictError,
        IdempotencyError,
        IdempotencyKeyError,
        InDoubtError,
        InvalidRequestError,
        NotFoundError,
        PolvoError,
        PoolTimeoutError,
        QuotaExceededError,
        RateLimitDeadlineExceeded,
        RateLimitError,
        ReplayError,
        ResponseError,
        RetriesExhaustedError,
        SecretError,
        ServerError,
        ServerTimeoutError,
        ServiceUnavailableError,
        StatusError,
        TokenRefreshError,
        WebhookVerificationError,
    )
    from polvo_adapters.policies import (
        breaker,
        bulkhead,
        deadline,
        fallback,
        hedge,
        idempotency,
        ratelimit,
        regions,
        request_ids,
        retry,
    )
    from polvo_adapters.secrets import Secret
    from polvo_adapters.shells.requests.api import delete, get, head, options, patch, post, put, request
    from polvo_adapters.shells.requests.install import install, uninstall
    from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
    from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
    from polvo_adapters.shells.requests.session import Session
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
    from polvo_adapters.shells.requests.tenancy import Tenancy

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BreakerAdapter",
    "BulkheadAdapter",
    "CircuitOpenError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceeded",
    "FallbackAdapter",
    "HedgeAdapter",
    "IdempotencyAdapter",
    "IdempotencyConflictError",
    "IdempotencyError",
    "IdempotencyKeyError",
    "InDoubtError",
    "InvalidRequestError",
    "NotFoundError",
    "PolicyAdapter",
    "PolvoError",
    "PoolTimeoutError",
    "QuotaExceededError",
    "RateLimitAdapter",
    "RateLimitDeadlineExceeded",
    "RateLimitError",
    "RegionsAdapter",
    "ReplayError",
    "ResilientAdapter",
    "ResponseError",
    "RetriesExhaustedError",
    "RetryAdapter",
    "Secret",
    "SecretError",
    "ServerError",
    "ServerTimeoutError",
    "ServiceUnavailableError",
    "Session",
    "StatusError",
    "Tenancy",
    "TokenRefreshError",
    "WebhookVerificationError",
    "__version__",
    "adapters",
    "auth",
    "breaker",
    "bulkhead",
    "correlated",
    "current_tenant",
    "deadline",
    "delete",
    "errors",
    "fallback",
    "get",
    "head",
    "headers",
    "hedge",
    "idempotency",
    "install",
    "options",
    "patch",
    "post",
    "put",
    "ratelimit",
    "regions",
    "request",
    "request_ids",
    "retry",
    "secrets",
    "stores",
    "tenant",
    "transports",
    "uninstall",
]

_POLICIES = (
    "breaker",
    "bulkhead",
    "deadline",
    "fallback",
    "hedge",
    "idempotency",
    "ratelimit",
    "regions",
    "request_ids",
    "retry",
)
_PACKAGES = ("adapters", "auth", "errors", "headers", "secrets", "stores", "transports")
_VERBS = ("delete", "get", "head", "options", "patch", "post", "put", "request")
_HOMES = {
    **{name: "polvo_adapters.errors" for name in __all__ if name.endswith(("Error", "Exceeded"))},
    **{name: "polvo_adapters.adapters" for name in __all__ if name.endswith("Adapter")},
    **{name: f"polvo_adapters.{name}:" for name in _PACKAGES},
    **{name: f"polvo_adapters.policies.{name}:" for name in _POLICIES},
    **dict.fromkeys(_VERBS, "polvo_adapters.shells.requests.api"),
    **dict.fromkeys(("install", "uninstall"), "polvo_adapters.shells.requests.install"),
    **dict.fromkeys(("current_tenant", "tenant"), "polvo_adapters.context.tenant"),
    "Secret": "polvo_adapters.secrets",
    "Session": "polvo_adapters.shells.requests.session",
    "Tenancy": "polvo_adapters.shells.requests.tenancy",
    "correlated": "polvo_adapters.context.correlation",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)

install_finder()
