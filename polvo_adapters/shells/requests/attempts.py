"""The attempts through a `requests` adapter, one by one: what `Send` means in the synchronous world.

Theory of operation. The request is prepared again where it was sent before (see
`polvo_adapters.shells.requests.repeatable_request`), the caller's timeout is shortened to the rest of the deadline, and
the wrapped adapter sends. The credential of an auth object of this package is renewed first, before a repeat and after
a wait in a queue, as it may have expired. Where the caller did not ask for a stream, the response body is read here and
not above the adapter as `requests.Session` does, so that a body that breaks off or drips belongs to the attempt. The
body of a redirect is left to the session, which forgives errors in it. So is every body where response hooks are not
all ours: they expect an unread response, with its connection below it; see `polvo_adapters.shells.requests.hooks`.

An exception becomes an Outcome together with its meaning; see `polvo_adapters.shells.requests.failures`. Whether the
request was sent is read off the trace of the transmission, never off the exception.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.models import REDIRECT_STATI
from urllib3.util import Retry
from urllib3.util.retry import RequestHistory

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import INTERRUPTED, Advice, Ending, Outcome, at_deadline
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import ReplayError
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.late_credentials import LONG_WAIT, NO_CREDENTIAL
from polvo_adapters.shells.requests.failures import explain, holds
from polvo_adapters.shells.requests.hooks import (
    SessionHooks,
    find_session_hooks,
    has_foreign_hook,
    renew_credentials,
)
from polvo_adapters.shells.requests.repeatable_request import RepeatableRequest
from polvo_adapters.shells.requests.rerouting import judge_proxies
from polvo_adapters.shells.requests.response import note_attempt, read_body
from polvo_adapters.shells.requests.set_aside_responses import set_aside
from polvo_adapters.shells.requests.timeouts import shorten_in, shorten_timeout
from polvo_adapters.shells.requests.wire.named_timeout import UNLIMITED
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.recording_retry import prepare_retry, record_history, show_history
from polvo_adapters.shells.requests.wire.route import Route, is_unsent, report_overrun
from polvo_adapters.shells.requests.wire.sockets import Sockets
from polvo_adapters.shells.requests.wire.transmission import Transmission, authenticates_connection

STREAMED = ("once", "rewindable")
"""Which bodies of requests are read while they are sent."""

_NO_REPEAT = (ReplayError, *NO_CREDENTIAL)


class RequestAttempts:
    """The attempts at one prepared request.

    Args:
        route: The way of attempts through the adapter below; see `polvo_adapters.shells.requests.wire.route`.
        adapter: That adapter.
        request: The prepared request.
        keywords: stream, timeout, verify, cert and proxies, as `Session.send` gives them.
        clock: Time.
        sockets: Where the sockets of attempts are noted, where another thread may end them; otherwise None.
        owner: The caller, where several share the connections.
        retries: What the adapter below has in the place of its own `max_retries`: the caller's `Retry`, which is asked
            after each attempt, or one that is passed on as it is. None for its own.

    Attributes:
        request: The request, as attempts send it.
        above: The adapter that hooks may send through, so that their requests pass the policies as well.
        fallback: The timeout where the adapter below, which may have its own, leaves it at none; UNLIMITED where the
            caller wants none; otherwise None.
        defers: Whether that adapter may be handed a timeout of None in spite of a deadline, which is kept below it.
        brought_by: The call of the attempt that has brought the last response, or None.
        spared_deadline: The deadline that does not bind a body which is streamed to the caller, or None.
    """

    __slots__ = (
        "_adapter",
        "_clock",
        "_error",
        "_history",
        "_is_for_hooks",
        "_keywords",
        "_open",
        "_owner",
        "_response",
        "_retries",
        "_route",
        "_sockets",
        "above",
        "brought_by",
        "defers",
        "fallback",
        "request",
        "spared_deadline",
    )

    def __init__(
        self,
        route: Route,
        adapter: BaseAdapter,
        request: RepeatableRequest,
        keywords: dict[str, Any],
        clock: Clock,
        sockets: Sockets | None = None,
        owner: ConnectionOwner | None = None,
        retries: Retry | None = None,
    ) -> None:
        self._route = route
        self._adapter = adapter
        self.request = request
        self._keywords = keywords
        self._clock = clock
        self._owner = owner
        self._sockets = sockets
        self._retries = retries
        self._history: tuple[RequestHistory, ...] = ()
        self.above: BaseAdapter = adapter
        self.brought_by: Call | None = None
        self.fallback: Any = None
        self.spared_deadline: float | None = None
        self.defers = False
        self._response: requests.Response | None = None
        self._open = self._is_for_hooks = False
        self._error: BaseException | None = None

    def expect_own_send(self, fallback: Any, defers: bool) -> None:
        """Prepare for an adapter below that may have a timeout of its own, or change the request.

        Args:
            fallback: See the attributes.
            defers: The same.
        """
        self.fallback, self.defers = fallback, defers
        if defers:
            self.request.remember_untouched()

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        # In one function: what it called would cost every attempt a call, and its tracebacks a frame.
        call, clock = effect.call, self._clock
        started, deadline = clock.now(), call.deadline
        # Those who share connections know nothing of each other's, and have no reason to bear their age.
        body = call.body
        once = self._owner is not None or body == "once" or call.unsafe
        once = once or (call.method not in IDEMPOTENT_METHODS and not call.idempotent)
        streamed = body in STREAMED
        retries = prepare_retry(self._retries)
        transmission = Transmission(clock, started, deadline, self._sockets, once, self._owner, streamed, retries)
        transmission.fallback = self.fallback if deadline is None else self._limit_fallback(deadline - started)
        send: Any = None
        advice: Advice | None = None
        repeatable, keywords = self.request, self._keywords
        request = repeatable.prepared
        try:
            if repeatable.is_sent or started - call.started >= LONG_WAIT:
                self._prepare_late_attempt(started, deadline)
            repeatable.is_sent, self._is_for_hooks = True, False
            if call.anonymous or (call.url is not request.url and call.url != request.url):
                request, keywords = self._reroute(call, started)
            if deadline is not None:
                keywords = shorten_in(keywords, deadline - started, request, defers=self.defers)
            names = getattr(request.headers, "_store", request.headers)  # a look for one not there costs an exception
            if "authorization" in names or "proxy-authorization" in names:
                transmission.bind_if(authenticates_connection(request.headers))
            del names  # which tracebacks with local variables would print
            send = self._route.bind(self._adapter, transmission)
            self._response = response = send(request, **keywords)
            self.brought_by = call
            transmission.over = True
            if deadline is not None:
                report_overrun(transmission, send)
            if request is not repeatable.original:
                repeatable.give_back(response, request, call)
            content = self._read_if_due(response, transmission, started)
            response = self._response
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            return self._fail(error, transmission, send, started, request)
        if retries is not self._retries:
            advice = self._advise(retries, response)
        elif self._history:
            show_history(response, self._history)
        now, wall = clock.now(), clock.wall()
        marks = transmission.end(now)
        return new_tuple(
            Outcome,
            (
                response,
                response.status_code or 0,
                response.headers,
                None,  # error
                None,  # failure
                started,
                now,
                wall,
                "",  # note
                content,
                False,  # unsent
                marks,
                None,  # ending
                advice,
                (),  # quotas
                [],  # judged
            ),
        )

    def _reroute(self, call: Call, now: float) -> tuple[requests.PreparedRequest, dict[str, Any]]:
        """Return the request for the URL of the call, and the keywords that it is sent with."""
        request = self.request.reroute(call, now)
        session = getattr(self.above, "_session", None)
        keywords = judge_proxies(self._keywords, request, self.request.original, None if session is None else session())
        return request, {**keywords, "cert": None} if call.anonymous else keywords

    def _prepare_late_attempt(self, now: float, deadline: float | None) -> None:
        """Prepare the request for an attempt that comes some time after the auth objects were asked."""
        if self.request.is_sent:
            self.discard()
            self.request.prepare_again()
        renew_credentials(self.request.prepared, now, deadline)

    def _limit_fallback(self, left: float) -> Any:
        """Return the timeout for the pool below an adapter that may have its own, shortened to the time left."""
        is_limited = self.defers and self.fallback is not UNLIMITED
        return shorten_timeout(self.fallback, left) if is_limited else self.fallback

    def _fail(
        self,
        error: Exception,
        transmission: Transmission,
        send: Any,
        started: float,
        request: requests.PreparedRequest,
    ) -> Outcome:
        """Return the outcome of an attempt that raised."""
        transmission.over = True
        if request is not self.request.original and getattr(error, "request", None) is request:
            error.request = self.request.original  # type: ignore[attr-defined]
        if send is not None:
            report_overrun(transmission, send)
        answered = self._response is not None
        self.close()
        retries: Any = transmission.retries
        if answered and retries is not self._retries:
            retries.ask_about(error, self.request.prepared)
        unsent = not answered and (send is None or is_unsent(transmission, send, error))
        now, wall = self._clock.now(), self._clock.wall()
        try:
            if transmission.callers_error is not None and holds(error, transmission.callers_error):
                failure, error = INTERRUPTED, transmission.callers_error  # type: ignore[assignment]
            else:
                failure = at_deadline(explain(error, transmission, unsent=unsent), now, transmission.deadline)
            self._error = error
            marks = transmission.end(now)
            ending = Ending("retry", str(error)) if isinstance(error, _NO_REPEAT) else None
            return Outcome(
                error=error,
                failure=failure,
                started=started,
                now=now,
                wall=wall,
                unsent=unsent,
                marks=marks,
                ending=ending,
                advice=None if retries is self._retries else self._advise(retries),
            )
        finally:
            transmission.error = transmission.callers_error = None
            del error  # see errors.py, "Errors and frames"

    def _advise(self, retries: Any, response: requests.Response | None = None) -> Advice | None:
        """Return what the caller's `Retry` says after an attempt, and show on the response what has become of it."""
        if response is not None and getattr(response.raw, "retries", None) is retries:
            response.raw.retries = retries.asked  # type: ignore[union-attr]
        if retries.following is not None:
            self._retries = retries.following
        return retries.advise()  # type: ignore[no-any-return]

    def _read_if_due(self, response: requests.Response, transmission: Transmission, started: float) -> bytes | None:
        """Read and return the body, unless the caller or the session reads it."""
        self._open = True
        # The status comes first: to look for a header that is not there costs an exception inside.
        redirects = response.status_code in REDIRECT_STATI and response.is_redirect
        if transmission.deadline is not None and transmission.deadline == self.spared_deadline and not redirects:
            transmission.deadline = None  # which what reads the body looks at
        note_attempt(response, timedelta(0, self._clock.now() - started), transmission.deadline, self._clock)
        if redirects or self._keywords["stream"]:
            return None
        request: Any = self.request.prepared
        if request.hooks and request.hooks.get("response") and has_foreign_hook(request):
            hooks = find_session_hooks(request) if response.status_code < 400 else None
            if hooks is None:
                self._is_for_hooks = True
                return None
            response = self._run_hooks(hooks, response, transmission)
        body = read_body(response)
        self._open = False
        return body

    def _run_hooks(
        self, hooks: SessionHooks, response: requests.Response, transmission: Transmission
    ) -> requests.Response:
        """Return what the hooks put in the place of an unread response; what they raise is the caller's."""
        response.connection = self.above  # type: ignore[assignment]  # as for hooks that the session runs
        try:
            self._response = response = hooks(response, **self._keywords)
        except Exception as error:
            transmission.callers_error = error
            raise
        return response

    def discard(self) -> None:
        """Take the response of the last attempt from its connection, and cut the references of its error.

        Its body stays readable if it is small: where the next attempt is not made, the caller gets this response.
        """
        error, is_open = self._error, self._open
        response = self._take_response()
        if response is not None or error is not None:
            self._history += (record_history(self.request.prepared, response, error),)
        if response is not None and not (is_open and set_aside(response)):
            response.close()
        # urllib3 makes exceptions whose tracebacks refer back to them and to the pool; without this the pool, and
        # the connections in it, would live on until the next garbage collection.
        for _ in range(8):
            if error is None:
                break
            error.__traceback__ = None
            error = error.__context__

    def close(self) -> None:
        """Close the response of the last attempt, which releases its connection."""
        response = self._take_response()
        if response is not None:
            response.close()

    def _take_response(self) -> requests.Response | None:
        response, self._response, self._error = self._response, None, None
        return response
