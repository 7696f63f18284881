"""Circuit breaker: refuses calls to a host that keeps failing.

policy     CircuitBreaker
state      the machine of one circuit
windows    which recent calls count: failures in a row, the last calls, the last seconds
"""

from polvo_adapters.policies.breaker.policy import CircuitBreaker
from polvo_adapters.policies.breaker.state import CircuitStatus

__all__ = ["CircuitBreaker", "CircuitStatus"]

Status = CircuitStatus  # the name of before
