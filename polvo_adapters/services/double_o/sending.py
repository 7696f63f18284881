"""The transport of a ServiceRequest: a session sends it, and the result holds no secret.

An exception of `requests` or httpx is not passed on: its text may hold a URL with a query, and its request the token.
Nor is the response as it is. A redirect is followed for GET and HEAD only: it would turn any other method into a GET.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import urllib3.exceptions
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from polvo_adapters import headers
from polvo_adapters.auth.static import Bearer
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.outcomes import Failure
from polvo_adapters.errors import (
    CircuitOpenError,
    DeadlineExceeded,
    PolvoError,
    PoolTimeoutError,
    RateLimitError,
    StatusError,
)
from polvo_adapters.redaction import mask_secret, unpicklable
from polvo_adapters.services.double_o.effects import ServiceRequest, ServiceResponse
from polvo_adapters.shells.plain_words import describe_cause
from polvo_adapters.shells.requests.failures import classify

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.shells.requests.session import Session

_PLACE = re.compile(r"\A[A-Z]+ \S+: ")  # which the error of the service names itself
_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_HELD_BACK = (CircuitOpenError, PoolTimeoutError, RateLimitError)
"""Refusals by a policy; as exceptions of `requests` they look like a lost connection or a timeout."""
FOLLOWED = ("GET", "HEAD")
_HIDDEN = "[token]"


@unpicklable
class Received(NamedTuple):
    """A response of either library, whole.

    Attributes:
        status: Its status.
        reason: The reason of the status line.
        url: Where it came from.
        headers: Its headers.
        body: Its body, or an empty one where that broke off.
        seconds: How long it took until the headers came.
        report: The report of the call, or None.
    """

    status: int
    reason: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float
    report: Any

    def __repr__(self) -> str:
        return f"<Received {self.status}>"


def send(session: Session, base_url: str, request: ServiceRequest) -> ServiceResponse:
    """Make one logical call, and return its response or its failure.

    Args:
        session: Sends the request, and repeats it as its policies say.
        base_url: What the path is appended to.
        request: The request.
    """
    host = find_host(base_url)
    try:
        response = session.request(
            request.method,
            base_url + request.path,
            params=dict(request.params),
            data=request.body,
            headers=dict(request.headers),
            auth=Bearer(request.token) if request.token else _send_no_credentials,
            allow_redirects=request.method in FOLLOWED,
        )
    except _ERRORS as error:
        if not is_answer(error):
            received = None if error.response is None else _receive(error.response)  # type: ignore[union-attr]
            return convert_error(error, classify(error), host, request.token, received)
        response = error.response  # type: ignore[union-attr]
    return convert_response(_receive(response), host, request.token, session.clock.wall())


def is_answer(error: BaseException) -> bool:
    """Return whether an error of a session says no more than the response that it has."""
    return isinstance(error, StatusError) and not isinstance(error, DeadlineExceeded) and error.response is not None


def _send_no_credentials(request: PreparedRequest) -> PreparedRequest:
    """Keep the credentials of a netrc file out of a call without a token."""
    return request


def _receive(response: Response) -> Received:
    content = response._content  # `content` raises for a body that broke off
    return Received(
        response.status_code,
        str(response.reason or ""),
        response.url or "",
        list(response.headers.items()),
        content if isinstance(content, bytes) else b"",
        response.elapsed.total_seconds(),
        getattr(response, "polvo", None),
    )


def convert_response(received: Received, host: str, token: str, now: float) -> ServiceResponse:
    """Return a response without the token.

    Args:
        received: The response.
        host: Host that the call went to.
        token: The token.
        now: Unix time.
    """
    named = CaseInsensitiveDict(received.headers)
    return ServiceResponse(
        status=received.status,
        body=received.body,
        kind=_hide_token(named.get("Content-Type", ""), token),
        host=host,
        retry_after=headers.retry_after(named, now),
        attempts=_count_attempts(received.report),
        response=_copy_response(received, token),
    )


def convert_error(
    error: BaseException, failure: Failure, host: str, token: str, received: Received | None
) -> ServiceResponse:
    """Return the failure that an exception stands for.

    Args:
        error: The exception.
        failure: Its meaning.
        host: Host that the call went to.
        token: The token.
        received: The response that it has, or None.
    """
    request = getattr(error, "request", None)  # which may be one that a redirect has led to
    cause = "; ".join(describe_cause(error, host if request is None else find_host(str(request.url or ""))))
    problem = _PLACE.sub("", str(error)) if isinstance(error, PolvoError) else cause
    attempts = getattr(error, "attempts", 0) or _count_attempts(getattr(error, "polvo", None))
    return ServiceResponse(
        host=host,
        retry_after=getattr(error, "retry_after", None),
        attempts=attempts,
        # The messages of this library's errors hold no secret by design; those of others may.
        problem=problem,
        reason="not sent" if isinstance(error, _HELD_BACK) and attempts == 0 else failure.name,
        response=None if received is None else _copy_response(received, token),
    )


def _count_attempts(report: Any) -> int:
    return 0 if report is None else len(report.attempts)


def _hide_token(text: str, token: str) -> str:
    return mask_secret(text, token, _HIDDEN)


def _copy_response(received: Received, token: str) -> Response:
    """Return a response of `requests` without request and token, its body only where it is an error."""
    shown = requests.Response()
    shown.status_code, shown.elapsed = received.status, timedelta(seconds=received.seconds)
    shown.encoding = get_encoding_from_headers(CaseInsensitiveDict(received.headers))
    shown.url, shown.reason = _hide_token(received.url, token), _hide_token(received.reason, token)
    for name, value in received.headers:
        if name.lower() != "set-cookie":
            shown.headers[_hide_token(name, token)] = _hide_token(value, token)
    body = received.body if received.status >= 400 else b""
    shown._content = mask_secret(body, token, _HIDDEN)
    shown._content_consumed = True
    if received.report is not None:
        shown.polvo = received.report  # type: ignore[attr-defined]
    return shown
