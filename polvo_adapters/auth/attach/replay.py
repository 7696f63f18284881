"""The repetition of a refused request with another credential."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from requests.cookies import extract_cookies_to_jar
from requests.utils import rewind_body

from polvo_adapters.shells.request_identity import share_assigned_headers

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


def replayable(request: PreparedRequest) -> bool:
    """Return whether the body of a request can be sent again."""
    body = request.body
    if body is None or isinstance(body, (bytes, str, bytearray, memoryview)):
        return True
    # `requests` stores where the body began, or an object that is no number if the body could not say.
    return isinstance(getattr(request, "_body_position", None), int)


def replay(
    response: Response, keywords: dict[str, Any], attach: Callable[[PreparedRequest], object]
) -> Response | None:
    """Send the request of a response again, through its adapter, and return the new response.

    If the request cannot be sent again, the response is left as it is, and None is returned.

    Args:
        response: The response that refuses the request; it is closed, and becomes part of the history.
        keywords: Keywords that the request was sent with, as a response hook receives them.
        attach: Puts the credential on the new request.
    """
    connection = getattr(response, "connection", None)
    if connection is None or not replayable(response.request):
        return None
    request = response.request.copy()
    share_assigned_headers(response.request, request)
    if isinstance(getattr(request, "_body_position", None), int):
        try:
            rewind_body(request)
        except OSError:
            return None
    response.close()
    _renew_cookies(request, response)
    attach(request)
    again: Response = connection.send(request, **keywords)
    again.history.append(response)
    again.request = request
    return again


def _renew_cookies(request: PreparedRequest, response: Response) -> None:
    """Let a request send the cookies of the response as well; apart, as a jar that is printed shows them."""
    jar: Any = request._cookies
    extract_cookies_to_jar(jar, response.request, response.raw)
    request.headers.pop("Cookie", None)
    request.prepare_cookies(jar)
