"""A `requests.Response` with the report of its call."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import responses
from typing import Any

import requests
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from polvo_adapters.core.http import synthesized_headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.body_closing import BodyCloseActions

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
            if type(self.raw) is HTTPResponse:
                self.raw.__class__ = _RawResponse
                self.raw._above = weakref.ref(self)  # type: ignore[attr-defined]

    def _on_body_closed(self, action: Callable[[bool, bool], None]) -> None:
        """Run an action when the body is closed; see `BodyCloseActions`."""
        if self._closing is None:
            self._closing = BodyCloseActions()
        self._closing.add(action)

    def close(self) -> None:
        """Release the connection; see `requests.Response.close`."""
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
        """
        chunks = super().iter_content(*args, **keywords)
        if self._deadline is not None:
            chunks = self._until_deadline(chunks, *self._deadline)
        return chunks if self._closing is None else _report_end(chunks, self._closing)

    def _until_deadline(self, chunks: Iterator[Any], deadline: float, clock: Clock) -> Iterator[Any]:
        try:
            yield from chunks
        except requests.ConnectionError as error:
            if clock.now() < deadline:
                raise
            raise self._explain_deadline() from error

    def _explain_deadline(self) -> DeadlineExceeded:
        host = None if self.polvo is None else self.polvo.host  # without a report, the policy adds it
        message = "the deadline is over and the body is not complete; allow a longer deadline, or ask for less"
        return DeadlineExceeded(message, request=self.request, response=self, host=host)


class _RawResponse(HTTPResponse):
    """The response of urllib3, for those who read it themselves: its end by the deadline is that of the call."""

    _above: weakref.ref[Response]

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        try:
            with super()._error_catcher():
                yield
        except (ReadTimeoutError, ProtocolError) as error:
            response = self._above()
            if response is None or response._deadline is None:
                raise
            deadline, clock = response._deadline
            if clock.now() < deadline:
                raise
            raise response._explain_deadline() from error


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
