"""Production-grade resilience for code that already uses `requests`.

    session.mount("https://api.example.com/", polvo.ResilientAdapter())    one host of a session that exists
    polvo.install(session)                                                 everything that is mounted on it
    import polvo_adapters.requests as requests                             nothing else changes

and for new code `import polvo_adapters as polvo`: `polvo.get(url)`, `polvo.Session(base_url=..., deadline=30)`, and in
asyncio `polvo.AsyncSession(base_url=..., deadline=30)`.

The verbs of this module share pooled connections between calls, threads and hosts, but never cookies or credentials.

Importing it costs next to nothing: each name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.version import __version__, require_python

require_python()  # before what an older Python cannot import

from polvo_adapters.moved import install_finder  # noqa: E402
from polvo_adapters.runtime.lazy import lazy_attributes  # noqa: E402

if TYPE_CHECKING:
    from polvo_adapters import adapters as adapters
    from polvo_adapters import aio as aio
    from polvo_adapters import auth as auth
    from polvo_adapters import errors as errors
    from polvo_adapters import headers as headers
    from polvo_adapters import secrets as secrets
    from polvo_adapters import stores as stores
    from polvo_adapters import transports as transports
    from polvo_adapters.context.correlation import correlated as correlated
    from polvo_adapters.context.one_call import call as call
    from polvo_adapters.context.tenant import current_tenant as current_tenant
    from polvo_adapters.context.tenant import tenant as tenant
    from polvo_adapters.errors import AuthenticationError as AuthenticationError
    from polvo_adapters.errors import AuthorizationError as AuthorizationError
    from polvo_adapters.errors import CircuitOpenError as CircuitOpenError
    from polvo_adapters.errors import ConfigurationError as ConfigurationError
    from polvo_adapters.errors import ConflictError as ConflictError
    from polvo_adapters.errors import DeadlineExceeded as DeadlineExceeded
    from polvo_adapters.errors import EntityChangedError as EntityChangedError
    from polvo_adapters.errors import IdempotencyConflictError as IdempotencyConflictError
    from polvo_adapters.errors import IdempotencyError as IdempotencyError
    from polvo_adapters.errors import IdempotencyKeyError as IdempotencyKeyError
    from polvo_adapters.errors import InDoubtError as InDoubtError
    from polvo_adapters.errors import InvalidRequestError as InvalidRequestError
    from polvo_adapters.errors import NotFoundError as NotFoundError
    from polvo_adapters.errors import PolvoError as PolvoError
    from polvo_adapters.errors import PoolTimeoutError as PoolTimeoutError
    from polvo_adapters.errors import QuotaExceededError as QuotaExceededError
    from polvo_adapters.errors import RateLimitDeadlineExceeded as RateLimitDeadlineExceeded
    from polvo_adapters.errors import RateLimitError as RateLimitError
    from polvo_adapters.errors import ReplayError as ReplayError
    from polvo_adapters.errors import ResponseError as ResponseError
    from polvo_adapters.errors import RetriesExhaustedError as RetriesExhaustedError
    from polvo_adapters.errors import SecretError as SecretError
    from polvo_adapters.errors import ServerError as ServerError
    from polvo_adapters.errors import ServerTimeoutError as ServerTimeoutError
    from polvo_adapters.errors import ServiceUnavailableError as ServiceUnavailableError
    from polvo_adapters.errors import SessionClosedError as SessionClosedError
    from polvo_adapters.errors import StatusError as StatusError
    from polvo_adapters.errors import TokenRefreshError as TokenRefreshError
    from polvo_adapters.errors import WebhookVerificationError as WebhookVerificationError
    from polvo_adapters.policies import breaker as breaker
    from polvo_adapters.policies import bulkhead as bulkhead
    from polvo_adapters.policies import deadline as deadline
    from polvo_adapters.policies import fallback as fallback
    from polvo_adapters.policies import hedge as hedge
    from polvo_adapters.policies import idempotency as idempotency
    from polvo_adapters.policies import ratelimit as ratelimit
    from polvo_adapters.policies import regions as regions
    from polvo_adapters.policies import request_ids as request_ids
    from polvo_adapters.policies import resume as resume
    from polvo_adapters.policies import retry as retry
    from polvo_adapters.secrets import Secret as Secret
    from polvo_adapters.shells.httpx.session import AsyncSession as AsyncSession
    from polvo_adapters.shells.install import install as install
    from polvo_adapters.shells.install import uninstall as uninstall
    from polvo_adapters.shells.requests.api import close as close
    from polvo_adapters.shells.requests.api import delete as delete
    from polvo_adapters.shells.requests.api import get as get
    from polvo_adapters.shells.requests.api import head as head
    from polvo_adapters.shells.requests.api import options as options
    from polvo_adapters.shells.requests.api import patch as patch
    from polvo_adapters.shells.requests.api import post as post
    from polvo_adapters.shells.requests.api import put as put
    from polvo_adapters.shells.requests.api import request as request
    from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter as PolicyAdapter
    from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter as ResilientAdapter
    from polvo_adapters.shells.requests.session import Session as Session
    from polvo_adapters.shells.requests.single_policy_adapters import BreakerAdapter as BreakerAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import BulkheadAdapter as BulkheadAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import FallbackAdapter as FallbackAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import HedgeAdapter as HedgeAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import IdempotencyAdapter as IdempotencyAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import RateLimitAdapter as RateLimitAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import RegionsAdapter as RegionsAdapter
    from polvo_adapters.shells.requests.single_policy_adapters import RetryAdapter as RetryAdapter
    from polvo_adapters.shells.tenancy import Tenancy as Tenancy

_NAMES = {
    "polvo_adapters.context.correlation": "correlated",
    "polvo_adapters.context.one_call": "call",
    "polvo_adapters.context.tenant": "current_tenant tenant",
    "polvo_adapters.errors": (
        "AuthenticationError AuthorizationError CircuitOpenError ConfigurationError ConflictError "
        "DeadlineExceeded EntityChangedError IdempotencyConflictError IdempotencyError IdempotencyKeyError "
        "InDoubtError InvalidRequestError NotFoundError PolvoError PoolTimeoutError QuotaExceededError "
        "RateLimitDeadlineExceeded RateLimitError ReplayError ResponseError RetriesExhaustedError SecretError "
        "ServerError ServerTimeoutError ServiceUnavailableError SessionClosedError StatusError "
        "TokenRefreshError WebhookVerificationError"
    ),
    "polvo_adapters.secrets": "Secret",
    "polvo_adapters.shells.httpx.session": "AsyncSession",
    "polvo_adapters.shells.install": "install uninstall",
    "polvo_adapters.shells.requests.api": "close delete get head options patch post put request",
    "polvo_adapters.shells.requests.policy_adapter": "PolicyAdapter",
    "polvo_adapters.shells.requests.resilient_adapter": "ResilientAdapter",
    "polvo_adapters.shells.requests.session": "Session",
    "polvo_adapters.shells.requests.single_policy_adapters": (
        "BreakerAdapter BulkheadAdapter FallbackAdapter HedgeAdapter IdempotencyAdapter RateLimitAdapter "
        "RegionsAdapter RetryAdapter"
    ),
    "polvo_adapters.shells.tenancy": "Tenancy",
}
"""The module of each name that is imported above for type checkers."""
_MODULES = {
    "polvo_adapters": "adapters aio auth errors headers secrets stores transports",
    "polvo_adapters.policies": (
        "breaker bulkhead deadline fallback hedge idempotency ratelimit regions request_ids resume retry"
    ),
}
"""The package of each name that is a module."""

_HOMES = {
    **{name: module for module, names in _NAMES.items() for name in names.split()},
    **{name: f"{package}.{name}:" for package, names in _MODULES.items() for name in names.split()},
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __all__ += ["__version__"]

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)

install_finder()
