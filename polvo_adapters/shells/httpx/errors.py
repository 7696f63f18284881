"""Our errors as errors of httpx too.

Our classes are `requests.RequestException`s. Code that moves to httpx catches `httpx.HTTPError` and its kin, so an
error that leaves a transport or client of httpx becomes one of both: `except httpx.TimeoutException` catches a
DeadlineExceeded, and so does `except polvo.DeadlineExceeded`. Its `request` is the `httpx.Request`, its `response` the
`httpx.Response`.

The class is made of two others when it is first needed, for classes of users as well. Its name and module are those of
our class, so tracebacks read alike in every shell. A pickle names the two classes that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from polvo_adapters.errors import (
    CircuitOpenError,
    DeadlineExceeded,
    EntityChangedError,
    PolvoError,
    PoolTimeoutError,
    ReplayError,
    ResponseError,
    RetriesExhaustedError,
    StatusError,
)

AnyError = TypeVar("AnyError", bound=BaseException)

_Classes = tuple[type[Exception], ...]

_FITTING: tuple[tuple[type[PolvoError], _Classes], ...] = (
    (PoolTimeoutError, (httpx.PoolTimeout,)),
    (DeadlineExceeded, (httpx.TimeoutException,)),
    (CircuitOpenError, (httpx.ConnectError,)),
    (ReplayError, (httpx.RequestError, httpx.StreamConsumed)),
    (EntityChangedError, (httpx.RemoteProtocolError,)),
    (ResponseError, (httpx.DecodingError,)),
)
"""The first that an error belongs to counts."""

_OTHERS: _Classes = (httpx.RequestError,)
_OF_STATUS: _Classes = (httpx.HTTPStatusError,)
_STATUS_KINDS = (StatusError, RetriesExhaustedError)


class _HTTPXError(PolvoError):
    """What an error of both trees does in its own way."""

    _request: httpx.Request | None = None
    _fitting: _Classes = _OTHERS
    _kind: type[PolvoError] = PolvoError

    if not TYPE_CHECKING:

        @property
        def request(self) -> httpx.Request | None:
            """The request, or None after a pickle."""
            return self._request

        @request.setter
        def request(self, request: httpx.Request | None) -> None:
            self._request = request

    def __reduce__(self) -> tuple[Any, ...]:
        maker, arguments, *rest = super().__reduce__()
        if rest and isinstance(rest[0], dict):
            rest[0] = {**rest[0], "_request": None}
        return _rebuild, (self._kind if maker is type(self) else maker, arguments, self._fitting), *rest


def httpx_error(error: AnyError, request: httpx.Request) -> AnyError:
    """Return an error that is also an error of httpx, with its request; the object stays the same.

    Args:
        error: The error; one that is not ours is returned as it is.
        request: The request of the client.
    """
    if not isinstance(error, PolvoError):
        return error
    if not isinstance(error, httpx.HTTPError):
        kind: Any = type(error)
        try:
            error.__class__ = _combine(kind, _find_fitting(error))
        except TypeError:  # a class of the user's own that has another layout
            return error
        vars(error).pop("request", None)
    error.request = request  # type: ignore[assignment]
    return error


def _find_fitting(error: PolvoError) -> _Classes:
    """Return the classes of httpx that an error belongs to as well."""
    found = next((classes for kind, classes in _FITTING if isinstance(error, kind)), _OTHERS)
    if not isinstance(error, _STATUS_KINDS) or error.response is None:
        return found  # code that catches an HTTPStatusError reads `error.response.status_code`
    return _OF_STATUS if found is _OTHERS else (*_OF_STATUS, *found)


@lru_cache(maxsize=256)
def _combine(kind: Any, fitting: _Classes) -> Any:
    """Return the class of errors of both trees."""
    members = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_kind": kind,
        "_fitting": fitting,
    }
    return type(kind.__name__, (_HTTPXError, kind, *fitting), members)


def _rebuild(maker: Callable[..., PolvoError], arguments: tuple[Any, ...], fitting: _Classes) -> PolvoError:
    """Return an error of both trees, as pickles and copies have it; its attributes follow."""
    error = maker(*arguments)
    kind: Any = type(error)
    error.__class__ = _combine(kind, fitting)
    vars(error).pop("request", None)
    return error
