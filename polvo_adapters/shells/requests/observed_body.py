"""A response of urllib3 that tells when its body is over, however it is read.

Theory of operation. Code that streams may read `response.raw` instead of `iter_content`: `shutil.copyfileobj`, pandas,
`raw.read1`, a loop over `raw`, `raw.drain_conn()`. Every way ends in `release_conn` or `close`, or in a read that
returns nothing. `observe` gives the very object a subclass of its class that looks at these, as other code may hold it.

Of a body that ends within its content encoding, reading raises what urllib3 raises for any other body that is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, ProtocolError

from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells import encodings
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.extended_class import extend


def observe(raw: Any, closing: BodyCloseActions) -> None:
    """Run the actions when the body of a response is over; of an object that is none of urllib3, nothing is known.

    Args:
        raw: The `raw` of a response of `requests`.
        closing: The actions.
    """
    if not isinstance(raw, HTTPResponse):
        return
    try:
        raw.__class__ = _observed_class(type(raw))
    except TypeError:  # a class with slots
        return
    raw._closing = closing  # type: ignore[attr-defined]


def limit(raw: Any, deadline: float, clock: Clock, host: str) -> None:
    """Let reading a body after a deadline raise DeadlineExceeded, in place of what urllib3 makes of the time-out.

    Args:
        raw: The `raw` of a response of `requests`; of an object that is none of urllib3, nothing is known.
        deadline: The deadline, on the clock.
        clock: Time.
        host: Host of the call, for the message.
    """
    if not isinstance(raw, HTTPResponse):
        return
    try:
        raw.__class__ = _limited_class(type(raw))
    except TypeError:  # a class with slots
        return
    raw._deadline = (deadline, clock, host)  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
def _limited_class(kind: type) -> type:
    return kind if issubclass(kind, _LimitedBody) else extend(kind, _LimitedBody)


class _LimitedBody:
    """Mixin of the classes of responses that have a deadline."""

    _deadline: tuple[float, Clock, str]

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        try:
            with super()._error_catcher():  # type: ignore[misc]  # which makes errors of urllib3 of all others
                yield
        except HTTPError as error:
            deadline, clock, host = self._deadline
            if clock.now() < deadline:
                raise
            message = "the deadline is over and the body is not complete; allow a longer deadline, or ask for less"
            raise DeadlineExceeded(message, host=host) from error


def is_cut_off(raw: Any) -> bool:
    """Return whether the body of a response, which has been read to its end, ends within its content encoding."""
    decoder = getattr(raw, "_decoder", None)
    if decoder is None or not isinstance(raw, HTTPResponse) or raw.status == 206:  # of which a part was asked for
        return False
    is_begun = getattr(raw, "_has_decoded_content", None)
    if is_begun is None:  # urllib3 1.26, where only zlib says whether it has got a byte of a chunked body
        is_begun = raw.tell() > 0 or hasattr(getattr(decoder, "_obj", None), "unconsumed_tail")
    return bool(is_begun) and encodings.is_cut_off(decoder)


@lru_cache(maxsize=64)
def _observed_class(kind: type) -> type:
    if issubclass(kind, _ObservedBody):
        return kind
    mixin = _ObservedBodyWithRead1 if hasattr(kind, "read1") else _ObservedBody  # urllib3 has it since 2.1
    return extend(kind, mixin)  # type: ignore[no-any-return]


class _ObservedBody:
    """Mixin of the classes of such responses."""

    _closing: BodyCloseActions
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
        if is_cut_off(self):
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
