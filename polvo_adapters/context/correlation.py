"""The correlation id of the calls of a thread or task, such as that of the request that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from polvo_adapters.errors import ConfigurationError

_correlation: ContextVar[str] = ContextVar("polvo_correlation", default="")


@contextmanager
def correlated(identifier: str) -> Iterator[str]:
    """Send a correlation id with the calls within a `with` block, in this thread or task.

    Args:
        identifier: Value of `X-Correlation-ID`, sent by sessions with `request_id`.

    Raises:
        ConfigurationError: It cannot be sent in a header.
    """
    if not isinstance(identifier, str) or not identifier.isascii() or not identifier.isprintable() or not identifier:
        raise ConfigurationError("correlated(...): identifier must be made of printable ASCII characters")
    token = _correlation.set(identifier)
    try:
        yield identifier
    finally:
        _correlation.reset(token)


def current_correlation() -> str:
    """Return the id of the innermost `correlated` block, or an empty string."""
    return _correlation.get()
