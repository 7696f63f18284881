"""The body of a response of httpx that tells when it is over, and that may have a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx

from polvo_adapters.core.outcomes import EXPIRED, at_deadline
from polvo_adapters.errors import DeadlineExceeded, PolvoError
from polvo_adapters.policies.outcomes import describe_late_body
from polvo_adapters.runtime.clock import TimeSource
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.encodings import TEXT, EncodingCheck
from polvo_adapters.shells.error_notes import explain_error, find_note
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.failures import explain

_END: Any = object()


class ObservedStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that runs actions when it is closed, breaks off, or is freed, and that may have a deadline."""

    _told: dict[str, Any] | None = None  # the extensions of the response, which will have the report of the call

    def __init__(self, stream: Any, encoding: str | None, request: httpx.Request) -> None:
        self._stream = stream
        self._request = request
        self._check = EncodingCheck(encoding)
        self._deadline: tuple[float, TimeSource, str] | None = None
        self.on_body_closed = BodyCloseActions()
        self.received = 0

    def limit(self, deadline: float, clock: TimeSource, host: str) -> None:
        """Let reading after a deadline raise DeadlineExceeded, unless there is an earlier one.

        Args:
            deadline: The deadline, on the clock.
            clock: Time.
            host: Host of the call, for the message.
        """
        if self._deadline is None or deadline < self._deadline[0]:
            self._deadline = (deadline, clock, host)

    def __iter__(self) -> Iterator[bytes]:
        with self._watch():
            for chunk in self._list_chunks():
                self.received += len(chunk)
                self._require_time()
                self._check.feed(chunk)
                yield chunk
            require_whole(self._check)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watch():
            async for chunk in self._list_chunks_async():
                self.received += len(chunk)
                self._check.feed(chunk)
                yield chunk
            require_whole(self._check)

    def _list_chunks(self) -> Iterable[bytes]:
        """Return what the body consists of."""
        stream: Iterable[bytes] = self._stream
        return stream

    def _list_chunks_async(self) -> AsyncIterable[bytes]:
        """Return the same for a task, which waits for each no longer than to the deadline."""
        return self._stream if self._deadline is None else self._iterate_within(*self._deadline)

    async def _iterate_within(self, deadline: float, clock: TimeSource, host: str) -> AsyncIterator[bytes]:
        """Yield the parts of the body, and wait for each no longer than to the deadline."""
        parts = aiter(self._stream)
        while True:
            part: Any = None
            with anyio.move_on_after(deadline - clock.now()):
                part = await anext(parts, _END)
            if part is _END:
                return
            if part is None:
                raise self._late(host)
            self._require_time()
            yield part

    def _require_time(self) -> None:
        """Raise DeadlineExceeded after the deadline, for streams that know none."""
        if self._deadline is None:
            return
        deadline, clock, host = self._deadline
        if clock.now() >= deadline:
            raise self._late(host)

    def _late(self, host: str) -> DeadlineExceeded:
        return httpx_error(DeadlineExceeded(describe_late_body(self.received), host=host), self._request)

    @contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # not a cancellation, which says nothing about the server
            self.on_body_closed.run(broken=True)
            if not isinstance(error, PolvoError) and isinstance(error, httpx.HTTPError) and not find_note(error):
                report = None if self._told is None else self._told.get("polvo")
                explain_error(error, self._request, report, reading=True)
            if self._deadline is None or isinstance(error, DeadlineExceeded):
                raise
            deadline, clock, host = self._deadline
            failure = explain(error, None, reading=True, unsent=False)
            if at_deadline(failure, clock.now(), deadline) is not EXPIRED:
                raise
            raise self._late(host) from error

    def close(self) -> None:
        """Close the body, which is over then."""
        try:
            self._stream.close()
        finally:
            self.on_body_closed.run()

    async def aclose(self) -> None:
        """Close the body, which is over then, also where the task is cancelled meanwhile."""
        try:
            await self._stream.aclose()
        finally:
            self.on_body_closed.run()


def observe(response: httpx.Response) -> ObservedStream:
    """Return the stream of a response, which from now on tells when it is over."""
    stream = response.stream
    if not isinstance(stream, ObservedStream):
        encoding = find_whole_encoding(response.status_code, response.headers.get("content-encoding"))
        response.stream = stream = ObservedStream(stream, encoding, response.request)
        stream._told = response.extensions
    return stream


def find_whole_encoding(status: int, encoding: str | None) -> str | None:
    """Return the content encoding whose end the body of a response has to come to: not that of a part."""
    return None if status == 206 else encoding


def require_whole(check: EncodingCheck) -> None:
    """Raise what httpx raises for a body that is cut off, where a body ends within its content encoding."""
    if check.is_cut_off:
        raise httpx.RemoteProtocolError(TEXT)
