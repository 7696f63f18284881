"""The urllib3 `Retry` of one attempt: it asks the caller's, and leaves it to the flow of the call to act on the answer.

Theory of operation. urllib3 asks a `Retry` two questions after an attempt, `is_retry` and `increment`, and repeats the
request itself. Here it gets an object that passes both on to the caller's own, keeps what that says, and then claims to
be used up. So urllib3 ends the attempt as it ends the last of several: it returns the response, or raises the exception
that `requests` makes of a MaxRetryError. Where the caller's object raises, its exception passes through.

The wait is what `get_retry_after` and `get_backoff_time` say. An object that sleeps in a way of its own does so itself.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ResponseError
from urllib3.util import Retry
from urllib3.util.retry import RequestHistory

from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import Advice

NO_RETRY = Retry(0, read=False)
"""The `max_retries` of an adapter that does not retry; one for all, because a Retry is slow to make."""

_SLEEPING = ("sleep", "sleep_for_retry", "_sleep_backoff")


class RecordingRetry(Retry):
    """The `Retry` of one attempt.

    Args:
        asked: The caller's object, as it is after the attempts before.

    Attributes:
        asked: The same.
        following: What that object has made of itself for the next attempt, or None where it wants none.
    """

    def __init__(self, asked: Retry) -> None:
        self.asked = asked
        self.following: Retry | None = None
        self._response: Any = None
        self._reason = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asked, name)  # the counts, and the lists of methods and statuses

    @property
    def raise_on_status(self) -> bool:  # type: ignore[override]  # which nothing here assigns
        """Whether urllib3 raises at a status; not at one after which the request is to be repeated."""
        return self.following is None and bool(self.asked.raise_on_status)

    def new(self, **keywords: Any) -> Any:
        """Return an object like the caller's with other settings."""
        return self.asked.new(**keywords)

    def is_retry(self, *args: Any, **keywords: Any) -> bool:
        """Return whether the caller's object wants to repeat a request with such a response."""
        return self.asked.is_retry(*args, **keywords)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Any:
        """Ask the caller's object, keep what it says, and end the attempt.

        Raises:
            MaxRetryError: The object wants another attempt.
            Exception: What the object raises.
        """
        self.following = self.asked.increment(
            method, url, response=response, error=error, _pool=_pool, _stacktrace=_stacktrace
        )
        self._response = response
        self._reason = type(error).__name__ if response is None else str(response.status)
        reason = error or ResponseError(ResponseError.SPECIFIC_ERROR.format(status_code=response.status))
        raise MaxRetryError(_pool, url, reason) from reason

    def ask_about(self, error: Exception, request: Any) -> None:
        """Ask about a body that broke off, which urllib3 does not, as the caller reads bodies there.

        A method that is not idempotent is left alone, whatever the object would say: the server has processed the
        request, and bare `requests` would not have asked the object.

        Args:
            error: What `requests` raised.
            request: The prepared request.
        """
        cause = error.args[0] if error.args else None
        if not isinstance(cause, HTTPError) or self.following is not None or request.method not in IDEMPOTENT_METHODS:
            return
        with suppress(Exception):  # whatever the object raises means no; the caller gets the error of the body
            self.increment(request.method, request.path_url, error=cause)

    def advise(self) -> Advice | None:
        """Return what the caller's object has said, or None where it wants no other attempt."""
        retry, response, self._response = self.following, self._response, None
        if retry is None:
            return None
        if not _sleeps_as_urllib3(retry):
            return Advice(0.0, self._reason, partial(retry.sleep, response))
        seconds = 0.0
        if response is not None and retry.respect_retry_after_header:
            try:
                seconds = retry.get_retry_after(response) or 0.0
            except InvalidHeader:
                seconds = 0.0  # bare urllib3 lets the header of the server end the call
        if seconds:
            return Advice(float(seconds), f"{self._reason}, Retry-After {seconds:g} s")
        return Advice(max(0.0, float(retry.get_backoff_time())), self._reason)

    def __repr__(self) -> str:
        return repr(self.asked)


def prepare_retry(retries: Retry | None) -> Any:
    """Return the `Retry` of an attempt: one that asks the caller's, or what is to be passed on as it is."""
    return retries if retries is None or retries is NO_RETRY else RecordingRetry(retries)


def record_history(request: Any, response: Any, error: BaseException | None) -> RequestHistory:
    """Return what urllib3 keeps of an attempt that is followed by another.

    Args:
        request: The prepared request.
        response: Its response, or None.
        error: What `requests` raised, or None.
    """
    cause = error.args[0] if error is not None and error.args else error
    reason: Any = getattr(cause, "reason", None) or cause
    status = None if response is None else response.status_code
    return RequestHistory(request.method, request.path_url, reason, status, None)


def show_history(response: Any, history: tuple[RequestHistory, ...]) -> None:
    """Show on a response which attempts came before it, where code that knows urllib3 looks for them."""
    if isinstance(getattr(response.raw, "retries", None), Retry):
        response.raw.retries = NO_RETRY.new(history=history)


def _sleeps_as_urllib3(retry: Retry) -> bool:
    """Return whether the waits of an object are those of urllib3, which subclasses and tests replace."""
    return all(getattr(getattr(retry, name), "__func__", None) is _ORIGINALS[name] for name in _SLEEPING)


_ORIGINALS = {name: vars(Retry)[name] for name in _SLEEPING}
