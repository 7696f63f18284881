"""What a session for new code has without being asked; adapters for code that exists have none of it.

Theory of operation. Code that is written with `polvo.Session` and the verbs expects that a call ends, and that a dead
host is left alone. Code that exists expects what `requests` does, and an error of ours would surprise it. The reasons
for the numbers are in docs/session.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polvo_adapters.policies.deadline import CallDeadline
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.policies.stack import make_policy

SESSION_BREAKER: Mapping[str, Any] = {
    "failure_rate": 0.5,
    "minimum_throughput": 10,
    "window_calls": 20,
    "recovery_timeout": 5.0,
    "max_recovery_timeout": 60.0,
}
"""The circuit breaker of a session that names none."""

SESSION_DEFAULTS: StackOptions = {"circuit_breaker": SESSION_BREAKER, "deadline": CallDeadline()}
"""The keywords that the adapters of a session have unless it is given others; the seconds are in each call."""

_SHORTEST = 60.0  # seconds
_QUEUES = (("rate_limit", "max_wait"), ("bulkhead", "acquisition_timeout"), ("idempotency", "max_wait"))


@dataclass(frozen=True)
class DefaultDeadline:
    """The deadline of the calls of a session that names none.

    It bounds what the caller has not asked for, such as a body that drips. So it leaves out what takes long on purpose:
    a body that is streamed in either direction, the waits between attempts, and those in queues that the caller has
    asked for.

    Args:
        queueing: Longest time in these queues, in seconds.
    """

    queueing: float = 0.0

    @classmethod
    def of(cls, options: StackOptions) -> DefaultDeadline:
        """Return the deadline for the keywords of a session."""
        given: Mapping[str, Any] = options
        policies = [(make_policy(name, given.get(name)), field) for name, field in _QUEUES]
        return cls(sum(float(getattr(policy, field, 0.0)) for policy, field in policies))

    def seconds(self, timeout: Any) -> float | None:
        """Return the seconds for a call, or None for no limit.

        Args:
            timeout: The timeout of its attempts, as `requests` takes it. Two of them must have room; where there is
                none on purpose, there is no deadline either.
        """
        longest = _longest_part(timeout)
        seconds = max(_SHORTEST, 2 * longest) + self.queueing
        return seconds if seconds < math.inf else None


def _longest_part(timeout: Any) -> float:
    """Return how long an attempt may wait for one thing, in seconds."""
    if timeout is None:
        return math.inf
    if isinstance(timeout, tuple):
        return max(map(_longest_part, timeout), default=0.0)
    if isinstance(timeout, (int, float)):
        return float(timeout)
    parts = [getattr(timeout, name, None) for name in ("connect_timeout", "read_timeout")]  # a Timeout of urllib3
    return max((part for part in parts if isinstance(part, (int, float))), default=math.inf)
