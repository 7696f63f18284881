"""What the exceptions of httpx mean to a policy; see `polvo_adapters.shells.requests.failures`."""

from __future__ import annotations

import ssl

import httpx

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
    UNPROCESSED,
    Failure,
    name_failure,
)
from polvo_adapters.core.trace import WAIT
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, SecretError, TokenRefreshError
from polvo_adapters.shells.causes import list_causes
from polvo_adapters.shells.httpx.trace import HTTPXTrace
from polvo_adapters.shells.signal_handlers import comes_from_signal_handler

_MEANINGS: tuple[tuple[type[BaseException], Failure], ...] = (
    (DeadlineExceeded, EXPIRED),
    (TokenRefreshError, NOT_SENT),  # by the auth object, which is asked again before a repeat
    (SecretError, NOT_SENT),
    (ConfigurationError, NOT_SENT),
    (httpx.ConnectTimeout, CONNECT_TIMEOUT),
    (httpx.PoolTimeout, CONNECT_TIMEOUT),
    (httpx.TimeoutException, READ_TIMEOUT),
    (httpx.ProxyError, CONNECT),
    (httpx.NetworkError, DISCONNECTED),
    (httpx.RemoteProtocolError, DISCONNECTED),
)

_UNABLE = ("5", "408", "429", "Proxy Server could not connect")  # messages of httpcore: a status, or that of SOCKS
_TLS_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_DEPTH = 8
_REFUSED_STREAM = 7  # RFC 9113, section 7


def classify(error: BaseException, *, reading: bool) -> Failure:
    """Return the meaning of an exception of an httpx transport.

    Args:
        error: The exception.
        reading: Whether the body was being read when it was raised.
    """
    if isinstance(error, httpx.ConnectError):
        return UNCLASSIFIED if _is_refused_by_tls(error) else CONNECT
    failure = next((failure for kind, failure in _MEANINGS if isinstance(error, kind)), UNCLASSIFIED)
    return TRUNCATED if reading and failure is DISCONNECTED else failure


def explain(error: BaseException, trace: HTTPXTrace | None, *, reading: bool, unsent: bool) -> Failure:
    """Return the meaning of an exception of an attempt, under the name that fits what the trace proves.

    Args:
        error: The exception.
        trace: The trace of the attempt; None where it did not begin.
        reading: Whether the body was being read when it was raised.
        unsent: Whether it is proved that nothing of the request was sent.
    """
    failure = classify(error, reading=reading)
    if isinstance(error, httpx.LocalProtocolError) and (reading or _waits(trace)):
        failure = TRUNCATED if reading else DISCONNECTED  # in HTTP/2 httpcore says it of what the server has sent
    elif not reading and _is_unprocessed(error):
        return UNPROCESSED
    if (trace is not None and trace.body_error is error) or comes_from_signal_handler(_find_root(error)):
        return INTERRUPTED  # what the body raised comes through httpcore as it is
    if isinstance(error, httpx.ProxyError) and unsent:
        return CONNECT if _is_proxy_unable(str(error)) else PROXY_REFUSED
    is_known = unsent or (trace is not None and trace.sent)
    return name_failure(failure, unsent=unsent) if is_known and not reading else failure


def _waits(trace: HTTPXTrace | None) -> bool:
    """Return whether the whole request was sent."""
    return trace is not None and any(phase == WAIT for phase, _ in trace.marks)


def _is_unprocessed(error: BaseException) -> bool:
    """Return whether a server of HTTP/2 says that it has not processed the request (RFC 9113, section 8.7).

    For a request after the last stream that it does process, httpcore takes another connection by itself.
    """
    event = error.__cause__.args[:1] if isinstance(error, httpx.RemoteProtocolError) and error.__cause__ else ()
    if not event or not type(event[0]).__module__.startswith("h2."):
        return False
    is_refused = hasattr(event[0], "stream_id") and getattr(event[0], "error_code", None) == _REFUSED_STREAM
    return is_refused or getattr(event[0], "last_stream_id", None) == 0


def _is_refused_by_tls(error: BaseException) -> bool:
    """Return whether a handshake failed for a reason that stays: a certificate, or no TLS at all."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error) or any(
        isinstance(cause, ssl.SSLError) and not isinstance(cause, _TLS_CLOSED) for cause in list_causes(error)
    )


def _find_root(error: BaseException) -> BaseException:
    """Return the exception that an exception of httpx was made of; httpcore hides the cause of its own."""
    for _ in range(_DEPTH):
        is_of_httpcore = type(error).__module__.startswith("httpcore")
        cause = error.__cause__ or (error.__context__ if is_of_httpcore else None)
        if cause is None:
            break
        error = cause
    return error


def _is_proxy_unable(message: str) -> bool:
    """Return whether a proxy was not able to connect, rather than unwilling to serve this client."""
    return message.startswith(_UNABLE) and "not allowed" not in message
