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

import importlib
from typing import TYPE_CHECKING, Any

from polvo_adapters.version import __version__

if TYPE_CHECKING:
    from polvo_adapters import (
        adapters,
        auth,
        errors,
        headers,
        secrets,
        stores,
        transports,
    )
    from polvo_adapters.adapters import (
        BreakerAdapter,
        BulkheadAdapter,
        FallbackAdapter,
        HedgeAdapter,
        IdempotencyAdapter,
        PolicyAdapter,
        RateLimitAdapter,
        RegionsAdapter,
        ResilientAdapter,
        RetryAdapter,
        install,
        uninstall,
    )
    from polvo_adapters.correlation import correlated
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
    from polvo_adapters.session import Session
    from polvo_adapters.tenancy import Tenancy, current_tenant, tenant
    from polvo_adapters.verbs import (
        delete,
        get,
        head,
        options,
        patch,
        post,
        put,
        request,
    )

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

_VERBS = ("delete", "get", "head", "options", "patch", "post", "put", "request")
_MODULES = {
    **dict.fromkeys(("adapters", "auth", "errors", "headers", "secrets", "stores", "transports"), "polvo_adapters"),
    **dict.fromkeys(
        (
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
        ),
        "polvo_adapters.policies",
    ),
}
_HOMES = {
    **dict.fromkeys(_VERBS, "polvo_adapters.verbs"),
    **dict.fromkeys(
        (*(name for name in __all__ if name.endswith("Adapter")), "install", "uninstall"), "polvo_adapters.adapters"
    ),
    "Secret": "polvo_adapters.secrets",
    "Session": "polvo_adapters.session",
    "correlated": "polvo_adapters.correlation",
    **dict.fromkeys(("Tenancy", "current_tenant", "tenant"), "polvo_adapters.tenancy"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f"{_MODULES[name]}.{name}")
    elif name in __all__:
        value = getattr(importlib.import_module(_HOMES.get(name, "polvo_adapters.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
