"""One call that is made in this process, and what became of it, as a value that holds no header and no exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
import urllib3.exceptions

from polvo_adapters import headers
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.report import CANCELLED
from polvo_adapters.errors import (
    CircuitOpenError,
    DeadlineExceeded,
    IdempotencyError,
    InDoubtError,
    PolvoError,
    PoolTimeoutError,
    RateLimitError,
    StatusError,
)
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.session import Session

_HELD = (CircuitOpenError, PoolTimeoutError, RateLimitError)
_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class CallEnd(NamedTuple):
    """How a call ended.

    Attributes:
        status: Status of the response, or 0 where there was none.
        text: Body of the response.
        headers: Headers of the response that hold no credential.
        url: Address that answered.
        problem: The reason that there is no response, for a person; nothing secret.
        unsent: Whether it is proved that no server has seen the request.
        declined: Whether the response says that the request was not processed.
        timeout: Whether this process stopped waiting.
        held: Whether a policy of this process, such as a rate limit, did not let it through for the moment.
        in_doubt: Whether a record says that an earlier request may have been processed.
        attempts: How often the request was sent.
        retry_after: Seconds that the server asks to wait, or None.
        caller: The caller that the record of a key belongs to, where it has kept the call from being made;
            otherwise None.
        note: What a policy says of the end, such as which region answered first.
        lost: How many attempts of a race were cancelled.
    """

    status: int = 0
    text: str = ""
    headers: Mapping[str, str] = {}
    url: str = ""
    problem: str = ""
    unsent: bool = False
    declined: bool = False
    timeout: bool = False
    held: bool = False
    in_doubt: bool = False
    attempts: int = 0
    retry_after: float | None = None
    caller: str | None = None
    note: str = ""
    lost: int = 0

    def __repr__(self) -> str:
        return f"<CallEnd {self.status or self.problem}>"  # a body may be private

    @property
    def is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300


def is_idempotent(method: str) -> bool:
    """Return whether a request of a method may be sent again although it may have been processed."""
    return method in IDEMPOTENT_METHODS


def make_call(session: Session, job: Mapping[str, Any], **keywords: Any) -> CallEnd:
    """Make the call of a job once, with the policies of the session, and return how it ended.

    Args:
        session: Sends the request, and repeats it as its policies say.
        job: The job.
        **keywords: More keywords of `Session.request`.
    """
    body = job.get("body")
    try:
        response = session.request(job["method"], job["url"], data=None if body is None else body.encode(), **keywords)
        return read_response(response, session.clock.wall())
    except _ERRORS as error:
        answer = getattr(error, "response", None)
        if isinstance(error, StatusError) and not isinstance(error, DeadlineExceeded) and answer is not None:
            return read_response(answer, session.clock.wall())
        return read_error(error, job["method"], find_host(job["url"]))


def read_response(response: requests.Response, now: float) -> CallEnd:
    """Return the end of a call with a response."""
    report = getattr(response, "polvo", None)
    wait = headers.retry_after(response.headers, now)
    return CallEnd(
        response.status_code,
        decode_body(response),
        {name: value for name, value in response.headers.items() if name.lower() != "set-cookie"},
        response.url or "",
        declined=response.status_code == 429 or (response.status_code == 503 and wait is not None),
        attempts=0 if report is None else len(report.attempts),
        retry_after=wait,
        note="" if report is None else report.note,
        lost=0 if report is None else sum(attempt.failure == CANCELLED for attempt in report.attempts),
    )


def decode_body(response: requests.Response) -> str:
    """Return a body as text: by its charset, or as UTF-8, as guessing takes seconds for a large one."""
    kind = response.headers.get("Content-Type", "").lower()
    try:
        return response.content.decode((response.encoding if "charset" in kind else None) or "utf-8", "replace")
    except LookupError:  # no such charset
        return response.content.decode("utf-8", "replace")


def read_error(error: Exception, method: str, host: str) -> CallEnd:
    """Return the end of a call without a response."""
    failure = classify(error)
    report = getattr(error, "polvo", None)
    attempts = [] if report is None else report.attempts
    # A POST that was answered by a redirect is followed by a GET: the last hop says nothing of the first.
    is_same_request = report is None or report.method == method
    sent = any(attempt.sent for attempt in attempts) or bool(report is None and getattr(error, "attempts", 0))
    is_ours = isinstance(error, PolvoError)  # the texts of others may show a credential
    text = str(error) if is_ours else f"{host}: {failure.name} ({type(error).__name__})"
    return CallEnd(
        problem=text,
        unsent=is_same_request and not sent and not isinstance(error, InDoubtError),
        timeout=failure.timeout,
        held=isinstance(error, _HELD) and is_same_request and not sent,
        in_doubt=isinstance(error, InDoubtError),
        caller=error.caller if isinstance(error, IdempotencyError) else None,
        attempts=len(attempts),
        retry_after=getattr(error, "retry_after", None),
    )
