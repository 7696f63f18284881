"""One attempt through an httpx transport: what `Send` means there. That of a task is in `async_exchange` beside this.

As `polvo_adapters.shells.requests.attempts`, with what is in `polvo_adapters.shells.requests.exchange`, except that a
transport of httpx knows no redirects and no certificates of single requests, takes the timeout from each request, and
returns bodies as they came over the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import httpx
from httpx import ByteStream

from polvo_adapters.core.calls import Body, Call, find_host
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import UNPROCESSED, Ending, Outcome, at_deadline
from polvo_adapters.core.trace import Mark
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.policies.outcomes import describe_late_body
from polvo_adapters.shells.cancellation import CancellableExchange
from polvo_adapters.shells.encodings import EncodingCheck
from polvo_adapters.shells.httpx.failures import explain
from polvo_adapters.shells.httpx.header_fields import find_field
from polvo_adapters.shells.httpx.observed_body import find_whole_encoding, observe, require_whole
from polvo_adapters.shells.httpx.renewal import RenewableCredential, find_credential
from polvo_adapters.shells.httpx.replays import kind_of_stream, rewind
from polvo_adapters.shells.httpx.rerouting import copy_request, reroute, translate_response
from polvo_adapters.shells.httpx.response import decode_body, is_read
from polvo_adapters.shells.httpx.routes import Routes
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout
from polvo_adapters.shells.httpx.trace import ATTEMPT, HTTPXTrace
from polvo_adapters.shells.late_credentials import LONG_WAIT, NO_CREDENTIAL
from polvo_adapters.shells.overruns import report_overrun
from polvo_adapters.shells.single_use import is_single_use

AnyExchange = TypeVar("AnyExchange", bound="BaseHTTPXExchange")

_LARGEST_REFUSAL = 1 << 20  # bytes of a body that is kept when its connection is needed
TIMEOUTS = ("connect", "read", "write", "pool")


class KeptBody:
    """The body of a refused response, which its reader has not seen yet."""

    def __init__(self) -> None:
        self.whole = False
        self._data = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Add a chunk, and return whether the body is still small enough to be kept."""
        self._data += chunk
        return len(self._data) <= _LARGEST_REFUSAL

    def put_into(self, response: httpx.Response) -> None:
        """Let the response have this body, or none where it is not whole."""
        response.stream = httpx.ByteStream(bytes(self._data) if self.whole else b"")


