"""What a client of a hosted service does, apart from how it is done.

Theory of operation. An operation is a generator. It yields what it needs, gets it sent in, and returns the result or
raises the error of its service:

    effect        the client performs                                       and sends in
    ------------  --------------------------------------------------------  -----------------------------------------
    Ask(...)      one logical call, repeated as the client's policies say   Answer, also where there was none
    Once(...)     a look into the cache, or one operation for all who wait  the value, or the Answer that it did not get

It reads no clock and opens no socket, so that the same operation serves a client on threads and one on an event loop.
Failures are sent in as values and not thrown: an error that is raised here has no cause that could hold a header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union

import requests

T = TypeVar("T")

_NOTHING: Mapping[str, str] = {}


class ServiceRequest(NamedTuple):
    """Effect: make one logical call. Answer: an Answer.

    Attributes:
        method: Upper-case HTTP method.
        path: What is appended to the base URL, with a slash at its beginning.
        token: The bearer token, or an empty string where none is to be sent.
        headers: Headers besides those that the transport sets.
        params: Query parameters.
        body: The body, or None.
    """

    method: str
    path: str
    token: str = ""
    headers: Mapping[str, str] = _NOTHING
    params: Mapping[str, Any] = _NOTHING
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"<Ask {self.method}>"  # a path may hold a key of the service behind a proxy


class CachedFetch(NamedTuple):
    """Effect: a value of the cache, or of one operation for all who want it now. Answer: the value or an Answer.

    Attributes:
        kind: What is asked for.
        token: Whose it is.
        ttl: Seconds for which it may be used.
        make: Returns a new operation that fetches it.
    """

    kind: str
    token: str
    ttl: float
    make: Callable[[], Operation[Any]]

    def __repr__(self) -> str:
        return f"<Once {self.kind}>"


class ServiceResponse(NamedTuple):
    """What came of a call.

    Attributes:
        status: Status of the answer, or 0 where there was none.
        body: Its body.
        kind: Its Content-Type.
        host: Host that the call went to.
        retry_after: Seconds after which to come back, as the server says.
        attempts: How often the request was sent.
        problem: Why there is no answer, for a person, or an empty string; nothing secret.
        reason: The same for a program.
        response: The answer as an error may carry it: without request, and without the token should it be repeated in
            it; with its body only where it is an error.
    """

    status: int = 0
    body: bytes = b""
    kind: str = ""
    host: str = ""
    retry_after: float | None = None
    attempts: int = 0
    problem: str = ""
    reason: str = ""
    response: requests.Response | None = None

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.reason}>"

    @property
    def succeeded(self) -> bool:
        """Whether it is an answer with a status of 200 to 299."""
        return not self.problem and 200 <= self.status < 300

    def json(self) -> Any:
        """Return what its body says, or NO_JSON; the body is in no exception."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return NO_JSON


NO_JSON: Any = object()
"""What `Answer.json` returns where the body is no JSON."""

Effect: TypeAlias = Union[ServiceRequest, CachedFetch]  # noqa: UP007 - evaluated at import by Python 3.10 tools
Operation: TypeAlias = Generator[Effect, Any, T]


def drive(operation: Operation[T], perform: Callable[[Effect], Any]) -> T:
    """Run an operation to its end on the calling thread.

    Args:
        operation: The operation.
        perform: Carries out an effect, and returns what is to be sent in.

    Returns:
        What the operation returns.
    """
    result: Any = None
    while True:
        try:
            effect = operation.send(result)
        except StopIteration as end:
            value: T = end.value
            return value
        result = perform(effect)
