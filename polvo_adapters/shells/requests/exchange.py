"""The attempts at one request, as drivers ask for them: alone, and in a race.

Theory of operation. `polvo_adapters.shells.requests.attempts` makes an attempt and keeps its response until the next
one. A driver asks which response that is, waits for the end of its body, and takes it. In a race it asks for a fork,
which sends a copy of the request on another thread, and lets the exchange of the call adopt the response of the fork
that won. The rest of a body that broke off is asked for by an exchange like the one that brought the body.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import requests

from polvo_adapters.context.call import LogicalCall
from polvo_adapters.core.calls import origin
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.cancellation import CancellableExchange
from polvo_adapters.shells.requests.attempts import STREAMED, RequestAttempts
from polvo_adapters.shells.requests.repeatable_request import RepeatableRequest
from polvo_adapters.shells.requests.response import on_body_closed, synthesize_response
from polvo_adapters.shells.requests.wire.sockets import Sockets

AnyExchange = TypeVar("AnyExchange", bound="RequestsExchange")


class RequestsExchange(RequestAttempts):
    """The attempts at one prepared request; arguments and attributes as for RequestAttempts."""

    __slots__ = ()

    def spare_streams(self, logical: LogicalCall) -> LogicalCall:
        """Let the deadline of a logical call not bind bodies that are streamed, and return the call as it is then."""
        if self.request.body in STREAMED:
            return logical._replace(deadline=None)
        self.spared_deadline = logical.deadline if self._keywords["stream"] else None
        return logical

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
        fork = self._make(RacingExchange, self.request.fork(), self._keywords)
        fork.fallback, fork.defers, fork.spared_deadline = self.fallback, self.defers, self.spared_deadline
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
        return self._keywords["cert"] is None or origin(url) == origin(self.request.prepared.url or "")

    def make_like(self, kind: type[AnyExchange], request: requests.PreparedRequest) -> AnyExchange:
        """Return an exchange of a class, for the attempts at a request that asks for the rest of a body."""
        return self._make(kind, self.request.follow_up(request), self.keywords_for_rest)

    def _make(self, kind: type[AnyExchange], request: RepeatableRequest, keywords: dict[str, Any]) -> AnyExchange:
        exchange = kind(self._route, self._adapter, request, keywords, self._clock, None, self._owner, self._retries)
        exchange.above = self.above
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
        return synthesize_response(outcome, self.request.prepared)


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
