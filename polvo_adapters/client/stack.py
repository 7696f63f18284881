"""The policies of the resilient client, outermost first.

    request id            one for all attempts, and for the redirects of a call
    breaker, bulkhead     outside of the retries: a call counts once, however many attempts it makes, and keeps its slot
    retry                 each attempt
    closing               no attempt after `close`

There is no retry budget, and no deadline: the guide that this client follows promises that each call has all its
attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from polvo_adapters.client.closing import ClosingGate
from polvo_adapters.client.config import ClientConfig, RetryConfig, TimeoutConfig
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.notices import LogListener
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.bounded_backoff import BoundedBackoff
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker.state import CallResult, Permit
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.call_listeners import CallListeners
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.request_ids import RequestIDs
from polvo_adapters.policies.retry import IDEMPOTENT_METHODS

_FAILED = frozenset({408, *range(500, 600)})
_RETRIED = _FAILED | {429}
_LONGEST = 1e9
"""Seconds, for settings that have no end in practice, as sums of them may be infinite."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class ClientBulkhead(Bulkhead):
    """A bulkhead of all calls of a client, whichever hosts they go to; arguments as for Bulkhead."""

    def name(self, call: Call) -> str:  # noqa: ARG002 - as every gate
        """Return the key of its state, which is one for all calls."""
        return f"{self.kind} of the client"


@dataclass(frozen=True)
class ClientBreaker(CircuitBreaker):
    """A circuit breaker that takes a redirect to the same origin for no success: the call ends where it leads to.

    A redirect to another origin is one: how the call ends there is counted by the circuit of that.

    Args:
        follows: Whether redirects are followed.

    The other arguments are those of CircuitBreaker.
    """

    follows: bool = True

    def result_event(self, call: Call, permit: Permit, outcome: Outcome) -> CallResult:
        """Return the event with the result of a call."""
        event = super().result_event(call, permit, outcome)
        is_redirect = self.follows and event.result == "success" and outcome.status in _REDIRECTS
        return event._replace(result="reachable") if is_redirect and _stays(call, outcome) else event


def _stays(call: Call, outcome: Outcome) -> bool:
    """Return whether a redirect leads to the origin that it comes from, or to none."""
    try:
        place = urljoin(call.url, outcome.headers.get("location", ""))
    except ValueError:  # httpx refuses it as well
        return True
    return origin(place) == call.origin


def build_stack(config: ClientConfig, listener: LogListener, closing: ClosingGate) -> Sequence[Policy]:
    """Return the policies of a client, outermost first.

    Args:
        config: The settings.
        listener: Hears of everything that is decided about a call.
        closing: The policy that knows whether the client is closed.
    """
    bulkhead = ClientBulkhead(config.bulkhead.max_concurrency, float(config.bulkhead.acquisition_timeout))
    # The breaker is asked first: a call that it refuses does not wait for a slot.
    gates = Gates((_make_breaker(config), bulkhead))
    return (CallListeners((listener,)), RequestIDs(), gates, make_retry(config.retry), closing)


def make_retry(config: RetryConfig) -> BoundedBackoff:
    """Return the policy of retries; without a budget, as one call at a time is what users of the guide count in."""
    return BoundedBackoff(
        max_attempts=config.max_attempts,
        retry_on=_RETRIED,
        base=float(config.min_wait_seconds),
        cap=float(config.max_wait_seconds),
        multiplier=float(config.multiplier),
        jitter="full" if config.jitter else "none",
        budget=None,
        methods=None if config.retry_non_idempotent else IDEMPOTENT_METHODS,
        retry_after_on=_RETRIED,
        retry_after_cap=float(config.max_wait_seconds),
    )


def _make_breaker(config: ClientConfig) -> CircuitBreaker:
    settings = config.circuit_breaker
    recovery = float(settings.recovery_timeout)
    return ClientBreaker(
        follows=config.follow_redirects,
        failure_threshold=settings.failure_threshold,
        recovery_timeout=recovery,
        multiplier=1.0,  # the host is asked again after the same time
        probe_timeout=max(recovery, _longest_call(config.timeout, config.retry)),
        failure_on=_FAILED,
    )


def _longest_call(timeout: TimeoutConfig, retry: RetryConfig) -> float:
    """Return how long a call may take, each of its waits the longest: as long no other probe is let through."""
    attempt = timeout.connect + timeout.read + timeout.write + timeout.pool
    return min(_LONGEST, min(_LONGEST, retry.max_attempts) * (attempt + retry.max_wait_seconds))
