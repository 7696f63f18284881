"""One attempt through a `requests` adapter: what `Send` means in the synchronous world.

Theory of operation. The request body is rewound to where it stood before the first attempt, the caller's timeout is
shortened to the rest of the deadline, and the wrapped adapter sends. The credential of an auth object of this package
is renewed first, before a repeat and after a wait in a queue, as it may have expired. Where the caller did not ask for
a stream, the response body is read here and not above the adapter as `requests.Session` does, so that a body that
breaks off or drips belongs to the attempt. The body of a redirect is left to the session, which forgives errors in it.
So is every body where response hooks are not all ours: they expect an unread response, with its connection below it;
see `polvo_adapters.shells.requests.hooks`.

An exception becomes an Outcome together with its meaning; see `polvo_adapters.shells.requests.failures`. Whether the
request was sent is read off the trace of the transmission, never off the exception.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import requests
from requests.adapters import BaseAdapter
from requests.models import REDIRECT_STATI
from urllib3.util import Retry
from urllib3.util.retry import RequestHistory

from polvo_adapters.context.call import LogicalCall
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.effects import Send
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import INTERRUPTED, Advice, Ending, Outcome, at_deadline
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import ReplayError
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.cancellation import CancellableExchange
from polvo_adapters.shells.late_credentials import LONG_WAIT, NO_CREDENTIAL
from polvo_adapters.shells.request_marks import marks_of, read_marks
from polvo_adapters.shells.requests.body_replay import classify_body
from polvo_adapters.shells.requests.failures import explain, holds
from polvo_adapters.shells.requests.hooks import (
    SessionHooks,
    find_session_hooks,
    has_foreign_hook,
    renew_credentials,
)
from polvo_adapters.shells.requests.rerouting import drop_foreign_cookies, judge_proxies, reroute, translate_redirect
from polvo_adapters.shells.requests.response import note_attempt, on_body_closed, read_body, synthesize_response
from polvo_adapters.shells.requests.set_aside_responses import set_aside
from polvo_adapters.shells.requests.signing import find_signer
from polvo_adapters.shells.requests.timeouts import shorten_in, shorten_timeout
from polvo_adapters.shells.requests.wire.named_timeout import UNLIMITED
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.recording_retry import prepare_retry, record_history, show_history
from polvo_adapters.shells.requests.wire.route import Route, is_unsent, report_overrun
from polvo_adapters.shells.requests.wire.sockets import Sockets
from polvo_adapters.shells.requests.wire.transmission import Transmission, authenticates_connection
from polvo_adapters.shells.single_use import is_single_use

AnyExchange = TypeVar("AnyExchange", bound="RequestsExchange")

_NO_REPEAT = (ReplayError, *NO_CREDENTIAL)


class RequestsExchange:
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
        body: Whether the request can be sent again, for its body and its signature.
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
        "_original",
        "_owner",
        "_position",
        "_request",
        "_response",
        "_retries",
        "_route",
        "_sent",
        "_sockets",
        "_untouched",
        "above",
        "body",
        "brought_by",
        "defers",
        "fallback",
        "spared_deadline",
    )

    def __init__(
        self,
        route: Route,
        adapter: BaseAdapter,
        request: requests.PreparedRequest,
        keywords: dict[str, Any],
        clock: Clock,
        sockets: Sockets | None = None,
        owner: ConnectionOwner | None = None,
        retries: Retry | None = None,
    ) -> None:
        self._route = route
        self._adapter = adapter
        self._request = self._original = request
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
        self._sent = self.defers = False
        self._untouched: tuple[Any, ...] | None = None
        self._response: requests.Response | None = None
        self._open = self._is_for_hooks = False
        self._error: BaseException | None = None
        body = request.body
        self.body, self._position = classify_body(body)
        names = getattr(request.headers, "_store", request.headers)  # a look for one not there costs an exception
        if "authorization" in names and is_single_use(request.headers["Authorization"]) and self._sign is None:
            self.body = "single-use"

    @property
    def _sign(self) -> Callable[[Any], None] | None:
        return read_marks(self._request).sign_again

    def find_signer(self, session: Callable[[], requests.Session | None] | None) -> None:
        """Let the `auth` of the session sign each attempt of a request that has a nonce, if that signed the first."""
        if self.body != "single-use" or session is None:
            return
        sign = find_signer(self._request, session())
        if sign is not None:
            marks_of(self._request).sign_again = sign
            body = self._request.body
            self.body = classify_body(body)[0]

    def spare_streams(self, logical: LogicalCall) -> LogicalCall:
        """Let the deadline of a logical call not bind bodies that are streamed, and return the call as it is then."""
        if self.body == "once" or self.body == "rewindable":
            return logical._replace(deadline=None)
        self.spared_deadline = logical.deadline if self._keywords["stream"] else None
        return logical

    def expect_own_send(self, fallback: Any, defers: bool) -> None:
        """Prepare for an adapter below that may have a timeout of its own, or change the request.

        Args:
            fallback: See the attributes.
            defers: The same. What such an adapter changes is kept, because it rewrites URLs, signs, compresses bodies.
        """
        self.fallback, self.defers = fallback, defers
        if defers:
            request = self._request
            self._untouched = (request.method, request.url, request.headers.copy(), request.body)

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        call, clock = effect.call, self._clock
        started, deadline = clock.now(), call.deadline
        # Those who share connections know nothing of each other's, and have no reason to bear their age.
        body = call.body
        once = self._owner is not None or body == "once" or call.unsafe
        once = once or (call.method not in IDEMPOTENT_METHODS and not call.idempotent)
        streamed = body == "once" or body == "rewindable"
        retries = prepare_retry(self._retries)
        transmission = Transmission(clock, started, deadline, self._sockets, once, self._owner, streamed, retries)
        transmission.fallback = self.fallback if deadline is None else self._limit_fallback(deadline - started)
        send: Any = None
        advice: Advice | None = None
        request, keywords = self._request, self._keywords
        try:
            if self._sent or started - call.started >= LONG_WAIT:
                self._prepare_late_attempt(started, deadline)
            self._sent, self._is_for_hooks = True, False
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
            if request is not self._original:
                self._give_back_request(response, request, call)
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
        request = reroute(self._request, call)
        if not call.anonymous:
            if self._sign is not None:
                self._sign(request)  # a signature covers the URL
            renew_credentials(request, now, call.deadline)  # and so does the proof of a token
        session = getattr(self.above, "_session", None)
        keywords = judge_proxies(self._keywords, request, self._original, None if session is None else session())
        return request, {**keywords, "cert": None} if call.anonymous else keywords

    def _give_back_request(self, response: requests.Response, sent: requests.PreparedRequest, call: Call) -> None:
        """Let a response refer to the caller's own request, from which redirects and replays start."""
        response.request = self._original
        if sent is not self._request:
            drop_foreign_cookies(response, self._original)
            if not call.rerouted:
                translate_redirect(response, call.url, self._original)

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
        if request is not self._original and getattr(error, "request", None) is request:
            error.request = self._original  # type: ignore[attr-defined]
        if send is not None:
            report_overrun(transmission, send)
        answered = self._response is not None
        self.close()
        retries: Any = transmission.retries
        if answered and retries is not self._retries:
            retries.ask_about(error, self._request)
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
        found: Any = self._request.hooks
        if found and found.get("response") and has_foreign_hook(self._request):
            hooks = find_session_hooks(self._request) if response.status_code < 400 else None
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
            self._history += (record_history(self._request, response, error),)
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

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self._response
        # After a hook that raises no caller reads the body, so that what waits for its end would wait for ever.
        if response is None or not self._open or self._is_for_hooks or getattr(response.raw, "closed", False):
            return False
        on_body_closed(response, action)
        return True

    def fork(self) -> RacingExchange:
        """Return an exchange that sends the same request on another thread."""
        self._sent = True  # so that the next attempt rewinds the body and is signed anew, here or in a fork
        copy = self._request.copy()
        if self._sign is not None:
            marks_of(copy).sign_again = self._sign
        fork = RacingExchange(
            self._route,
            self._adapter,
            copy,
            self._keywords,
            self._clock,
            None,
            self._owner,
            self._retries,
        )
        fork.body, fork._position, fork._sent, fork.above = self.body, self._position, True, self.above
        fork._original = self._original
        fork.fallback, fork.defers, fork._untouched = self.fallback, self.defers, self._untouched
        fork.spared_deadline = self.spared_deadline
        return fork

    @property
    def clock(self) -> Clock:
        """The clock of the attempts."""
        return self._clock

    @property
    def keywords_for_rest(self) -> dict[str, Any]:
        """The keywords of a request for the rest of a body."""
        return {**self._keywords, "stream": True}

    def can_ask_for_rest(self, url: str) -> bool:
        """Return whether the rest of a body from a URL can be asked for: a certificate is for one origin only."""
        return self._keywords["cert"] is None or origin(url) == origin(self._request.url or "")

    def make_like(self, kind: type[AnyExchange], request: requests.PreparedRequest) -> AnyExchange:
        """Return an exchange of a class, for the attempts at a request that asks for the rest of a body."""
        exchange = kind(
            self._route, self._adapter, request, self.keywords_for_rest, self._clock, None, self._owner, self._retries
        )
        exchange.above = self.above
        exchange._sent, exchange._position = True, self._position  # so that it gets the present credential
        if self._sign is not None:
            marks_of(request).sign_again = self._sign
        return exchange

    def owns(self, outcome: Outcome) -> bool:
        """Return whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self._response

    def adopt(self, fork: RequestsExchange) -> None:
        """Take over the response that a fork received last."""
        self._response, self._open, fork._response = fork._response, fork._open, None
        self._is_for_hooks, self.brought_by = fork._is_for_hooks, fork.brought_by

    def cancel(self) -> None:
        """Close the response of the last attempt."""
        self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002
        """Return False: outside of races it is not cancelled while it waits."""
        return False

    def take_response(self, outcome: Outcome) -> requests.Response:
        """Return the response that a call ends with: of an earlier attempt where that is better, or one made here."""
        response: requests.Response | None = outcome.response
        if response is None:
            return self.synthesize(outcome)
        if response is not self._response:
            self.close()
        return response

    def synthesize(self, outcome: Outcome) -> requests.Response:
        """Return a response that no server has sent, for an outcome that has none."""
        self.close()
        return synthesize_response(outcome, self._request)

    def _limit_fallback(self, left: float) -> Any:
        """Return the timeout for the pool below an adapter that may have its own, shortened to the time left."""
        is_limited = self.defers and self.fallback is not UNLIMITED
        return shorten_timeout(self.fallback, left) if is_limited else self.fallback

    def _prepare_late_attempt(self, now: float, deadline: float | None) -> None:
        """Prepare the request for an attempt that comes some time after the auth objects were asked."""
        if self._sent:
            self._prepare_repeat()
        renew_credentials(self._request, now, deadline)

    def _prepare_repeat(self) -> None:
        self.discard()
        if self._untouched is not None:
            request = self._request
            request.method, request.url, headers, request.body = self._untouched
            request.headers = headers.copy()
        if self._position is not None:
            try:
                self._request.body.seek(self._position)  # type: ignore[union-attr]
            except (OSError, ValueError) as error:
                message = "the body could not be rewound; pass bytes or a seekable file"
                raise ReplayError(message, request=self._request) from error
        if self._sign is not None:
            self._sign(self._request)


class RacingExchange(CancellableExchange, RequestsExchange):
    """An exchange that takes part in a race; cancelling it shuts the socket of an attempt."""

    _sockets: Sockets

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._sockets = Sockets()

    def _attempt(self, effect: Send) -> Outcome:
        try:
            return super()._attempt(effect)
        finally:
            self._sockets.clear()

    def _interrupt(self) -> None:
        self._sockets.shut()

    def after_fork_in_child(self) -> None:
        """Replace the locks."""
        super().after_fork_in_child()
        self._sockets._lock = threading.RLock()
