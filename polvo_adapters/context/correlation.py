"""The id of whatever the calls of a thread or task are part of, such as the request that is being served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from polvo_adapters.errors import ConfigurationError

_correlation: ContextVar[str] = ContextVar("polvo_correlation", default="")


@contextmanager
def correlated(identifier: str) -> Iterator[str]:
    """Have the calls within a `with` block say what they are part of, in this thread or task.

    Args:
        identifier: What `X-Correlation-ID` is to say, where the session has `request_id`.

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
    """Return what `correlated` has set, or an empty string."""
    return _correlation.get()
