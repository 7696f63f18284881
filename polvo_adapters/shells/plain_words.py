"""What an exception from below means, in plain words: the cause, and what to do.

Theory of operation. The text of the exception is that of urllib3 or httpx, which code may look for, so that it stays.
What a person needs is in a note. It is made of the exceptions of the standard library that are found within, and of the
names of the classes of `requests` and httpx, which mean the same in both.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Collection, Sequence
from typing import Any

from polvo_adapters.shells.causes import list_causes
from polvo_adapters.shells.encodings import TEXT

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
_EXPIRED, _OTHER_NAMES = (9, 10), (62, 63, 64)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED, _HOSTNAME_MISMATCH ...
_CLOSED = {"ConnectionError", "HTTPException", "ProtocolError", "NetworkError", "RemoteProtocolError"}
_OF_SOCKS = ("socks", "socksio")
PROXY_FAILED = "the proxy does not open a connection", "check the proxy in proxies= or in the environment"
"""Cause and advice where the connection to a proxy, or from it, failed."""
SILENT_IN_TLS = (
    "the server is silent in the TLS handshake: no byte came within the timeout",
    "check whether the port speaks TLS, or allow a longer timeout",
)
"""Cause and advice where a connection was there, and no TLS handshake came about."""

LATER = "call again later"
CLOSED = "the server closed the connection without an answer", LATER
BROKEN_OFF = "the body broke off before its end", LATER
"""Cause and advice where the server ended the connection before its answer, and within the body of its answer."""
_SHORT_IN_HTTP2 = "InvalidBodyLengthError"
"""The text of an exception of h2, which httpx has as a LocalProtocolError."""
_OPERATOR = "report it to the operator of the API"
_NO_HTTP = "the answer is no HTTP", "check scheme and port in the URL"
_TOO_MANY_HEADERS = "the answer has more headers than can be read", _OPERATOR
_BREAKS_RULES = "the answer breaks the rules of HTTP", _OPERATOR
_BROKEN_RULES = (
    ("message body", BROKEN_OFF),
    ("chunk", BROKEN_OFF),
    (TEXT, BROKEN_OFF),
    ("isconnected", CLOSED),
    ("closed connection", CLOSED),
    ("error_code:7", ("the server refuses the request, and has not processed it", LATER)),
    ("<", CLOSED),  # an event of HTTP/2, such as a stream that is reset
    ("ConnectionTerminated", CLOSED),
    ("illegal status line", _NO_HTTP),
    ("illegal request line", _NO_HTTP),
    ("buffer too long", _TOO_MANY_HEADERS),
    ("location header", ("the answer redirects to what is no URL", _OPERATOR)),
)
"""What a text of h11, h2 or httpx with these words means; the first counts."""
_PLACE = "check host and port in the URL, and whether the service runs"


def describe_cause(error: BaseException, host: str) -> tuple[str, str]:
    """Return the cause of an exception of a transport in plain words, and what to do about it.

    Args:
        error: The exception.
        host: Host and port of the request.
    """
    causes = list_causes(error)
    try:
        names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        if "ProxyError" in {type(error).__name__, *(type(cause).__name__ for cause in causes[:2])}:
            return PROXY_FAILED
        if any(type(cause).__module__.startswith(_OF_SOCKS) for cause in causes):
            return PROXY_FAILED
        return (
            _describe_tls(causes)
            or _describe_connecting(causes, names, host)
            or _describe_waiting(names)
            or _describe_response(causes, names)
            or _describe_request(names)
            or ("the connection failed", LATER)
        )
    finally:
        del error, causes  # see errors.py, "Errors and frames"


def _find(causes: Sequence[BaseException], *kinds: type[BaseException]) -> Any:
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def _describe_tls(causes: Sequence[BaseException]) -> tuple[str, str] | None:
    refused = _find(causes, ssl.SSLCertVerificationError)
    if refused is not None:
        advice = "give the certificate of its issuer with verify='ca.pem' or REQUESTS_CA_BUNDLE"
        if refused.verify_code in _EXPIRED:
            advice = "the operator of the server has to replace it; check the clock of this machine too"
        elif refused.verify_code in _OTHER_NAMES:
            advice = "use the host name that the certificate is for"
        return f"the certificate of the server is not accepted: {refused.verify_message.rstrip('.')}", advice
    if _find(causes, ssl.SSLEOFError, ssl.SSLZeroReturnError) is not None:
        return "the server closed the connection during the TLS handshake", LATER
    failed = _find(causes, ssl.SSLError)
    if failed is None:
        return None
    reason = (failed.reason or "unknown reason").replace("_", " ").lower()
    return f"no TLS connection: {reason}", "check scheme and port: https:// needs a server that speaks TLS"


def _describe_connecting(causes: Sequence[BaseException], names: Collection[str], host: str) -> tuple[str, str] | None:
    lookup = _find(causes, socket.gaierror)
    if lookup is not None:
        name = host.rpartition(":")[0] or host
        if lookup.errno == socket.EAI_AGAIN:
            return f"the name {name} cannot be looked up now", "check the name, and the DNS of this machine"
        return f"the name {name} is not found", "check the host in the URL, and the DNS of this machine"
    if _find(causes, ConnectionRefusedError) is not None:
        return f"connection refused, as nothing listens at {host}", _PLACE
    if any(isinstance(cause, OSError) and cause.errno in _UNREACHABLE for cause in causes):
        return f"no route to {host}", "check the network, and the host in the URL"
    if "ConnectTimeout" in names:
        return "no connection within the timeout, as the host does not answer", _PLACE
    if "PoolTimeout" in names or "EmptyPoolError" in names:
        return "no connection of the pool became free in time", "allow more connections, or make fewer calls at a time"
    return None


def _describe_waiting(names: Collection[str]) -> tuple[str, str] | None:
    if not names & {"Timeout", "TimeoutException", "ReadTimeoutError", "TimeoutError"}:  # type: ignore[operator]
        return None
    return "the server is silent: no byte came within the timeout", "allow a longer timeout, or ask for less"


def _describe_request(names: Collection[str]) -> tuple[str, str] | None:
    """Return what is wrong with a request that cannot be sent as it is."""
    if "UnsupportedProtocol" in names:
        what = "the URL, or the one that a redirect leads to, is neither http:// nor https://"
        return what, "correct the URL, or give the session a base_url"
    if "LocalProtocolError" in names:
        return "the request breaks the rules of HTTP", "correct its headers and its body"
    if names & {"InvalidJSONError", "InvalidHeader", "InvalidURL", "InvalidSchema", "MissingSchema"}:  # type: ignore[operator]
        return "the request cannot be made of these arguments", "correct what the message names"
    if names & {"StreamConsumedError", "StreamConsumed", "StreamClosed", "ResponseNotRead", "UnrewindableBodyError"}:  # type: ignore[operator]
        return "a body that can be read once was read before", "keep what was read, or call again"
    return None


def _describe_response(causes: Sequence[BaseException], names: Any) -> tuple[str, str] | None:
    if "TooManyRedirects" in names:
        return "too many redirects, perhaps in a circle", "check the URL, and where the server redirects to"
    if names & {"ContentDecodingError", "DecodingError", "DecodeError"}:
        return "the body is not encoded as its header says", _OPERATOR
    if names & {"ChunkedEncodingError", "IncompleteRead"}:
        return BROKEN_OFF
    text = next((str(cause) for cause in causes if type(cause).__name__ == "RemoteProtocolError"), "")
    if any(str(cause).startswith(_SHORT_IN_HTTP2) for cause in causes):
        return BROKEN_OFF
    if text:
        return next((found for mark, found in _BROKEN_RULES if mark in text), _BREAKS_RULES)
    if any("got more than" in text and "headers" in text for text in map(str, causes[1:])):
        return _TOO_MANY_HEADERS
    if names & {"BadStatusLine", "LineTooLong"} and "RemoteDisconnected" not in names:
        return _NO_HTTP
    return CLOSED if names & _CLOSED and "LocalProtocolError" not in names else None
