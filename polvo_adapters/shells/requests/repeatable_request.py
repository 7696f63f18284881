"""A prepared request that attempts send, and send again: its body from where it began, and signed anew.

Theory of operation. The first attempt sends the request as the caller has prepared it. Before each other one the body
is rewound to where it stood, what an adapter below has changed is undone, and a signature with a nonce is made anew.
What goes to another URL, or is sent by another thread, is a copy. The caller sees the request that it has prepared: a
response refers to it, and redirects and replays start from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from polvo_adapters.core.calls import Body, Call
from polvo_adapters.errors import ReplayError
from polvo_adapters.shells.request_marks import marks_of, read_marks
from polvo_adapters.shells.requests.hooks import renew_credentials
from polvo_adapters.shells.requests.rerouting import drop_foreign_cookies, reroute, translate_redirect
from polvo_adapters.shells.requests.signing import find_signer
from polvo_adapters.shells.single_use import is_single_use

_NO_BODY: tuple[Body, int | None] = ("none", None)
_REPLAYABLE = (bytes, str, bytearray, memoryview, list, tuple)


class RepeatableRequest:
    """The request of an exchange.

    Args:
        prepared: The request as the caller has prepared it.

    Attributes:
        prepared: The request that attempts send to the caller's URL.
        original: The caller's own, which `prepared` is a copy of in a race.
        body: Whether the request can be sent again, for its body and its signature.
        is_sent: Whether an attempt has been made.
    """

    __slots__ = ("_position", "_untouched", "body", "is_sent", "original", "prepared")

    def __init__(self, prepared: requests.PreparedRequest) -> None:
        self.prepared = self.original = prepared
        self.is_sent = False
        self._untouched: tuple[Any, ...] | None = None
        self.body, self._position = classify_body(prepared.body)
        names = getattr(prepared.headers, "_store", prepared.headers)  # a look for one not there costs an exception
        if "authorization" in names and is_single_use(prepared.headers["Authorization"]) and self._sign is None:
            self.body = "single-use"

    @property
    def _sign(self) -> Callable[[Any], None] | None:
        return read_marks(self.prepared).sign_again

    def find_signer(self, session: Callable[[], requests.Session | None] | None) -> None:
        """Let the `auth` of the session sign each attempt of a request that has a nonce, if that signed the first."""
        sign = None if session is None else find_signer(self.prepared, session())
        if sign is not None:
            marks_of(self.prepared).sign_again = sign
            self.body = classify_body(self.prepared.body)[0]

    def remember_untouched(self) -> None:
        """Remember the request as it is, because an adapter below may rewrite its URL, sign it or compress its body."""
        prepared = self.prepared
        self._untouched = (prepared.method, prepared.url, prepared.headers.copy(), prepared.body)

    def prepare_again(self) -> None:
        """Prepare the request for another attempt.

        Raises:
            ReplayError: The body could not be rewound.
        """
        prepared = self.prepared
        if self._untouched is not None:
            prepared.method, prepared.url, headers, prepared.body = self._untouched
            prepared.headers = headers.copy()
        if self._position is not None:
            try:
                prepared.body.seek(self._position)  # type: ignore[union-attr]
            except (OSError, ValueError) as error:
                message = "the body could not be rewound; pass bytes or a seekable file"
                raise ReplayError(message, request=prepared) from error
        if self._sign is not None:
            self._sign(prepared)

    def reroute(self, call: Call, now: float) -> requests.PreparedRequest:
        """Return the request for the URL of a call."""
        request = reroute(self.prepared, call)
        if not call.anonymous:
            if self._sign is not None:
                self._sign(request)  # a signature covers the URL
            renew_credentials(request, now, call.deadline)  # and so does the proof of a token
        return request

    def give_back(self, response: requests.Response, sent: requests.PreparedRequest, call: Call) -> None:
        """Let a response refer to the caller's own request.

        Args:
            response: The response.
            sent: The request that it answers.
            call: The call of the attempt.
        """
        response.request = self.original
        if sent is not self.prepared:
            drop_foreign_cookies(response, self.original)
            if not call.rerouted:
                translate_redirect(response, call.url, self.original)

    def fork(self) -> RepeatableRequest:
        """Return the same request, to be sent on another thread."""
        self.is_sent = True  # so that the next attempt rewinds the body and is signed anew, here or in a fork
        fork = object.__new__(RepeatableRequest)
        fork.prepared, fork.original, fork.body, fork.is_sent = self.prepared.copy(), self.original, self.body, True
        fork._untouched = self._untouched
        fork._follow(self)
        return fork

    def follow_up(self, prepared: requests.PreparedRequest) -> RepeatableRequest:
        """Return a request that is sent after this one, with the present credential."""
        later = RepeatableRequest(prepared)
        later.is_sent = True
        later._follow(self)
        return later

    def _follow(self, earlier: RepeatableRequest) -> None:
        self._position = earlier._position
        if earlier._sign is not None:
            marks_of(self.prepared).sign_again = earlier._sign


def classify_body(body: Any) -> tuple[Body, int | None]:
    """Return whether the body of a request can be sent again, and from which position it has to be read then.

    Args:
        body: The body as `requests` has prepared it, or None.
    """
    if body is None:
        return _NO_BODY
    if isinstance(body, _REPLAYABLE):
        return "replayable", None
    try:
        if not getattr(body, "seekable", lambda: hasattr(body, "seek"))():
            return "once", None
        return "rewindable", body.tell()
    except (AttributeError, OSError, TypeError, ValueError):
        return "once", None
