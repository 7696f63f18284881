"""Our errors as errors of httpx."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import httpx
import pytest

from polvo_adapters import errors
from polvo_adapters.errors import PolvoError
from polvo_adapters.shells.httpx.errors import httpx_error

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PolvoError)]
REQUEST = httpx.Request("GET", "https://u:s3cret@api.example.com/?k=s3cret", headers={"authorization": "Bearer s3cret"})

FITTING = {
    errors.DeadlineExceeded: (httpx.TimeoutException,),
    errors.RateLimitDeadlineExceeded: (httpx.TimeoutException,),
    errors.PoolTimeoutError: (httpx.PoolTimeout, httpx.TimeoutException),
    errors.CircuitOpenError: (httpx.ConnectError, httpx.NetworkError),
    errors.ReplayError: (httpx.StreamConsumed,),
    errors.EntityChangedError: (httpx.RemoteProtocolError,),
    errors.ResponseError: (httpx.DecodingError,),
}


class Custom(errors.TokenRefreshError):
    """An error of a user, which is pickled in its own way."""

    def __init__(self, place: str) -> None:
        super().__init__(f"no token at {place}")
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.place,)


def respond() -> httpx.Response:
    return httpx.Response(429, headers={"set-cookie": "s3cret"}, content=b"slow", request=REQUEST)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_one_of_httpx_too(kind: type[PolvoError]) -> None:
    error = kind("boom", host="api.example.com")
    before = (str(error), repr(error), type(error).__name__, type(error).__module__)
    made: Any = httpx_error(error, REQUEST)
    assert made is error
    assert isinstance(made, kind)
    assert isinstance(made, httpx.RequestError)
    assert all(isinstance(made, each) for each in FITTING.get(kind, ()))
    assert (str(made), repr(made), type(made).__name__, type(made).__module__) == before
    assert made.request is REQUEST
    assert httpx_error(made, REQUEST) is made


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, errors.StatusError)])
def test_an_error_with_the_servers_response_is_a_status_error(kind: type[PolvoError]) -> None:
    made: Any = httpx_error(kind("boom", response=respond()), REQUEST)
    assert isinstance(made, httpx.HTTPStatusError)
    assert made.response.status_code == 429
    assert all(isinstance(made, each) for each in FITTING.get(kind, ()))


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, errors.StatusError)])
def test_an_error_without_a_response_is_no_status_error(kind: type[PolvoError]) -> None:
    assert not isinstance(httpx_error(kind("boom"), REQUEST), httpx.HTTPStatusError)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("response", [None, respond()], ids=["unanswered", "answered"])
def test_pickles_and_copies_keep_both_classes_and_no_secret(kind: type[PolvoError], response: Any) -> None:
    error: Any = httpx_error(kind("boom", response=response, attempts=2, retry_after=3, host="h"), REQUEST)
    assert b"s3cret" not in pickle.dumps(error)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.attempts, twin.retry_after, twin.request) == (str(error), 2, 3, None)
        assert (twin.response is None) == (response is None)


def test_an_error_of_a_user_is_pickled_as_it_says() -> None:
    error: Any = httpx_error(Custom("there"), REQUEST)
    assert b"s3cret" not in pickle.dumps(error)
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin, Custom)
    assert isinstance(twin, httpx.RequestError)
    assert (twin.place, twin.request) == ("there", None)


def test_other_errors_stay_as_they_are() -> None:
    error = httpx.ReadError("gone")
    assert httpx_error(error, REQUEST) is error
    assert type(error) is httpx.ReadError
