"""What an exception from below means, in plain words, for the note of an error that a `polvo.Session` raises.

Theory of operation. The text of the exception is that of urllib3, which code may look for, so that it stays, but for
the query of its URL. What a person needs is in the note: which call that was, the cause, and what to do.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import requests
from requests import exceptions as errors
from urllib3 import exceptions as below

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import IDEMPOTENT_METHODS, text_of
from polvo_adapters.core.report import Report
from polvo_adapters.errors import PolvoError
from polvo_adapters.shells.error_notes import append_to_text, hide_queries, replace_note, shows_notes
from polvo_adapters.shells.message_parts import describe_place
from polvo_adapters.shells.requests.failures import list_causes

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
_EXPIRED, _OTHER_NAMES = (9, 10), (62, 63, 64)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED, _HOSTNAME_MISMATCH ...
_LATER = "call again later"
_PLACE = "check host and port in the URL, and whether the service runs"


def complete_error(error: requests.RequestException, *urls: object) -> None:
    """Remove the query from the texts of an exception that is about to be raised, and say in a note what it means.

    Args:
        error: The exception, which stays the same object, of the same class.
        *urls: The URL that the caller gave.
    """
    try:
        request = error.request
        hide_queries(error, *urls, getattr(request, "url", None))
        if not isinstance(error, PolvoError) and isinstance(request, requests.PreparedRequest):
            _explain(error, request)
    finally:
        del error  # see errors.py, "Errors and frames"


def _explain(error: requests.RequestException, request: requests.PreparedRequest) -> None:
    report = getattr(error, "polvo", None)
    try:
        cause, advice = describe_cause(error, request)
        parts = [f"{describe_place(request)}: {cause}"]
        before = ""
        if isinstance(report, Report):
            before = f"polvo: {report.summary()}"
            parts.append(report.summary())
        advice = _warn(request, report) or advice
        with suppress(AttributeError, TypeError):  # a class of exceptions that is not to be changed
            note = "polvo: " + "; ".join([*parts, advice])
            replace_note(error, before, note)
            if not shows_notes():
                append_to_text(error, note)
    finally:
        del error


def _warn(request: requests.PreparedRequest, report: Any) -> str:
    """Return what to do where a request may have been processed that is not safe to repeat."""
    if request.method in IDEMPOTENT_METHODS or not getattr(report, "sent", False):
        return ""
    return "find out whether it was processed before you send it again"


def describe_cause(error: BaseException, request: requests.PreparedRequest) -> tuple[str, str]:
    """Return the cause of an exception in plain words, and what to do about it."""
    causes = list_causes(error)
    try:
        if isinstance(error, errors.ProxyError):
            return "the proxy does not open a connection", "check the proxy in proxies= or in the environment"
        return (
            _describe_tls(causes)
            or _describe_connecting(causes, text_of(request.url or ""))
            or _describe_waiting(causes)
            or _describe_response(causes)
            or ("the connection failed", _LATER)
        )
    finally:
        del error, causes


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
        return "the server closed the connection during the TLS handshake", _LATER
    failed = _find(causes, ssl.SSLError)
    if failed is None:
        return None
    reason = (failed.reason or "unknown reason").replace("_", " ").lower()
    return f"no TLS connection: {reason}", "check scheme and port: https:// needs a server that speaks TLS"


def _describe_connecting(causes: Sequence[BaseException], url: str) -> tuple[str, str] | None:
    host = find_host(url)
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
    if _find(causes, errors.ConnectTimeout) is not None:
        return "no connection within the timeout, as the host does not answer", _PLACE
    return None


def _describe_waiting(causes: Sequence[BaseException]) -> tuple[str, str] | None:
    if _find(causes, errors.Timeout, below.ReadTimeoutError, TimeoutError) is None:
        return None
    return "the server is silent: no byte came within the timeout", "allow a longer timeout, or ask for less"


def _describe_response(causes: Sequence[BaseException]) -> tuple[str, str] | None:
    if _find(causes, errors.TooManyRedirects) is not None:
        return "too many redirects, perhaps in a circle", "check the URL, and where the server redirects to"
    if _find(causes, errors.ContentDecodingError) is not None:
        return "the body is not encoded as its header says", "report it to the operator of the API"
    if _find(causes, errors.ChunkedEncodingError, http.client.IncompleteRead) is not None:
        return "the body broke off before its end", _LATER
    if _find(causes, http.client.BadStatusLine, http.client.LineTooLong) is not None and not _find(
        causes, http.client.RemoteDisconnected
    ):
        return "the answer is no HTTP", "check scheme and port in the URL"
    if _find(causes, ConnectionError, http.client.HTTPException, below.ProtocolError) is not None:
        return "the server closed the connection without an answer", _LATER
    return None
