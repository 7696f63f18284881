"""Whether a response of `requests` refuses the credential of its request.

Theory of operation. Mostly the status says so. Where `refused=` asks for the body as well, it is looked at if that
changes nothing for the caller: a body that is read already, or that the session reads next. The body of a streamed
response is the caller's, that of a redirect is forgiven any error by the session, and a large one does not refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.credential_refusals import LARGEST_REFUSAL, RefusalTest

if TYPE_CHECKING:
    from requests import Response


def is_refusal(test: RefusalTest, response: Response, keywords: Mapping[str, Any]) -> bool:
    """Return whether a response refuses the credential of its request.

    Args:
        test: The test of the auth object.
        response: The response.
        keywords: Keywords that the request was sent with, as a response hook receives them.
    """
    status = response.status_code
    if test.is_plain:
        return status in test.statuses
    request, report = response.request, getattr(response, "polvo", None)
    body = _read_small_body(response, keywords) if test.reads_body(status) else None
    host = find_host(request.url or "")
    attempt = 1 if report is None else max(1, len(report.attempts))
    return test(Answer(request.method or "", host, attempt, status, response.headers, body, ""))


def _read_small_body(response: Response, keywords: Mapping[str, Any]) -> bytes | None:
    """Return the body of a response, or None where it is not looked at."""
    if response._content is False:
        announced = response.headers.get("Content-Length", "")
        is_large = announced.isdecimal() and int(announced[:20]) > LARGEST_REFUSAL
        if keywords.get("stream") or response._content_consumed or response.is_redirect or is_large:
            return None
    content = response.content or b""
    return content if len(content) <= LARGEST_REFUSAL else None
