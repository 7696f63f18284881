"""A response of urllib3 that tells when its body is over, however it is read.

Theory of operation. Code that streams may read `response.raw` instead of `iter_content`: `shutil.copyfileobj`, pandas,
`raw.read1`, a loop over `raw`, `raw.drain_conn()`. Every way ends in `release_conn` or `close`, or in a read that
returns nothing. `observe` gives the very object a subclass of its class that looks at these, as other code may hold it.

All that a response knows beyond `requests` is in its body, so that its own class can be `requests.Response`: that a
body has a deadline (`limit`), and that one which ends within its content encoding is cut off (`check_end`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import requests
from urllib3 import HTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError

from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.policies.outcomes import describe_late_body
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells import encodings
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.error_notes import explain_error
from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.message_parts import describe_place


def observe(raw: Any) -> BodyCloseActions | None:
    """Return the actions that are run when the body of a response is over.

    Args:
        raw: The `raw` of a response of `requests`.

    Returns:
        The actions, or None of an object that is none of urllib3, and tells nothing.
    """
    kind: Any = type(raw)
    mixin = _ObservedBodyWithRead1 if hasattr(kind, "read1") else _ObservedBody  # urllib3 has it since 2.1
    if not isinstance(raw, HTTPResponse) or not give_mixin(raw, mixin):
        return None
    found: BodyCloseActions | None = raw.__dict__.get("_closing")
    if found is None:
        found = raw._closing = BodyCloseActions()  # type: ignore[attr-defined]
    return found


def limit(response: requests.Response, deadline: float, clock: Clock, host: str) -> bool:
    """Let reading a body after a deadline raise DeadlineExceeded, in place of what urllib3 makes of the time-out.

    Args:
        response: The response.
        deadline: The deadline, on the clock.
        clock: Time.
        host: Host of the call, for the message.

    Returns:
        Whether the `raw` of the response is of urllib3; of any other object nothing is known.
    """
    raw: Any = response.raw
    if not isinstance(raw, HTTPResponse) or not give_mixin(raw, _LimitedBody):
        return False
    # Weak, as the response holds the body: a circle would keep a dropped response, and its connection, alive.
    raw._deadline = (deadline, clock, host, weakref.ref(response))  # type: ignore[attr-defined]
    return True


def check_end(raw: Any) -> bool:
    """Let the iteration over a body raise where it ends within its content encoding, as for any that is cut off.

    Args:
        raw: The `raw` of a response of `requests`.

    Returns:
        Whether it is of urllib3; of any other object nothing is known.
    """
    return isinstance(raw, HTTPResponse) and give_mixin(raw, _CheckedBody)


def explain_break(response: requests.Response, report: Report) -> None:
    """Let the error with which a body breaks off have a note of place, cause and advice.

    `requests` makes another exception of it, whose traceback shows this one with its note.

    Args:
        response: A response whose body is not read yet.
        report: The report of the call.
    """
    raw: Any = response.raw
    if isinstance(raw, HTTPResponse) and give_mixin(raw, _ExplainedBreak):
        raw._told = response.request, report  # type: ignore[attr-defined]


def make_deadline_error(response: requests.Response | None, host: str) -> DeadlineExceeded:
    """Return the error for a body that is not complete at the deadline.

    Args:
        response: The response; None where only its body is still held.
        host: Host of the call, where there is no report yet.
    """
    received = getattr(None if response is None else response.raw, "_fp_bytes_read", 0)
    message = describe_late_body(received)
    if response is None:
        return DeadlineExceeded(message, host=host)
    report = response.__dict__.get("polvo")
    if report is not None:
        host, message = report.host, f"{describe_place(response.request)}: {message}"
    return DeadlineExceeded(message, request=response.request, response=response, host=host)


def give_mixin(raw: Any, mixin: type) -> bool:
    """Give a body a class with a mixin in front of its own, and return whether it has it."""
    kind: Any = type(raw)
    try:
        raw.__class__ = _with_mixin(kind, mixin)
    except TypeError:  # a class with slots
        return False
    return True


@lru_cache(maxsize=256)
def _with_mixin(kind: Any, mixin: Any) -> Any:
    return kind if issubclass(kind, mixin) else extend(kind, mixin)


class _LimitedBody:
    """Mixin of the classes of responses that have a deadline."""

    _deadline: tuple[float, Clock, str, weakref.ref[requests.Response]]

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        try:
            with super()._error_catcher():  # type: ignore[misc]  # which makes errors of urllib3 of all others
                yield
        except HTTPError as error:
            deadline, clock, host, response = self._deadline
            if clock.now() < deadline:
                raise
            raise make_deadline_error(response(), host) from error


class _ExplainedBreak:
    """Mixin of the classes of responses that are streamed."""

    _told: tuple[Any, Report]

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        try:
            with super()._error_catcher():  # type: ignore[misc]  # which makes errors of urllib3 of all others
                yield
        except HTTPError as error:
            explain_error(error, *self._told, reading=True)
            raise


class _CheckedBody:
    """Mixin of the classes of responses that have a content encoding."""

    _is_closed_early = False

    def stream(self, *args: Any, **keywords: Any) -> Iterator[bytes]:
        try:
            yield from super().stream(*args, **keywords)  # type: ignore[misc]
        except DecodeError as error:
            # The decoder of zstd raises an error of its own at such an end.
            if "incomplete" in str(error) and is_cut_off(self):
                raise ProtocolError(encodings.TEXT) from error
            raise
        if not self._is_closed_early and is_cut_off(self):
            raise ProtocolError(encodings.TEXT)

    def close(self) -> None:
        self._is_closed_early = True
        super().close()  # type: ignore[misc]


def is_cut_off(raw: Any) -> bool:
    """Return whether the body of a response, which has been read to its end, ends within its content encoding."""
    decoder = getattr(raw, "_decoder", None)
    if decoder is None or not isinstance(raw, HTTPResponse) or raw.status == 206:  # of which a part was asked for
        return False
    is_begun = getattr(raw, "_has_decoded_content", None)
    if is_begun is None:  # urllib3 1.26, where only zlib says whether it has got a byte of a chunked body
        is_begun = raw.tell() > 0 or hasattr(getattr(decoder, "_obj", None), "unconsumed_tail")
    return bool(is_begun) and encodings.is_cut_off(decoder)


class _ObservedBody:
    """Mixin of the classes of such responses."""

    _closing: BodyCloseActions
    _is_closed_early = False
    _is_read = 0
    """How many reads are in progress: only their end tells how the body has ended."""
    _is_released = False

    def read(self, amt: int | None = None, *args: Any, **keywords: Any) -> Any:
        with self._watch():
            data = super().read(amt, *args, **keywords)  # type: ignore[misc]
            if amt is None or amt < 0 or (amt and not data):
                self._end()
        return data

    def stream(self, *args: Any, **keywords: Any) -> Iterator[bytes]:
        return self._watch_pieces(super().stream(*args, **keywords))  # type: ignore[misc]

    def read_chunked(self, *args: Any, **keywords: Any) -> Iterator[bytes]:
        return self._watch_pieces(super().read_chunked(*args, **keywords))  # type: ignore[misc]

    def release_conn(self) -> None:
        super().release_conn()  # type: ignore[misc]
        self._note_release()

    def close(self) -> None:
        self._is_closed_early = not self._is_released
        super().close()  # type: ignore[misc]
        self._note_release()

    def __del__(self) -> None:
        self._closing.run(finalizing=True)
        super().__del__()  # type: ignore[misc]  # which closes it

    def _watch_pieces(self, pieces: Any) -> Iterator[bytes]:
        try:
            while True:
                with self._watch():
                    piece = next(pieces, None)
                    if piece is None:
                        self._end()
                if piece is None:
                    return
                yield piece
        finally:
            pieces.close()

    @contextmanager
    def _watch(self) -> Iterator[None]:
        self._is_read += 1
        try:
            yield
        except Exception:
            self._closing.run(broken=True)
            raise
        finally:
            self._is_read -= 1
        if self._is_released and not self._is_read:
            self._closing.run()

    def _end(self) -> None:
        """Note that nothing is left to be read."""
        if not self._is_closed_early and is_cut_off(self):
            raise ProtocolError(encodings.TEXT)
        self._is_released = True

    def _note_release(self) -> None:
        self._is_released = True
        if not self._is_read:
            self._closing.run()


class _ObservedBodyWithRead1(_ObservedBody):
    def read1(self, amt: int | None = None, *args: Any, **keywords: Any) -> Any:
        with self._watch():
            data = super().read1(amt, *args, **keywords)  # type: ignore[misc]
            if amt != 0 and not data:
                self._end()
        return data
