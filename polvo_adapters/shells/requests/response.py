"""The response of a call: a plain `requests.Response`, with what the call knows of it.

Theory of operation. Much code asks `type(response) is requests.Response`, so no class of ours may stay. The report is
an attribute. Pickling keeps what `__attrs__` lists, which is an attribute of the response as well. The deadline of the
body, the check of its end and the actions for its end belong to `raw`; see
`polvo_adapters.shells.requests.observed_body`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import responses
from typing import Any

import requests
from requests.exceptions import ChunkedEncodingError
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import synthesized_headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells import encodings
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.requests.observed_body import (
    check_end,
    explain_break,
    is_cut_off,
    limit,
    make_deadline_error,
    observe,
)

_PIECE = 65_536
_PICKLED = [*requests.Response.__attrs__, "polvo", "__attrs__"]
"""`__attrs__` of a response with a report, which pickling keeps together with this very list."""


class Response(requests.Response):
    """A response on its way from an adapter to the session, where it becomes a plain `requests.Response`.

    `Session.send` measures around the adapter, waits and body included, and assigns that to `elapsed`. `requests`
    documents the time from sending to headers, which the exchange has measured for the last attempt. So the first
    assignment is dropped, and ends this class: hooks and callers find `type(response) is requests.Response`.

    Attributes:
        elapsed: Time from sending the last attempt to the arrival of its headers; the time of the whole call is in
            `polvo.elapsed`.
    """

    @property
    def elapsed(self) -> timedelta:
        """Time from sending the last attempt to the arrival of its headers."""
        # Kept where `requests` keeps it, so that it is still there when the class changes.
        elapsed: timedelta = self.__dict__["elapsed"]
        return elapsed

    @elapsed.setter
    def elapsed(self, value: timedelta) -> None:
        self.__dict__.setdefault("elapsed", value)  # of an older pickle there is none yet
        self.__class__ = requests.Response  # type: ignore[assignment]

    @property
    def request(self) -> requests.PreparedRequest:
        """The request, which code that sends through `response.connection`, such as HTTPDigestAuth, assigns."""
        request: requests.PreparedRequest = self.__dict__["request"]
        return request

    @request.setter
    def request(self, value: requests.PreparedRequest) -> None:
        self.__dict__["request"] = value
        self.__class__ = requests.Response  # type: ignore[assignment]  # no session will measure it


class WatchedResponse(requests.Response):
    """A response whose body is none of urllib3's, and has a deadline or something that waits for its end."""

    _deadline: tuple[float, Clock, str] | None = None
    _closing: BodyCloseActions | None = None
    _is_handed_over = False

    @property
    def elapsed(self) -> timedelta:
        """Time from sending the last attempt to the arrival of its headers; see `Response`."""
        elapsed: timedelta = self.__dict__["elapsed"]
        return elapsed

    @elapsed.setter
    def elapsed(self, value: timedelta) -> None:
        if not self._is_handed_over:
            self.__dict__["elapsed"] = value
        self._is_handed_over = False

    def close(self) -> None:
        """Release the connection; see `requests.Response.close`."""
        super().close()
        if self._closing is not None:
            self._closing.run()

    def iter_content(self, *args: Any, **keywords: Any) -> Iterator[Any]:
        """Iterate over the body, as `requests.Response.iter_content` does, within the deadline of the call.

        Raises:
            DeadlineExceeded: The deadline is over.
        """
        chunks = super().iter_content(*args, **keywords)
        if self._deadline is not None:
            chunks = self._until_deadline(chunks, *self._deadline)
        return chunks if self._closing is None else _report_end(chunks, self._closing)

    def _until_deadline(self, chunks: Iterator[Any], deadline: float, clock: Clock, host: str) -> Iterator[Any]:
        try:
            yield from chunks
        except requests.ConnectionError as error:
            if isinstance(error, DeadlineExceeded) or clock.now() < deadline:
                raise
            raise make_deadline_error(self, host) from error


