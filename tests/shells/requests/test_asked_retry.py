"""A urllib3 `Retry` means under the adapter what it means without: a table of objects, faults and methods."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter, RetryAdapter
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.retry_budget import RetryBudget
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import PolicyTransport


class Forbidden(Exception):
    """What an SDK raises from within `increment`."""


class ByContent(Retry):
    """Looks at the body of a 403, as that of PyGithub does, and waits as it says there."""

    def increment(self, method: Any = None, url: Any = None, response: Any = None, *args: Any, **keywords: Any) -> Any:
        if response is not None and response.status == 403:
            found = requests.Response()
            found.raw, found.headers = response, requests.structures.CaseInsensitiveDict(response.headers)
            if "quota" not in found.text:
                raise Forbidden(found.text)
            following = super().increment(method, url, response, *args, **keywords)
            following.get_backoff_time = lambda: 0.01  # type: ignore[method-assign]
            return following
        return super().increment(method, url, response, *args, **keywords)

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        return status_code == 403 or super().is_retry(method, status_code, has_retry_after)


class Never(Retry):
    def is_retry(self, *_: Any, **__: Any) -> bool:
        return False


class Counting(Retry):
    """Carries something of its own from attempt to attempt by `new`."""

    def __init__(self, *args: Any, seen: tuple[str, ...] = (), **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.seen = seen

    def new(self, **keywords: Any) -> Any:
        return super().new(seen=(*self.seen, "new"), **keywords)


class Sleeper(Retry):
    slept: list[Any] = []

    def sleep(self, response: Any = None) -> None:
        self.slept.append(None if response is None else response.status)


STATUSES = {"status_forcelist": [503], "backoff_factor": 0}
RETRIES: dict[str, Callable[[], Any]] = {
    "none": lambda: Retry(0, read=False),
    "off": lambda: Retry(False),
    "a number": lambda: 2,
    "total": lambda: Retry(2, **STATUSES),
    "total, returned": lambda: Retry(2, raise_on_status=False, **STATUSES),
    "only status": lambda: Retry(total=None, status=2, raise_on_status=False, **STATUSES),
    "only connect": lambda: Retry(total=None, connect=1, read=0, status=0, other=0),
    "only read": lambda: Retry(total=5, connect=0, read=2, status=0, other=1),
    "no read": lambda: Retry(5, read=False, **STATUSES),
    "no status": lambda: Retry(5, status=0, raise_on_status=False, **STATUSES),
    "every method": lambda: Retry(2, allowed_methods=None, raise_on_status=False, **STATUSES),
    "no Retry-After": lambda: Retry(2, respect_retry_after_header=False, raise_on_status=False, **STATUSES),
    "any status": lambda: Retry(2, raise_on_status=False, status_forcelist=[401, 403, 404, 429]),
    "by content": lambda: ByContent(3, raise_on_status=False, **STATUSES),
    "never": lambda: Never(3, **STATUSES),
    "counting": lambda: Counting(2, raise_on_status=False, **STATUSES),
    "sleeper": lambda: Sleeper(2, raise_on_status=False, **STATUSES),
}
FAULTS = {
    "503": "status?body=busy",
    "503, Retry-After": "status?retry_after=0&body=busy",
    "429, Retry-After": "status?code=429&retry_after=0",
    "429": "status?code=429",
    "500": "status?code=500",
    "404": "status?code=404",
    "403": "status?code=403&body=forbidden",
    "403, quota": "status?code=403&body=quota",
    "reset": "reset?",
    "closed": "eof?",
    "garbage": "garbage?",
}


class Seen(NamedTuple):
    ended: str
    text: str
    received: int
    history: list[tuple[str | None, int | None, str]]


def run(adapter: HTTPAdapter, server: FailureServer, method: str, fault: str, times: int, key: str) -> Seen:
    url = f"{server.url}/fault/{FAULTS[fault]}&times={times}&key={key}"
    with requests.Session() as session:
        session.mount("http://", adapter)
        try:
            response = session.request(method, url, data=b"x", timeout=5)
        except (requests.RequestException, Forbidden) as error:
            cause = error.args[0]
            return Seen(type(error).__name__, type(cause).__name__, server.counters_for(key)["received"], [])
    history = getattr(response.raw.retries, "history", ())
    past = [(each.method, each.status, type(each.error).__name__) for each in history]
    return Seen(str(response.status_code), response.text, server.counters_for(key)["received"], past)


@pytest.fixture(scope="module")
def server() -> Any:
    with FailureServer() as running:
        yield running


CELLS = [
    (name, fault, method, times)
    for name in RETRIES
    for fault in FAULTS
    for method in ("GET", "POST")
    for times in (1, 99)
]


@pytest.mark.usefixtures("frozen")  # the retry budget lets through so many retries within a time
@pytest.mark.parametrize(("name", "fault", "method", "times"), CELLS)
def test_what_it_does_is_what_it_does_alone(
    name: str, fault: str, method: str, times: int, server: FailureServer
) -> None:
    bare = run(HTTPAdapter(max_retries=RETRIES[name]()), server, method, fault, times, f"bare{time.monotonic_ns()}")
    if name in ("none", "off"):  # these ask for no retries, and leave them to the policy
        adapter = ResilientAdapter(retry=False, inner=HTTPAdapter(max_retries=RETRIES[name]()))
    else:
        adapter = ResilientAdapter(inner=HTTPAdapter(max_retries=RETRIES[name]()))
    wrapped = run(adapter, server, method, fault, times, f"wrapped{time.monotonic_ns()}")
    assert _without_ids(wrapped) == _without_ids(bare)


def _without_ids(seen: Seen) -> Seen:
    """Return what was seen without the body of an echo, which tells the key of the request."""
    return seen._replace(text="echo") if seen.text.startswith("{") else seen


PLACES: dict[str, Callable[[Any], HTTPAdapter]] = {
    "found in the wrapped adapter": lambda retry: ResilientAdapter(inner=HTTPAdapter(max_retries=retry)),
    "given to HTTPAdapter's keyword": lambda retry: ResilientAdapter(max_retries=retry),
    "given as retry": lambda retry: ResilientAdapter(retry=retry),
    "given as retry, with a deadline": lambda retry: ResilientAdapter(retry=retry, deadline=30),
    "given to a RetryAdapter": RetryAdapter,
    "found below two adapters": lambda retry: ResilientAdapter(
        inner=PolicyAdapter(Deadline(30), inner=HTTPAdapter(max_retries=retry))
    ),
    "found in an adapter that is wrapped twice": lambda retry: ResilientAdapter(
        inner=ResilientAdapter(inner=HTTPAdapter(max_retries=retry))
    ),
    "assigned after it was made": lambda retry: _assign(ResilientAdapter(), retry),
    "assigned to one that wraps": lambda retry: _assign(ResilientAdapter(inner=HTTPAdapter()), retry),
    "assigned in the place of another": lambda retry: _assign(ResilientAdapter(max_retries=Retry(9)), retry),
    "assigned in the place of a policy": lambda retry: _assign(ResilientAdapter(retry={"max_attempts": 9}), retry),
    "assigned, and copied": lambda retry: _copy_used(_assign(ResilientAdapter(), retry)),
    "pickled": lambda retry: pickle.loads(pickle.dumps(ResilientAdapter(retry=retry))),
}


def _assign(adapter: ResilientAdapter, retry: Any) -> ResilientAdapter:
    adapter.max_retries = retry
    assert adapter.max_retries is retry
    return adapter


def _copy_used(adapter: ResilientAdapter) -> ResilientAdapter:
    with (
        mock.patch.object(HTTPAdapter, "send", side_effect=requests.ConnectionError),
        pytest.raises(requests.RequestException),
    ):
        adapter.send(requests.Request("GET", "http://example.invalid/").prepare())
    return copy.deepcopy(adapter)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["only status", "by content", "counting", "any status"])
def test_it_is_asked_wherever_it_comes_from(place: str, name: str, server: FailureServer) -> None:
    for fault in ("503", "403, quota", "403", "reset"):
        bare = run(HTTPAdapter(max_retries=RETRIES[name]()), server, "GET", fault, 99, f"b{time.monotonic_ns()}")
        adapter = PLACES[place](RETRIES[name]())
        seen = run(adapter, server, "GET", fault, 99, f"w{time.monotonic_ns()}")
        assert _without_ids(seen) == _without_ids(bare)


def test_the_object_on_the_response_is_the_callers_own_kind(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Counting(3, **STATUSES)))
        response = session.get(f"{server.url}/fault/status?times=2&key=kind")
    retries: Any = response.raw.retries
    assert (type(retries), retries.seen, retries.total) == (Counting, ("new", "new"), 1)
    assert [each.status for each in retries.history] == [503, 503]


def test_the_history_of_our_own_retries_is_where_urllib3_has_it(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(retry={"base": 0}))
        response = session.get(f"{server.url}/fault/status?times=1&key=own")
        assert [(each.method, each.status) for each in response.raw.retries.history] == [("GET", 503)]
        assert session.get(f"{server.url}/health").raw.retries.history == ()


@pytest.mark.parametrize("retry", [Retry(3, backoff_factor=7, status_forcelist=[503])])
def test_its_waits_are_on_the_clock_of_the_adapter(retry: Retry, server: FailureServer) -> None:
    clock = VirtualClock()
    adapter = ResilientAdapter(max_retries=retry, clock=clock)
    with requests.Session() as session:
        session.mount("http://", adapter)
        response = session.get(f"{server.url}/fault/status?times=3&key=clock{time.monotonic_ns()}")
    assert [wait.seconds for wait in response.polvo.waits] == [0, 14, 28]  # type: ignore[attr-defined]
    assert response.status_code == 200


def test_an_object_that_sleeps_in_its_own_way_does(server: FailureServer) -> None:
    Sleeper.slept.clear()
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Sleeper(2, **STATUSES)))
        assert session.get(f"{server.url}/fault/status?times=1&key=sleep1").status_code == 200
        assert session.get(f"{server.url}/fault/reset?times=1&key=sleep2").status_code == 200
    assert Sleeper.slept == [503, None]


def test_a_test_that_replaces_the_sleep_does_not_wait(server: FailureServer) -> None:
    with requests.Session() as session, mock.patch("time.sleep") as slept:
        session.mount("http://", ResilientAdapter(max_retries=Retry(2, backoff_factor=100, status_forcelist=[503])))
        assert session.get(f"{server.url}/fault/status?times=2&key=patched").status_code == 200
    assert slept.call_args_list == [mock.call(120.0)]


def test_a_broken_retry_after_is_no_error(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Retry(2, **STATUSES)))
        assert session.get(f"{server.url}/fault/status?retry_after=soon&times=1&key=soon").status_code == 200


def test_a_body_that_can_be_read_once_is_not_sent_twice(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Retry(3, allowed_methods=None, **STATUSES)))
        response = session.post(f"{server.url}/fault/status?times=1&key=once", data=iter([b"a", b"b"]))
    assert (response.status_code, server.counters_for("once")["received"]) == (503, 1)
    assert "can be read only once" in response.polvo.note  # type: ignore[attr-defined]


def test_a_body_that_breaks_off_is_a_read_error(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Retry(3, read=1)))
        assert session.get(f"{server.url}/fault/truncated?times=1&key=cut1").status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.get(f"{server.url}/fault/truncated?times=2&key=cut2")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.post(f"{server.url}/fault/truncated?times=1&key=cut3")
    assert [server.counters_for(key)["received"] for key in ("cut2", "cut3")] == [2, 1]


@pytest.mark.parametrize("retry", [Retry(2, allowed_methods=None), Retry(2, allowed_methods=["POST"])])
def test_a_post_whose_answer_breaks_off_is_not_sent_twice(retry: Retry, server: FailureServer) -> None:
    key = f"broken-post-{len(retry.allowed_methods or ())}"
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=retry))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.post(f"{server.url}/fault/truncated?times=1&key={key}", b"order")
    assert server.counters_for(key)["received"] == 1  # as without the adapter


def test_the_deadline_is_kept(server: FailureServer) -> None:
    clock = VirtualClock()
    retry = Retry(9, status_forcelist=[503], backoff_factor=10)
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=retry, deadline=15, clock=clock))
        response = session.get(f"{server.url}/fault/status?times=9&key=late")
    assert (response.status_code, server.counters_for("late")["received"], clock.now()) == (503, 2, 0)
    assert "would overrun the deadline" in response.polvo.note  # type: ignore[attr-defined]


def test_the_budget_is_kept(server: FailureServer) -> None:
    retry = {"budget": RetryBudget(trust=0, reserve=1, ratio=0)}
    adapter = ResilientAdapter(retry=retry)
    adapter.max_retries = Retry(9, **STATUSES)
    with requests.Session() as session:
        session.mount("http://", adapter)
        response = session.get(f"{server.url}/fault/status?times=9&key=budget")
    assert (response.status_code, server.counters_for("budget")["received"]) == (503, 2)
    assert response.polvo.note == "the retry budget is used up"  # type: ignore[attr-defined]


def test_listeners_hear_of_its_retries(server: FailureServer) -> None:
    heard: list[Any] = []
    adapter = ResilientAdapter(retry={"listeners": [heard.append]})
    adapter.max_retries = Retry(2, **STATUSES)
    with requests.Session() as session:
        session.mount("http://", adapter)
        session.get(f"{server.url}/fault/status?times=1&key=heard")
    assert [str(each).partition(": ")[2] for each in heard] == ["503; attempt 2 in 0.000 s"]


def test_one_object_serves_many_calls_unchanged(server: FailureServer) -> None:
    retry = Counting(1, raise_on_status=False, **STATUSES)
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=retry))
        for number in range(3):
            session.get(f"{server.url}/fault/status?times=9&key=many{number}")
    assert [server.counters_for(f"many{number}")["received"] for number in range(3)] == [2, 2, 2]
    assert (retry.total, retry.history, retry.seen) == (1, (), ())


def test_a_policy_that_was_given_takes_precedence(server: FailureServer) -> None:
    inner = HTTPAdapter(max_retries=Retry(9, **STATUSES))
    with requests.Session() as session:
        session.mount("http://", PolicyAdapter(ExponentialBackoff(max_attempts=2, base=0), inner=inner))
        assert session.get(f"{server.url}/fault/status?times=9&key=given").status_code == 503
    assert server.counters_for("given")["received"] == 2
    assert inner.max_retries.total == 9


def test_code_below_the_adapter_finds_the_callers_settings(server: FailureServer) -> None:
    found: list[Any] = []

    class Reading(HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            found.append((self.max_retries.total, repr(self.max_retries), self.max_retries.new(total=7).total))
            return super().send(*args, **keywords)

    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(inner=Reading(max_retries=Counting(2))))
        session.get(f"{server.url}/health")
    assert found == [(2, repr(Counting(2)), 7)]


def test_what_is_raised_names_the_attempts(server: FailureServer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(max_retries=Retry(2, **STATUSES)))
        with pytest.raises(requests.exceptions.RetryError) as caught:
            session.get(f"{server.url}/fault/status?times=9&key=raised")
    assert isinstance(caught.value.args[0], MaxRetryError)
    assert len(caught.value.polvo.attempts) == 3  # type: ignore[attr-defined]


def test_httpx_gets_the_policy_that_comes_nearest(server: FailureServer) -> None:
    policies = standard(retry=Retry(4, **STATUSES))
    with httpx.Client(transport=PolicyTransport(*policies)) as client:
        assert client.get(f"{server.url}/fault/status?times=4&key=httpx").status_code == 200
    assert server.counters_for("httpx")["received"] == 5


def test_a_session_of_ours_asks_it(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=RETRIES["by content"]())
    with pytest.raises(Forbidden):
        session.get("/fault/status?code=403&body=forbidden&times=9&key=ours")
    assert server.counters_for("ours")["received"] == 1
