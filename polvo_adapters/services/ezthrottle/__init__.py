"""EZThrottle: calls that an engine queues, retries, races and reports; in place of `ezthrottle`.

    from polvo_adapters.services.ezthrottle import EZThrottle, Step, StepType

Names, arguments and results are those of `ezthrottle` 1.3. The page "EZThrottle" of the documentation lists the
differences; in each of them that client did harm. At the engine: queue, retries, races of regions, webhooks. In this
process: the checks, and the call of a FRUGAL step.
"""

from __future__ import annotations

from polvo_adapters.services.ezthrottle.client import EZThrottle
from polvo_adapters.services.ezthrottle.engine import Engine
from polvo_adapters.services.ezthrottle.engines.hosted import HostedEngine
from polvo_adapters.services.ezthrottle.engines.local import LocalEngine
from polvo_adapters.services.ezthrottle.errors import (
    ArgumentError,
    AuthenticationError,
    DuplicateJobError,
    EZThrottleError,
    ForwardToEZThrottle,
    InDoubtError,
    JobTimeoutError,
    QuotaExceededError,
    RateLimitError,
    UnknownJobError,
    UnsupportedError,
    WebhookVerificationError,
)
from polvo_adapters.services.ezthrottle.forwarding import auto_forward
from polvo_adapters.services.ezthrottle.results import JobResult
from polvo_adapters.services.ezthrottle.step import IdempotentStrategy, Step, StepType
from polvo_adapters.services.ezthrottle.webhooks import (
    ReplayMemory,
    WebhookReceiver,
    sign_webhook,
    try_verify_with_secrets,
    verify_webhook_signature,
    verify_webhook_signature_strict,
)

TimeoutError = JobTimeoutError  # noqa: A001 - the name that the published client has

__all__ = [
    "ArgumentError",
    "AuthenticationError",
    "DuplicateJobError",
    "EZThrottle",
    "EZThrottleError",
    "Engine",
    "ForwardToEZThrottle",
    "HostedEngine",
    "IdempotentStrategy",
    "InDoubtError",
    "JobResult",
    "JobTimeoutError",
    "LocalEngine",
    "QuotaExceededError",
    "RateLimitError",
    "ReplayMemory",
    "Step",
    "StepType",
    "TimeoutError",
    "UnknownJobError",
    "UnsupportedError",
    "WebhookReceiver",
    "WebhookVerificationError",
    "auto_forward",
    "sign_webhook",
    "try_verify_with_secrets",
    "verify_webhook_signature",
    "verify_webhook_signature_strict",
]
