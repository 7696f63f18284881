"""Calls, origins, and how policies nest."""

from __future__ import annotations

import pytest

from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.effects import Flow, Proceed, Send, compose, send_once
from polvo_adapters.core.outcomes import (
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    READ_TIMEOUT,
    UNCLASSIFIED,
    Failure,
    Outcome,
    at_deadline,
)
from polvo_adapters.headers import Quota


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/orders?id=1", "https://api.example.com"),
        ("https://API.Example.com:443/", "https://api.example.com"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("http://api.example.com:8080/a/b", "http://api.example.com:8080"),
        ("https://user:secret@api.example.com/", "https://api.example.com"),
        ("http://[::1]:8000/x", "http://[::1]:8000"),
        ("http+unix://%2Fvar%2Frun%2Fdocker.sock/info", "http+unix://%2Fvar%2Frun%2Fdocker.sock"),
        ("https://api.example.com:port/", "https://api.example.com:port"),
        ("", ""),
    ],
)
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected
    assert Call("GET", url).origin == expected


def test_host_has_no_path_and_no_credentials() -> None:
    assert Call("GET", "https://user:secret@api.example.com:8443/bot-token/x?key=1").host == "api.example.com:8443"


@pytest.mark.parametrize("url", ["http://user:s3cret@[bad/x", "http://user:s3cret@h:99999999/x", "user:s3cret@host/x"])
def test_a_url_that_cannot_be_read_shows_no_credentials_either(url: str) -> None:
    assert "s3cret" not in origin(url) + Call("GET", url).host


@pytest.mark.parametrize(
    ("failure", "now", "expected"),
    [
        (READ_TIMEOUT, 5.0, EXPIRED),
        (READ_TIMEOUT, 4.995, EXPIRED),
        (CONNECT_TIMEOUT, 6.0, EXPIRED),
        (READ_TIMEOUT, 4.0, READ_TIMEOUT),
        (DISCONNECTED, 6.0, EXPIRED),
        (DISCONNECTED, 4.0, DISCONNECTED),
        (UNCLASSIFIED, 6.0, UNCLASSIFIED),
    ],
)
def test_what_may_be_cured_by_time_ends_with_the_deadline(failure: Failure, now: float, expected: Failure) -> None:
    assert at_deadline(failure, now, 5.0) is expected
    assert at_deadline(failure, now, None) is failure


class Named:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        self.log.append(f"{self.name} before")
        outcome = yield from proceed(call)
        self.log.append(f"{self.name} after")
        return outcome


def test_policies_nest_the_first_outermost() -> None:
    log: list[str] = []
    flow = compose([Named("outer", log), Named("inner", log)])(Call("GET", "https://api.example.com/"))
    assert type(next(flow)) is Send
    with pytest.raises(StopIteration) as end:
        flow.send(Outcome(status=204))
    assert end.value.value.status == 204
    assert log == ["outer before", "inner before", "inner after", "outer after"]


def test_no_policy_at_all_is_one_attempt() -> None:
    assert compose([]) is send_once


def test_a_call_with_another_deadline_is_else_the_same() -> None:
    call = Call("PUT", "https://api.example.com/", "once", 1.0, 9.0, True, "abc")
    assert call.with_deadline(5.0) == call._replace(deadline=5.0)


def test_an_outcome_with_quotas_is_else_the_same() -> None:
    error = OSError()
    outcome = Outcome("response", 200, {"a": "b"}, error, READ_TIMEOUT, 1.0, 2.0, 3.0, "note", b"body")
    assert outcome.with_quotas([Quota("core")]) == outcome._replace(quotas=[Quota("core")])
