"""What an exception of httpx says of a call of a service, in the words that the synchronous clients have for it."""

from __future__ import annotations

from polvo_adapters.core.outcomes import TRUNCATED, Failure
from polvo_adapters.shells.httpx.failures import classify


def classify_end(error: BaseException) -> Failure:
    """Return the meaning of an exception; that of a body which broke off is in the report.

    Args:
        error: The exception, or a group of them, as of several addresses that could not be connected to.
    """
    group = getattr(error, "exceptions", None)
    failure = classify(group[0] if group else error, reading=False)
    report = getattr(error, "polvo", None)
    is_cut = report is not None and report.attempts and report.attempts[-1].failure == TRUNCATED.name
    return TRUNCATED if is_cut else failure
