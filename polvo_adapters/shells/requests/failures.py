"""What the exceptions of `requests` and urllib3 mean to a policy.

The question that matters most is whether the server may have seen the request. Only three things prove that it has
not: no connection came about, connecting took too long, or the proxy could not be reached. After every other failure,
a reset while the request was being written included, the server may have seen it.
"""

from __future__ import annotations

import builtins
import ssl

from requests import exceptions as errors
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as PoolTimeout

from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
)
from polvo_adapters.errors import DeadlineExceeded


def classify(error: BaseException) -> Failure:
    """Return the meaning of an exception of a `requests` adapter; an unknown one is UNCLASSIFIED and not retried."""
    for kind, failure in _MEANINGS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, errors.SSLError):
        return DISCONNECTED if isinstance(_find_root(error), ssl.SSLEOFError) else UNCLASSIFIED
    if isinstance(error, errors.ConnectionError):
        return _classify_connection_error(_find_root(error))
    return UNCLASSIFIED


_MEANINGS: tuple[tuple[type[BaseException], Failure], ...] = (
    (DeadlineExceeded, EXPIRED),
    (errors.ConnectTimeout, CONNECT_TIMEOUT),
    (errors.ProxyError, CONNECT),
    (errors.Timeout, READ_TIMEOUT),
    (errors.ChunkedEncodingError, TRUNCATED),
    # Of adapters that are not built on urllib3, or let its errors through.
    (PoolTimeout, READ_TIMEOUT),
    (ProtocolError, DISCONNECTED),
    (builtins.TimeoutError, READ_TIMEOUT),
    (builtins.ConnectionError, DISCONNECTED),
)


def _classify_connection_error(root: BaseException | None) -> Failure:
    if isinstance(root, (NewConnectionError, ConnectionRefusedError, FileNotFoundError)):
        return CONNECT  # FileNotFoundError: there is no such UNIX socket
    if isinstance(root, ReadTimeoutError):
        return READ_TIMEOUT
    return DISCONNECTED


def _find_root(error: BaseException) -> BaseException | None:
    """Return the innermost cause; urllib3 keeps it in `reason` or among the arguments, `requests` in the first."""
    root: BaseException | None = None
    for _ in range(8):
        causes = (getattr(error, "reason", None), *error.args)
        cause = next((cause for cause in causes if isinstance(cause, BaseException)), None)
        if cause is None:
            break
        root = error = cause
        if isinstance(root, (NewConnectionError, ReadTimeoutError)):
            break
    return root
