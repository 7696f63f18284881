"""Calls of a hosted service as generators, apart from the client that performs them.

Theory of operation. An operation is a generator. It yields effects, and returns the result or raises the error of its
service:

    effect          the client performs                                    and sends in
    --------------  -----------------------------------------------------  ----------------------------------------
    ServiceRequest  one logical call, with the client's policies           a ServiceResponse, also for a failure
    CachedFetch     a look-up in the cache, or one fetch for all callers   the value, or a ServiceResponse without one
    FileWork        a function that writes to the disk                     what it returns

It reads no clock and opens no socket, so that the same operation serves a client on threads and one on an event loop.
Failures are sent in as values and not thrown: an error that is raised here has no cause that could hold a header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union

import requests

from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.operation_driver import drive, drive_async  # noqa: F401 - where they were before

T = TypeVar("T")

_NOTHING: Mapping[str, str] = {}


@unpicklable
class ServiceRequest(NamedTuple):
    """Effect: make one logical call. The client sends in a ServiceResponse.

    Attributes:
        method: Upper-case HTTP method.
        path: What is appended to the base URL, with a slash at its beginning.
        token: The bearer token; empty to send none.
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
        return f"<ServiceRequest {self.method}>"  # a path may hold a key of the service behind a proxy


@unpicklable
class CachedFetch(NamedTuple):
    """Effect: get a value from the cache, or from one operation for all callers that wait for it.

    Attributes:
        kind: What the value is.
        token: The token that it is fetched with.
        ttl: Seconds for which it may be used.
        make: Returns a new operation that fetches it.
    """

    kind: str
    token: str
    ttl: float
    make: Callable[[], ServiceOperation[Any]]

    def __repr__(self) -> str:
        return f"<CachedFetch {self.kind}>"


class FileWork(NamedTuple):
    """Effect: call a function that waits for the disk, where that holds up nothing else.

    Attributes:
        work: The function; what it raises ends the operation.
    """

    work: Callable[[], object]

    def __repr__(self) -> str:
        return "<FileWork>"


class ServiceResponse(NamedTuple):
    """The response to a call, or its failure.

    Attributes:
        status: Status of the response, or 0 where there was none.
        body: Its body.
        kind: Its Content-Type.
        host: Host that the call went to.
        retry_after: Seconds that the server asks to wait, or None.
        attempts: How often the request was sent.
        problem: The reason that there is no response, for a person, or an empty string; nothing secret.
        reason: The same for a program.
        response: The response as an error may carry it: without request and token, its body only where it is an error.
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
        return f"<ServiceResponse {self.status} {self.reason}>"

    @property
    def is_success(self) -> bool:
        """Whether there is a response with a status of 200 to 299."""
        return not self.problem and 200 <= self.status < 300

    def json(self) -> Any:
        """Return the JSON value of the body, or NO_JSON; no exception holds the body."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return NO_JSON


NO_JSON: Any = object()
"""What `ServiceResponse.json` returns where the body is no JSON."""

ServiceEffect: TypeAlias = Union[ServiceRequest, CachedFetch, FileWork]  # noqa: UP007 - evaluated at import by Python 3.10 tools
ServiceOperation: TypeAlias = Generator[ServiceEffect, Any, T]
