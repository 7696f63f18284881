"""Retries whose waits lie between two bounds, whatever the server asks for.

`ExponentialBackoff` draws from zero on, so that many clients spread out best. Here the user has named a shortest wait
and a longest one, and each wait lies between them:

    the server names a Retry-After     that, or the shortest wait where it is shorter; jitter on top, up to the longest
    it names one beyond the longest    none: the call ends with that answer
    otherwise                          without jitter the bound that grows from retry to retry, with jitter drawn from
                                       the shortest wait up to twice that bound

Each call has all its attempts, also one whose request was given up before: this is for clients above which there is no
other loop of retries.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.policies.retry import ExponentialBackoff


@dataclass(frozen=True)
class BoundedBackoff(ExponentialBackoff):
    """Retries after waits that are neither shorter than `base` nor longer than `cap`.

    Args:
        jitter: "full" or "none".

    The other arguments are those of ExponentialBackoff; `base` is the shortest wait, `cap` the longest.

    Raises:
        ValueError: A value is out of range, or `base` is more than `cap`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        validate.choice(self, "jitter", ("full", "none"))
        if self.base > self.cap:
            raise validate.contradiction(self, "base", "cap", "the shortest wait is longer than the longest")

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and run it again while a repeat is safe, in time and may help."""
        return super().flow(call._replace(repeated=False) if call.repeated else call, proceed)

    def _bounds(self, retry_after: float | None, retry: int, waited: float) -> tuple[float, float]:  # noqa: ARG002
        if retry_after:
            low = min(max(self.base, retry_after), self.cap)
            return low, low if self.jitter == "none" else min(low + self.base, self.cap)
        try:
            grown = min(self.cap, self.base * float(self.multiplier) ** (retry - 1))
        except OverflowError:
            grown = self.cap
        return (grown, grown) if self.jitter == "none" else (self.base, min(2 * grown, self.cap))