class BaseHTTPXExchange:
    """What synchronous and asynchronous exchanges have in common.

    Args:
        inner: The transport to send through.
        request: The request of the client.
        clock: Time.
        stream: Whether responses are returned before their body is read.
        without_certificate: The transport for requests that are to hold no credential; by default the same.
        url: The URL of the request, where it is known as text.
        owner: The transport whose call it is, which may be closed before the next attempt; or None.

    Attributes:
        spared_deadline: The deadline that does not bind a body which is streamed to the caller, or None.
        brought_by: The call of the attempt that has brought the last response which is streamed, or None.
    """

    is_async = False
    _noting: type | None = None  # the class of transports whose connections may note the steps of an attempt
    brought_by: Call | None = None
    spared_deadline: float | None = None
    response: httpx.Response | None
    reading = _is_region = _is_noted = False
    _encoding: str | None = None  # of the body that was read last
    _trace: HTTPXTrace | None = None  # of the attempt that is being made
    _extensions: Any = None  # what its request came with
    _used: Any = None  # its transport

    def __init__(
        self,
        inner: Any,
        request: httpx.Request,
        clock: Any,
        stream: bool,
        without_certificate: Any = None,
        url: str = "",
        owner: Any = None,
    ) -> None:
        self.inner, self.owner = inner, owner
        self._without_certificate = without_certificate
        self.request = self.sent = request
        self.response, self._sent = None, False
        self._url = url or str(request.url)
        self.clock = clock
        self.stream = stream

    def _fail(self, error: BaseException, started: float, deadline: float | None) -> Outcome:
        """Return the outcome of the attempt that has just raised."""
        now, trace = self.clock.now(), self._trace
        marks: Sequence[Mark] = () if trace is None else trace.end(now)
        self.give_back()
        unsent = not self.reading and (trace is None or trace.proves_unsent(self._used, error))
        failure = at_deadline(explain(error, trace, reading=self.reading, unsent=unsent), now, deadline)
        if failure is UNPROCESSED:
            unsent = type(self.sent.stream) is ByteStream
        return Outcome(
            error=error,
            failure=failure,
            started=started,
            now=now,
            wall=self.clock.wall(),
            unsent=unsent,
            marks=marks,
            ending=Ending("retry", str(error)) if isinstance(error, NO_CREDENTIAL) else None,
        )

    def _succeed(self, response: Any, started: float) -> Outcome:
        """Return the outcome of the attempt that has just brought a response."""
        clock, trace, sent, body = self.clock, self._trace, self.sent, None
        now = clock.now()
        marks: Sequence[Mark] = () if trace is None or not trace.lent else trace.end(now)
        sent.extensions, self._trace = self._extensions, None
        if self._is_noted and trace is not None:
            trace.is_over = True
            ATTEMPT.set(None)
        if sent is not self.request:
            translate_response(response, self.request, is_region=self._is_region)
        if not self.stream and type(response.stream) is ByteStream:
            body = response.stream._stream if self._encoding is None else decode_body(response, self._encoding)
        return new_tuple(
            Outcome,
            (
                response,
                response.status_code,
                response.headers,
                None,  # error
                None,  # failure
                started,
                now,
                clock.wall(),
                "",  # note
                body,
                False,  # unsent
                marks,
                None,  # ending
                None,  # advice
                (),  # quotas
                [],  # judged
            ),
        )

    def _prepare_repeat(self) -> RenewableCredential | None:
        """Rewind a body that was sent before, and return what renews the credential, or None."""
        if self._sent:
            rewind(self.request)
        return find_credential(self.request)

    def _prepare(self, call: Call, now: float) -> httpx.Request:
        """Return the request for the URL and the deadline of the call."""
        used, owner, request, url = self.inner, self.owner, self.request, call.url
        if owner is not None and owner.is_closed:
            raise owner.make_closed_error()
        if self._without_certificate is not None and call.anonymous:
            used = self._without_certificate
        if url is not self._url and url != self._url:
            request, self._is_region = reroute(request, call), not call.rerouted
        self.sent, self._sent, self.reading = request, True, False
        extensions = request.extensions
        self._used = used = used.find(request.url) if type(used) is Routes else used
        listener, deadline = extensions.get("trace"), call.deadline
        trace = HTTPXTrace(now, self.clock.now, listener)
        if deadline is not None:
            if deadline <= now:
                raise DeadlineExceeded("the deadline is over before the attempt began")
            timeouts = extensions.get("timeout", {})
            cut = self._cut_timeouts(timeouts, deadline, deadline - now)
            if cut is not timeouts:
                request.extensions = {**extensions, "timeout": cut}
        self._is_noted = is_noted = listener is None and type(used) is self._noting and self._notes_steps()
        if is_noted:
            ATTEMPT.set(trace)
        else:
            request.extensions = {**request.extensions, "trace": trace.take_async if self.is_async else trace.take}
        self._trace, self._extensions = trace, extensions
        return request

    def _notes_steps(self) -> bool:
        """Return whether the connections of the transport note the steps of the attempt in its trace.

        Not within another attempt, or beside one whose task has the same context: each of both would be told steps of
        the other, and not be told its own. Nor where a credential is asked for first, which may take such an attempt.
        """
        if not getattr(self._used._pool, "notes_steps", False) or type(self.sent.stream) is not ByteStream:
            return False
        outer = ATTEMPT.get()
        return (outer is None or outer.is_over) and (self.sent is self.request or find_credential(self.sent) is None)

    def _cut_timeouts(self, timeouts: Any, deadline: float, left: float) -> Any:
        """Return timeouts that end with the deadline, which is so many seconds away."""
        raise NotImplementedError

    def give_back(self) -> None:
        """Leave the request as it came."""
        trace = self._trace
        if trace is not None:
            self.sent.extensions, self._trace, trace.is_over = self._extensions, None, True
            if ATTEMPT.get() is trace:  # and not that of another task, in which a finalizer runs this
                ATTEMPT.set(None)

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self.response
        if response is None or not self.stream:
            return False
        observe(response).on_body_closed.add(action)
        return True

    def fork(self) -> BaseHTTPXExchange:
        """Return an exchange that sends the same request at the same time."""
        fork = self._racing_class()(
            self.inner,
            copy_request(self.request),
            self.clock,
            stream=self.stream,
            without_certificate=self._without_certificate,
            url=self._url,
        )
        fork._sent, fork.spared_deadline, fork.owner = True, self.spared_deadline, self.owner
        return fork

    def _racing_class(self) -> type[BaseHTTPXExchange]:
        return type(self)

    def owns(self, outcome: Outcome) -> bool:
        """Return whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self.response

    def adopt(self, fork: BaseHTTPXExchange) -> None:
        """Take over the response that a fork received last."""
        self.response, fork.response, self.sent = fork.response, None, fork.sent
        self.brought_by = fork.brought_by

    def make_like(self, kind: type[AnyExchange], request: httpx.Request) -> AnyExchange:
        """Return an exchange of a class, for the attempts at a request that asks for the rest of a body."""
        exchange = kind(self.inner, request, self.clock, stream=True, without_certificate=self._without_certificate)
        exchange._sent, exchange.owner = True, self.owner  # sent, so that it gets the present credential
        return exchange

    def _hand_over(self, response: Any, call: Call) -> None:
        """Look after the body of a response that the caller will read."""
        self.brought_by = call
        if is_read(response):
            return
        if call.deadline is not None and call.deadline != self.spared_deadline:
            observe(response).limit(call.deadline, self.clock, call.host)
        elif find_field(response.headers, b"content-encoding") is not None:
            observe(response)

    def _take_response(self) -> httpx.Response | None:
        """Return the response of the last attempt where it has to be closed, and forget it."""
        response, self.response = self.response, None
        return None if response is None or is_read(response) else response


class HTTPXExchange(BaseHTTPXExchange):
    """The attempts at one request, on the calling thread."""

    _noting = httpx.HTTPTransport

    def _cut_timeouts(self, timeouts: Any, deadline: float, left: float) -> Any:  # noqa: ARG002 - each wait asks
        return {name: DeadlineTimeout(timeouts.get(name), deadline, self.clock) for name in TIMEOUTS}

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        if self.response is not None:
            self.discard()
        call: Call = effect[0]
        started = now = self.clock.now()
        deadline = call.deadline
        try:
            if self._sent or now - call.started >= LONG_WAIT:
                credential = self._prepare_repeat()
                if credential is not None:
                    credential.renew(self.request)
                    now = self.clock.now()
            request = self._prepare(call, now)
            if request is not self.request and not call.anonymous:
                credential = find_credential(request)  # of another URL, which the proof of a token covers
                if credential is not None:
                    credential.renew(request)
            self.response = response = self._used.handle_request(request)
            response.request = request  # httpx sets it above the transport, too late for errors
            if not self.stream:
                self._read(response, deadline)
            else:
                self._hand_over(response, call)
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            self.close()
            self._report_overrun(deadline)
            return self._fail(error, started, deadline)
        except BaseException:  # Ctrl-C, after which the driver discards the response
            self.give_back()
            raise
        if deadline is not None:
            self._report_overrun(deadline)
        return self._succeed(response, started)

    def _report_overrun(self, deadline: float | None) -> None:
        """Log where a transport that is not built on httpcore has not kept the deadline of an attempt."""
        if deadline is not None and self._trace is not None and not self._trace.lent:
            report_overrun(type(self._used).__qualname__, self.clock.now() - deadline)

    def _read(self, response: httpx.Response, deadline: float | None) -> None:
        encoding = self._encoding = find_field(response.headers, b"content-encoding")
        if encoding is None and deadline is None and is_read(response):
            return
        self.reading = True
        if self._is_noted and self._trace is not None:
            self._trace.note_body()
        chunks, check = [], EncodingCheck(encoding and find_whole_encoding(response.status_code, encoding))
        for chunk in response.stream:  # type: ignore[union-attr]
            chunks.append(chunk)
            check.feed(chunk)
            if deadline is not None and self.clock.now() > deadline:
                raise DeadlineExceeded(describe_late_body(sum(map(len, chunks))), host=find_host(str(response.url)))
        require_whole(check)
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx.ByteStream(b"".join(chunks))

    def discard(self) -> None:
        """Take the response of the last attempt from its connection; its body stays readable if it is small."""
        response = self._take_response()
        if response is None:
            return
        kept = KeptBody()
        with suppress(Exception):  # the response was refused, and what is wrong with its body matters no more
            kept.whole = all(map(kept.add, response.stream))  # type: ignore[arg-type]
        response.stream.close()  # type: ignore[union-attr]
        kept.put_into(response)

    def close(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            response.close()

    def _racing_class(self) -> type[HTTPXExchange]:
        return RacingHTTPXExchange

    def cancel(self) -> None:
        """Close the response of the last attempt."""
        self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002
        """Return False: outside of races it is not cancelled while it waits."""
        return False


class RacingHTTPXExchange(CancellableExchange, HTTPXExchange):
    """An exchange that takes part in a race; a transport cannot interrupt an attempt, so that runs to its end."""


def body_of(request: httpx.Request) -> Body:
    """Return whether the body of a request can be sent again."""
    stream = request.stream
    if not isinstance(stream, ByteStream):
        return kind_of_stream(request)
    authorization = find_field(request.headers, b"authorization")
    if authorization is not None and is_single_use(authorization):
        return "single-use"  # httpx asks auth objects above its transports
    return "replayable" if getattr(stream, "_stream", True) else "none"
