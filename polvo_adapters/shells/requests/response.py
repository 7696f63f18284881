"""A `requests.Response` with the report of its call."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import responses
from typing import Any

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse

from polvo_adapters.core.calls import origin
from polvo_adapters.core.http import synthesized_headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.ranges import Unproved
from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells import encodings
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.error_notes import add_note
from polvo_adapters.shells.requests.observed_body import is_cut_off, limit, observe
from polvo_adapters.shells.requests.resuming_body import ResumingBody

_PIECE = 65_536


class Response(requests.Response):
    """The response of a mounted adapter: a `requests.Response` with a report.

    Attributes:
        polvo: The Report of the call: attempts, waits and their reasons. It survives pickling.
        elapsed: As `requests` documents it, the time from sending to headers, of the last attempt alone; the time of
            the whole call is in `polvo.elapsed`.
    """

    __attrs__ = [*requests.Response.__attrs__, "polvo"]

    polvo: Report | None = None
    _session_to_overwrite = False
    _deadline: tuple[float, Clock] | None = None
    _closing: BodyCloseActions | None = None
    _is_closed = False
    _resuming: ResumingBody | Unproved | None = None

    @property
    def elapsed(self) -> timedelta:
        """Time from sending the last attempt to the arrival of its headers."""
        # Kept where `requests` keeps it, so that it is still there when other code changes the class again.
        elapsed: timedelta = self.__dict__["elapsed"]
        return elapsed

    @elapsed.setter
    def elapsed(self, value: timedelta) -> None:
        # Session.send measures around the adapter, waits and body included, and assigns that once.
        if not self._session_to_overwrite:
            self.__dict__["elapsed"] = value
        self._session_to_overwrite = False

    def _note_attempt(self, elapsed: timedelta, deadline: float | None, clock: Clock) -> None:
        """Note what only the exchange knows.

        Args:
            elapsed: Time from sending to headers, which the measurement of the session must not replace.
            deadline: When reading the body raises DeadlineExceeded instead of a timeout, or None.
            clock: The clock of the deadline.
        """
        self.__dict__["elapsed"], self._session_to_overwrite = elapsed, True
        if deadline is not None:
            self._deadline = (deadline, clock)
            limit(self.raw, deadline, clock, origin(self.url or "").partition("://")[2])

    def _on_body_closed(self, action: Callable[[bool, bool], None]) -> None:
        """Run an action when the body is closed; see `BodyCloseActions`."""
        if self._closing is None:
            self._closing = BodyCloseActions()
            observe(self.raw, self._closing)
        self._closing.add(action)

    def close(self) -> None:
        """Release the connection; see `requests.Response.close`."""
        self._is_closed = True
        super().close()
        if self._closing is not None:
            self._closing.run()

    def _read_body(self) -> None:
        """Read the whole body, in larger pieces than `requests` does, but never as large as a header may claim."""
        if self._content is False and not self._content_consumed and isinstance(self.raw, HTTPResponse):
            self._content = b"".join(self.iter_content(_PIECE))  # which also marks it as read
        else:
            self.content  # noqa: B018 - reads what there is to read

    def iter_content(self, *args: Any, **keywords: Any) -> Iterator[Any]:
        """Iterate over the body, as `requests.Response.iter_content` does, within the deadline of the call.

        Raises:
            DeadlineExceeded: The deadline is over.
            ChunkedEncodingError: The body is not complete, or ends within its content encoding.
        """
        chunks = super().iter_content(*args, **keywords)
        # Not in the mapping itself, where a look for a header that is not there costs an exception.
        if "content-encoding" in getattr(self.headers, "_store", self.headers):
            chunks = self._until_cut_off(chunks)
        if self._deadline is not None:
            chunks = self._until_deadline(chunks, *self._deadline)
        if self._resuming is not None:
            chunks = self._until_broken(chunks, self._resuming)
        return chunks if self._closing is None else _report_end(chunks, self._closing)

    def _until_broken(self, chunks: Iterator[Any], resuming: ResumingBody | Unproved) -> Iterator[Any]:
        """Iterate to the end, and say of an exception why the body did not go on."""
        try:
            yield from chunks
        except requests.RequestException as error:
            unproved = resuming if isinstance(resuming, Unproved) else resuming.unproved
            if unproved is not None:
                add_note(error, f"polvo: the body does not go on: {unproved.reason}")
            if not hasattr(error, "polvo"):
                error.polvo = self.polvo  # type: ignore[attr-defined]
            raise

    def _until_cut_off(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """Iterate to the end, and raise where that is within the encoding."""
        try:
            yield from chunks
        except ContentDecodingError as error:
            # The decoder of zstd raises an error of its own at such an end.
            if "incomplete" in str(error) and is_cut_off(self.raw):
                raise ChunkedEncodingError(encodings.TEXT, request=self.request) from error
            raise
        if not self._is_closed and is_cut_off(self.raw):
            raise ChunkedEncodingError(encodings.TEXT, request=self.request)

    def _until_deadline(self, chunks: Iterator[Any], deadline: float, clock: Clock) -> Iterator[Any]:
        host = None if self.polvo is None else self.polvo.host  # without a report, the policy adds it
        try:
            yield from chunks
        except DeadlineExceeded as error:  # by a body that knows its deadline
            error.request, error.response, error.host = self.request, self, host
            raise
        except requests.ConnectionError as error:
            if clock.now() < deadline:
                raise
            message = "the deadline is over and the body is not complete; allow a longer deadline, or ask for less"
            raise DeadlineExceeded(message, request=self.request, response=self, host=host) from error


def _report_end(chunks: Iterator[Any], closing: BodyCloseActions) -> Iterator[Any]:
    try:
        yield from chunks
    except Exception:
        closing.run(broken=True)
        raise
    closing.run()


def synthesize_response(outcome: Outcome, request: requests.PreparedRequest) -> Response:
    """Return the response for an outcome that a policy made and no server has sent.

    Args:
        outcome: The outcome, with status, headers and body.
        request: The request of the response.
    """
    response, body = Response(), outcome.body or b""
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
    response.__dict__["elapsed"], response._session_to_overwrite = timedelta(0), True
    return response
