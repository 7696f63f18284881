"""Sending a request a second time, with another credential, because the first was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from requests.cookies import extract_cookies_to_jar
from requests.utils import rewind_body

from polvo_adapters.shells.request_identity import same_call

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

_AS_IT_IS = (bytes, str, bytearray, memoryview)


def replayable(request: PreparedRequest) -> bool:
    """Tell whether the body of a request can be sent again."""
    body = request.body
    if body is None or isinstance(body, _AS_IT_IS):
        return True
    # Where the body began when the request was prepared; an object that is no number where nobody could tell.
    return isinstance(getattr(request, "_body_position", None), int)


def replay(
    response: Response, keywords: dict[str, Any], attach: Callable[[PreparedRequest], object]
) -> Response | None:
    """Send the request of a response again, through the adapter that it came by.

    Args:
        response: The answer that refuses it; it is closed, and becomes part of the history.
        keywords: What the request was sent with, as a response hook is given it.
        attach: Puts the credential on the new request.

    Returns:
        The new answer, or None where the request cannot be sent again; the old one is as it was then.
    """
    connection = getattr(response, "connection", None)
    if connection is None or not replayable(response.request):
        return None
    request = response.request.copy()
    same_call(response.request, request)
    if isinstance(getattr(request, "_body_position", None), int):
        try:
            rewind_body(request)
        except OSError:
            return None
    response.close()
    jar: Any = request._cookies
    extract_cookies_to_jar(jar, response.request, response.raw)
    request.headers.pop("Cookie", None)
    request.prepare_cookies(jar)
    attach(request)
    again: Response = connection.send(request, **keywords)
    again.history.append(response)
    again.request = request
    return again
