"""The timeout of an attempt: the default, and shortened to the deadline."""

from __future__ import annotations

from typing import Any

import requests
from urllib3.util import Timeout

from polvo_adapters.errors import DeadlineExceeded

DEFAULT_TIMEOUT = 30.0
"""Seconds that an attempt may wait for a connection, and for each next byte, where the caller names no timeout."""


def shorten_in(
    keywords: dict[str, Any], left: float, request: requests.PreparedRequest, *, defers: bool
) -> dict[str, Any]:
    """Return the keywords of an attempt with its timeout shortened to the time left.

    Args:
        keywords: Those of `HTTPAdapter.send`.
        left: Seconds until the deadline.
        request: The request of the attempt.
        defers: Whether the deadline is kept below an adapter, which may then be handed a timeout of None.

    Raises:
        DeadlineExceeded: No time is left.
    """
    if left <= 0:
        raise DeadlineExceeded("the deadline is over before the attempt began", request=request)
    if defers and keywords["timeout"] is None:
        return keywords
    return {**keywords, "timeout": shorten_timeout(keywords["timeout"], left)}


def shorten_timeout(timeout: Any, left: float) -> Any:
    """Shorten a timeout, in any form that `requests` takes, to the time left; return any other value as it is."""
    if timeout is None:
        return left
    if isinstance(timeout, (int, float)):
        return min(timeout, left)
    if isinstance(timeout, tuple) and len(timeout) == 2:
        return tuple(shorten_timeout(part, left) for part in timeout)
    if isinstance(timeout, Timeout):
        total = min(timeout.total, left) if isinstance(timeout.total, (int, float)) else left
        return Timeout(total=total, connect=timeout._connect, read=timeout._read)
    return timeout
