"""What the exceptions of `requests` and urllib3 mean to a policy.

The class of an exception gives a failure its name, and no more. Whether the request was sent is not its business: the
trace of the attempt tells that, see `polvo_adapters.shells.requests.wire`; where there is one, it also decides between
the names of failures before and after sending.
"""

from __future__ import annotations

import builtins
import ssl

from requests import exceptions as errors
from urllib3.exceptions import EmptyPoolError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as PoolTimeout

from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    INTERRUPTED,
    NOT_SENT,
    PROXY_REFUSED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    name_failure,
)
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, ReplayError, SecretError, TokenRefreshError
from polvo_adapters.shells.causes import list_causes
from polvo_adapters.shells.requests.wire.transmission import Transmission
from polvo_adapters.shells.signal_handlers import comes_from_signal_handler

_TRY_AGAIN = (408, 429)  # with these and with statuses from 500 on, a proxy does not refuse the client as such
_NOT_TOLD_BY_CLASS = (INTERRUPTED, PROXY_REFUSED)
_TLS_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def explain(error: BaseException, transmission: Transmission, *, unsent: bool) -> Failure:
    """Return the meaning of an exception of an attempt.

    Args:
        error: The exception.
        transmission: The attempt.
        unsent: Whether it is proved that nothing of the request was sent.
    """
    if transmission.failure in _NOT_TOLD_BY_CLASS and error is transmission.error:
        return transmission.failure
    if transmission.is_cut_off:  # the class is that of a handshake that failed
        return EXPIRED
    failure = classify(error)
    if transmission.proxy_status and not transmission.sent:
        return CONNECT if transmission.proxy_status in _TRY_AGAIN or transmission.proxy_status >= 500 else PROXY_REFUSED
    if failure.transient and comes_from_signal_handler(list_causes(error)[-1]):
        return INTERRUPTED
    return name_failure(failure, unsent=unsent) if transmission.sent or unsent else failure


def classify(error: BaseException) -> Failure:
    """Return the failure that the class of an exception names; an unknown one is UNCLASSIFIED and not retried."""
    for kind, failure in _MEANINGS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, errors.ProxyError):
        root = _find_root(error)
        return CONNECT if root is None else _classify_connection_error(root)
    if isinstance(error, errors.SSLError):
        return DISCONNECTED if isinstance(_find_root(error), _TLS_CLOSED) else UNCLASSIFIED
    if isinstance(error, errors.ConnectionError):
        return _classify_connection_error(_find_root(error))
    return UNCLASSIFIED


_MEANINGS: tuple[tuple[type[BaseException], Failure], ...] = (
    (DeadlineExceeded, EXPIRED),
    (ReplayError, NOT_SENT),
    (TokenRefreshError, NOT_SENT),  # by the auth object, which is asked again before a repeat
    (SecretError, NOT_SENT),
    (ConfigurationError, NOT_SENT),
    (errors.ConnectTimeout, CONNECT_TIMEOUT),
    (errors.Timeout, READ_TIMEOUT),
    (errors.ChunkedEncodingError, TRUNCATED),
    (EmptyPoolError, CONNECT_TIMEOUT),
    # Of adapters that are not built on urllib3, or let its errors through.
    (PoolTimeout, READ_TIMEOUT),
    (ProtocolError, DISCONNECTED),
    (builtins.TimeoutError, READ_TIMEOUT),
    (builtins.ConnectionError, DISCONNECTED),
)


def _classify_connection_error(root: BaseException | None) -> Failure:
    if isinstance(root, (NewConnectionError, ConnectionRefusedError, FileNotFoundError)):
        return CONNECT  # FileNotFoundError: there is no such UNIX socket
    if isinstance(root, (ReadTimeoutError, builtins.TimeoutError)):
        return READ_TIMEOUT
    if isinstance(root, ssl.SSLError) and not isinstance(root, _TLS_CLOSED):
        return UNCLASSIFIED
    return DISCONNECTED


def holds(error: BaseException, wanted: BaseException) -> bool:
    """Return whether an exception is another one, or was made of it."""
    return any(each is wanted for each in list_causes(error))


def _find_root(error: BaseException) -> BaseException | None:
    """Return the innermost cause, or the first whose class says enough."""
    chain = list_causes(error)[1:]
    telling = (cause for cause in chain if isinstance(cause, (NewConnectionError, ReadTimeoutError)))
    return next(telling, chain[-1] if chain else None)
