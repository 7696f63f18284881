"""Carries out an Ask with a session, and tells what came of it in values that hold no secret.

What `requests` raises is not passed on: its text may hold a URL with a query, and its request the token. Nor is the
response as it is. A redirect is followed for GET and HEAD only: of anything else `requests` would make a GET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
import urllib3.exceptions

from polvo_adapters import headers
from polvo_adapters.auth.static import Bearer
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.services.double_o.effects import ServiceRequest, ServiceResponse
from polvo_adapters.shells.requests.failures import classify

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.shells.requests.session import Session

_ENDS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_FOLLOWED = ("GET", "HEAD")
_HIDDEN = "[token]"


def send(session: Session, base_url: str, ask: ServiceRequest) -> ServiceResponse:
    """Make one logical call, and return what came of it, whatever that is.

    Args:
        session: Sends it, and repeats it as its policies say.
        base_url: What the path is appended to.
        ask: The call.
    """
    host = origin(base_url).partition("://")[2]
    try:
        response = session.request(
            ask.method,
            base_url + ask.path,
            params=dict(ask.params),
            data=ask.body,
            headers=dict(ask.headers),
            auth=Bearer(ask.token) if ask.token else _nobody,
            allow_redirects=ask.method in _FOLLOWED,
        )
    except _ENDS as error:
        if not isinstance(error, StatusError) or isinstance(error, DeadlineExceeded) or error.response is None:
            return _unanswered(error, host, ask.token)
        response = error.response
    return _answered(response, host, ask.token, session.clock.wall())


def _nobody(request: PreparedRequest) -> PreparedRequest:
    """Keep the credentials of a netrc file from a call that is to carry none."""
    return request


def _answered(response: Response, host: str, token: str, now: float) -> ServiceResponse:
    return ServiceResponse(
        status=response.status_code,
        body=_body(response),
        kind=_hidden(response.headers.get("Content-Type", ""), token),
        host=host,
        retry_after=headers.retry_after(response.headers, now),
        attempts=_attempts(response),
        response=_shown(response, token),
    )


def _unanswered(error: Exception, host: str, token: str) -> ServiceResponse:
    response = getattr(error, "response", None)
    failure = classify(error)
    ours = isinstance(error, PolvoError)
    return ServiceResponse(
        host=host,
        retry_after=getattr(error, "retry_after", None),
        attempts=getattr(error, "attempts", 0) or _attempts(error),
        # The messages of our own errors hold no secret by design; those of others are not known to.
        problem=str(error) if ours else f"{failure.name} ({type(error).__name__})",
        reason=failure.name,
        response=None if response is None else _shown(response, token),
    )


def _body(response: Response) -> bytes:
    """Return what was read of the body; one that broke off is not there, and cannot be asked for."""
    content = response._content
    return content if isinstance(content, bytes) else b""


def _attempts(source: Any) -> int:
    report = getattr(source, "polvo", None)
    return 0 if report is None else len(report.attempts)


def _hidden(text: str, token: str) -> str:
    return text.replace(token, _HIDDEN) if token else text


def _shown(response: Response, token: str) -> Response:
    """Return a response as an error may carry it."""
    shown = requests.Response()
    shown.status_code, shown.encoding = response.status_code, response.encoding
    shown.url, shown.reason = _hidden(response.url or "", token), _hidden(str(response.reason or ""), token)
    for name, value in response.headers.items():
        if name.lower() != "set-cookie":
            shown.headers[_hidden(name, token)] = _hidden(value, token)
    body = _body(response) if response.status_code >= 400 else b""
    shown._content = body.replace(token.encode("ascii"), _HIDDEN.encode()) if token else body
    shown._content_consumed = True
    shown.elapsed = response.elapsed
    if hasattr(response, "polvo"):
        shown.polvo = response.polvo  # type: ignore[attr-defined]
    return shown
