"""One attempt through a `requests` adapter: what `Send` means in the synchronous world.

Theory of operation. The body is put back to where it stood before the first attempt, the caller's timeout is cut
to what is left of the deadline, and the wrapped adapter sends. Where the caller did not ask for a stream the body
is read here, and not above the adapter as `requests.Session` would, so that a body that breaks off or drips
belongs to the attempt. The body of a redirect is left to the session, which forgives errors in it.

Exceptions become outcomes together with what they mean: may the server have seen the request, did somebody stop
waiting, can a repeat help.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import requests
from requests.models import REDIRECT_STATI
from urllib3.util import Timeout

from polvo_adapters.core.calls import Body, Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome, at_deadline
from polvo_adapters.drivers.exchange import Cancelled
from polvo_adapters.errors import DeadlineExceeded, ReplayError
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.requests import watched_pools
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.rerouting import drop_foreign_cookies, reroute
from polvo_adapters.shells.requests.response import Response, synthesize_response

_NO_BODY: tuple[Body, int | None] = ("none", None)
_AS_IT_IS = (bytes, str, bytearray, memoryview, list, tuple)


class RequestsExchange:
    """Sends one prepared request, each time it is asked to.

    Args:
        send: `send` of the adapter below.
        request: The prepared request.
        keywords: stream, timeout, verify, cert and proxies, as `Session.send` gives them.
        clock: Time.
    """

    __slots__ = (
        "_clock",
        "_error",
        "_keywords",
        "_open",
        "_position",
        "_request",
        "_response",
        "_send",
        "_sent",
        "body",
    )

    def __init__(
        self,
        send: Callable[..., requests.Response],
        request: requests.PreparedRequest,
        keywords: dict[str, Any],
        clock: Clock,
    ) -> None:
        self._send = send
        self._request = request
        self._keywords = keywords
        self._clock = clock
        self._sent = False
        self._response: requests.Response | None = None
        self._open = False
        self._error: BaseException | None = None
        body = request.body
        self.body, self._position = _NO_BODY if body is None else _body(body)

    def send(self, effect: Send) -> Outcome:
        """Make one attempt and return what came of it."""
        call, clock = effect.call, self._clock
        started, deadline = clock.now(), call.deadline
        try:
            if self._sent:
                self._again()
            self._sent = True
            request, keywords = self._request, self._keywords
            if call.anonymous or (call.url is not request.url and call.url != request.url):
                request, keywords = self._elsewhere(call)
            if deadline is None:
                response = self._send(request, **keywords)
            else:
                response = self._send_until(request, keywords, deadline, deadline - started)
            self._response = response
            if request is not self._request:
                drop_foreign_cookies(response, self._request)
            whole = self._take(response, started, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told and the caller gets it
            self.close()
            self._error = error
            now = clock.now()
            failure = at_deadline(classify(error), now, deadline)
            return Outcome(error=error, failure=failure, started=started, now=now, wall=clock.wall())
        self._open = not whole
        body = response.content if whole else None
        now, wall = clock.now(), clock.wall()
        return Outcome(response, response.status_code, response.headers, None, None, started, now, wall, "", body)

    def _take(self, response: requests.Response, started: float, deadline: float | None) -> bool:
        """Read the body, if that is to be done here, and return whether it is."""
        if type(response) is requests.Response:  # a class that somebody else chose stays
            response.__class__ = Response
        # The status comes first: to look for a header that is not there costs an exception inside.
        redirects = response.status_code in REDIRECT_STATI and response.is_redirect
        whole = not redirects and not self._keywords["stream"]
        if isinstance(response, Response):
            response._keep(timedelta(0, self._clock.now() - started), deadline, self._clock)
            if whole:
                response._read_body()
        elif whole:
            response.content  # noqa: B018 - reads the body, which the response then keeps
        return whole

    def discard(self) -> None:
        """Forget the last attempt: its response is closed, its error keeps nothing alive."""
        error = self._error
        self.close()
        # urllib3 makes exceptions whose tracebacks refer back to them and to the pool; without this the pool, and
        # the connections in it, would live on until the next garbage collection.
        for _ in range(8):
            if error is None:
                break
            error.__traceback__ = None
            error = error.__context__

    def close(self) -> None:
        """Close the response of the last attempt, so that its connection is free or gone."""
        response, self._response, self._error = self._response, None, None
        if response is not None:
            response.close()

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self._response
        if response is None or not self._open or getattr(response.raw, "closed", False):
            return False
        if isinstance(response, Response):
            response._when_closed(action)
        else:  # it is run when nobody has the response any more
            kept = response.__dict__.setdefault("_closing", BodyCloseActions())
            kept.add(action)
        return True

    def fork(self) -> RacingExchange:
        """Return one that sends the same request on another thread."""
        self._sent = True  # so that whoever sends next, this one or a fork, rewinds the body
        return RacingExchange(
            self._send, self._request.copy(), self._keywords, self._clock, (self.body, self._position)
        )

    def owns(self, outcome: Outcome) -> bool:
        """Tell whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self._response

    def adopt(self, fork: RequestsExchange) -> None:
        """Take over the response that a fork received last."""
        self._response, self._open, fork._response = fork._response, fork._open, None

    def cancel(self) -> None:
        """Close what there is: this one sends on the thread that calls it."""
        self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002 - nobody does
        """Tell that nobody cancels this one while it waits."""
        return False

    def made(self, outcome: Outcome) -> requests.Response:
        """Return a response that no server has sent, for an outcome that has none."""
        self.close()
        return synthesize_response(outcome, self._request)

    def _again(self) -> None:
        self.discard()
        if self._position is None:
            return
        try:
            self._request.body.seek(self._position)  # type: ignore[union-attr]
        except (OSError, ValueError) as error:
            message = "the body could not be rewound, so that the request was not sent again"
            raise ReplayError(message, request=self._request) from error

    def _elsewhere(self, call: Call) -> tuple[requests.PreparedRequest, dict[str, Any]]:
        """Return the request as it may go where the call says, and the keywords."""
        keywords = {**self._keywords, "cert": None} if call.anonymous else self._keywords
        return reroute(self._request, call), keywords

    def _send_until(
        self, request: requests.PreparedRequest, keywords: dict[str, Any], deadline: float, left: float
    ) -> requests.Response:
        if left <= 0:
            raise DeadlineExceeded("the deadline is over before the attempt began", request=request)
        with watched_pools.DeadlineScope(deadline, self._clock):
            return self._send(request, **{**keywords, "timeout": _cut(keywords["timeout"], left)})


