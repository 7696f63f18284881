"""The transport of a ServiceRequest: a session sends it, and the result holds no secret.

An exception of `requests` is not passed on: its text may hold a URL with a query, and its request the token. Nor is the
response as it is. A redirect is followed for GET and HEAD only: `requests` would turn any other method into a GET.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import requests
import urllib3.exceptions

from polvo_adapters import headers
from polvo_adapters.auth.static import Bearer
from polvo_adapters.core.calls import find_host
from polvo_adapters.errors import DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.services.double_o.effects import ServiceRequest, ServiceResponse
from polvo_adapters.shells.plain_words import describe_cause
from polvo_adapters.shells.requests.failures import classify

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.shells.requests.session import Session

_PLACE = re.compile(r"\A[A-Z]+ \S+: ")  # which the error of the service names itself
_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_FOLLOWED = ("GET", "HEAD")
_HIDDEN = "[token]"


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
            allow_redirects=request.method in _FOLLOWED,
        )
    except _ERRORS as error:
        if not isinstance(error, StatusError) or isinstance(error, DeadlineExceeded) or error.response is None:
            return _convert_error(error, host, request.token)
        response = error.response
    return _convert_response(response, host, request.token, session.clock.wall())


def _send_no_credentials(request: PreparedRequest) -> PreparedRequest:
    """Keep the credentials of a netrc file out of a call without a token."""
    return request


def _convert_response(response: Response, host: str, token: str, now: float) -> ServiceResponse:
    return ServiceResponse(
        status=response.status_code,
        body=_read_body(response),
        kind=_hide_token(response.headers.get("Content-Type", ""), token),
        host=host,
        retry_after=headers.retry_after(response.headers, now),
        attempts=_count_attempts(response),
        response=_copy_response(response, token),
    )


def _convert_error(error: Exception, host: str, token: str) -> ServiceResponse:
    response = getattr(error, "response", None)
    failure = classify(error)
    request = getattr(error, "request", None)  # which may be one that a redirect has led to
    cause = "; ".join(describe_cause(error, host if request is None else find_host(request.url or "")))
    problem = _PLACE.sub("", str(error)) if isinstance(error, PolvoError) else cause
    return ServiceResponse(
        host=host,
        retry_after=getattr(error, "retry_after", None),
        attempts=getattr(error, "attempts", 0) or _count_attempts(error),
        # The messages of this library's errors hold no secret by design; those of others may.
        problem=problem,
        reason=failure.name,
        response=None if response is None else _copy_response(response, token),
    )


def _read_body(response: Response) -> bytes:
    content = response._content  # `content` raises for a body that broke off
    return content if isinstance(content, bytes) else b""


def _count_attempts(source: Any) -> int:
    report = getattr(source, "polvo", None)
    return 0 if report is None else len(report.attempts)


def _hide_token(text: str, token: str) -> str:
    return text.replace(token, _HIDDEN) if token else text


def _copy_response(response: Response, token: str) -> Response:
    """Return a copy of a response without request and token, its body only where it is an error."""
    shown = requests.Response()
    shown.status_code, shown.encoding, shown.elapsed = response.status_code, response.encoding, response.elapsed
    shown.url, shown.reason = _hide_token(response.url or "", token), _hide_token(str(response.reason or ""), token)
    for name, value in response.headers.items():
        if name.lower() != "set-cookie":
            shown.headers[_hide_token(name, token)] = _hide_token(value, token)
    body = _read_body(response) if response.status_code >= 400 else b""
    shown._content = body.replace(token.encode("ascii"), _HIDDEN.encode()) if token else body
    shown._content_consumed = True
    if hasattr(response, "polvo"):
        shown.polvo = response.polvo  # type: ignore[attr-defined]
    return shown