def note_attempt(response: requests.Response, elapsed: timedelta, deadline: float | None, clock: Clock) -> None:
    """Note what only the exchange knows; the class of another library is left as it is.

    Args:
        response: The response of the attempt, unread.
        elapsed: Time from sending to headers, which the measurement of the session must not replace.
        deadline: When reading the body raises DeadlineExceeded instead of a timeout, or None.
        clock: The clock of the deadline.
    """
    kind, state = type(response), response.__dict__
    if kind is not requests.Response and kind is not Response and kind is not WatchedResponse:
        return
    state["elapsed"] = elapsed
    state["__attrs__"] = _PICKLED
    if _is_encoded(response):
        check_end(response.raw)
    if deadline is not None:
        host = find_host(response.url or "")
        if not limit(response, deadline, clock, host):
            response.__class__ = WatchedResponse
            state["_deadline"] = (deadline, clock, host)


def on_body_closed(response: requests.Response, action: Callable[[bool, bool], None]) -> None:
    """Run an action when the body of a response is closed, breaks off, or is freed; see `BodyCloseActions`."""
    actions = observe(response.raw)
    if actions is None:  # the response has to tell, or at least that it is freed
        if type(response) in (requests.Response, Response):
            response.__class__ = WatchedResponse
        actions = response.__dict__.setdefault("_closing", BodyCloseActions())
    actions.add(action)


def read_body(response: requests.Response) -> bytes | None:
    """Read and return the whole body, in larger pieces than `requests` does, but not as large as a header may claim."""
    kind = type(response)
    is_known = kind is requests.Response or kind is Response
    is_unread, raw = response._content is False and not response._content_consumed, response.raw
    if is_unread and is_known and isinstance(raw, HTTPResponse):
        # Where the whole length is asked for, urllib3 does not look for more behind it.
        length = None if _is_encoded(response) else raw.length_remaining
        piece = length if length and length < _PIECE else _PIECE
        body = response._content = b"".join(response.iter_content(piece))  # which also marks it as read
        return body
    body = response.content  # which reads it
    if not is_known and is_cut_off(response.raw):
        raise ChunkedEncodingError(encodings.TEXT)
    return body


def _is_encoded(response: requests.Response) -> bool:
    # Not in the mapping itself, where a look for a header that is not there costs an exception.
    return "content-encoding" in getattr(response.headers, "_store", response.headers)


def hand_over(response: requests.Response, report: Report) -> None:
    """Add the report of the call to a response, and prepare it for the session; see `Response`."""
    state = response.__dict__
    state["polvo"] = report
    if "__attrs__" in state:  # it is one of those whose time has been noted
        kind = type(response)
        if kind is requests.Response:
            response.__class__ = Response
        elif kind is WatchedResponse:
            state["_is_handed_over"] = True
        if state.get("_content") is False and not state.get("_content_consumed"):  # other classes may have neither
            explain_break(response, report)


def _report_end(chunks: Iterator[Any], closing: BodyCloseActions) -> Iterator[Any]:
    try:
        yield from chunks
    except Exception:
        closing.run(broken=True)
        raise
    closing.run()


def synthesize_response(outcome: Outcome, request: requests.PreparedRequest) -> requests.Response:
    """Return the response for an outcome that a policy made and no server has sent.

    Args:
        outcome: The outcome, with status, headers and body.
        request: The request of the response.
    """
    response, body = requests.Response(), outcome.body or b""
    response.status_code, response.url, response.request = outcome.status, request.url or "", request
    response.headers.update(synthesized_headers(outcome, request.method))
    response.reason = responses.get(outcome.status, "")
    response.encoding = get_encoding_from_headers(response.headers)
    response._content, response._content_consumed = body, True
    # `content` is complete, but code that streams may read `raw`.
    response.raw = HTTPResponse(
        io.BytesIO(body),
        headers=response.headers,
        status=outcome.status,
        version=11,
        reason=response.reason,
        preload_content=False,
        request_method=request.method,
    )
    response.__dict__["__attrs__"] = _PICKLED  # as of one whose time has been noted; it is 0
    return response