class RacingExchange(RequestsExchange):
    """An exchange that takes part in a race, and can be cancelled from another thread.

    While it sends, its response belongs to the thread that sends: two threads in one response would give its
    connection back twice, and then two requests would share it. Who cancels shuts the socket, and the thread that
    sends closes the response. At all other times whoever comes first closes it.

    Args:
        send: As for Exchange.
        request: As for Exchange.
        keywords: As for Exchange.
        clock: As for Exchange.
        body: Whether the body can be sent again, and from where.
    """

    __slots__ = ("_cancelled", "_lock", "_sending", "_sockets", "_wake")

    def __init__(
        self,
        send: Callable[..., requests.Response],
        request: requests.PreparedRequest,
        keywords: dict[str, Any],
        clock: Clock,
        body: tuple[Body, int | None],
    ) -> None:
        super().__init__(send, request, keywords, clock)
        self.body, self._position = body
        self._sent = True
        self._cancelled = False
        self._lock = threading.Lock()
        self._sending = False
        self._sockets = watched_pools.Sockets()
        self._wake: Callable[[], object] | None = None

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, unless the race is over."""
        with self._lock:
            self._sending = True
        try:
            self._check()
            with watched_pools.SocketTracker(self._sockets):
                outcome = super().send(effect)
        finally:
            self._sockets.clear()
            with self._lock:
                self._sending = False
        try:
            self._check()
            return outcome
        finally:
            del outcome  # or the error in it, its traceback and this frame would keep each other alive

    def discard(self) -> None:
        """Forget the last attempt, and go no further where the race is over."""
        super().discard()
        self._check()

    def close(self) -> None:
        """Close the response of the last attempt, once, whoever does it."""
        with self._lock:
            response, self._response, self._error = self._response, None, None
        if response is not None:
            response.close()

    def adopt(self, fork: RequestsExchange) -> None:
        """Take over the response that a fork received last, unless the race is over."""
        with self._lock:
            super().adopt(fork)
        self._check()

    def cancel(self) -> None:
        """End what is under way, and close what there is."""
        with self._lock:
            self._cancelled = True
            sending, wake = self._sending, self._wake
        if wake is not None:
            wake()
        if sending:
            self._sockets.shut()
        else:
            self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Have `wake` run when it is cancelled, and go no further where it is already."""
        with self._lock:
            self._wake = wake
        self._check()
        return True

    def _check(self) -> None:
        if self._cancelled:
            self.close()
            raise Cancelled


def _body(body: Any) -> tuple[Body, int | None]:
    """Tell whether a body can be sent again, and from where."""
    if isinstance(body, _AS_IT_IS):
        return "replayable", None
    try:
        if not getattr(body, "seekable", lambda: hasattr(body, "seek"))():
            return "once", None
        return "rewindable", body.tell()
    except (AttributeError, OSError, ValueError):
        return "once", None


def _cut(timeout: Any, left: float) -> Any:
    """Shorten a timeout, in any form that `requests` takes, to the time left; leave to it what it would refuse."""
    if timeout is None:
        return left
    if isinstance(timeout, (int, float)):
        return min(timeout, left)
    if isinstance(timeout, tuple) and len(timeout) == 2:
        return tuple(_cut(part, left) for part in timeout)
    if isinstance(timeout, Timeout):
        total = min(timeout.total, left) if isinstance(timeout.total, (int, float)) else left
        return Timeout(total=total, connect=timeout._connect, read=timeout._read)
    return timeout
