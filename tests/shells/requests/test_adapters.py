"""Mounted adapters: what the code around them sees, and how they go in and out of a session."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import multiprocessing
import os
import pickle
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3.util import Retry

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter, RateLimitAdapter, ResilientAdapter, RetryAdapter
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import PolicyTransport

FAST = {"base": 0.001}


def mounted(adapter: requests.adapters.BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.mount("http://", adapter)
    return session


@pytest.fixture
def session() -> requests.Session:
    return mounted(ResilientAdapter(retry=FAST))


def failing(server: FailureServer, kind: str = "status", times: int = 2, **query: Any) -> str:
    extra = "".join(f"&{name}={value}" for name, value in query.items())
    return f"{server.url}/fault/{kind}?times={times}{extra}"


def test_a_flaky_server_is_survived_and_the_response_shows_how(
    session: requests.Session, server: FailureServer
) -> None:
    response = session.get(failing(server))
    report = response.polvo
    assert response.status_code == 200
    assert [attempt.status for attempt in report.attempts] == [503, 503, 200]
    assert [wait.reason for wait in report.waits] == ["503", "503"]
    assert report.host == server.url.partition("://")[2]


def test_the_last_response_is_returned_when_all_attempts_fail(session: requests.Session, server: FailureServer) -> None:
    response = session.get(failing(server, times=9, body="sorry"))
    assert (response.status_code, response.text) == (503, "sorry")
    assert response.polvo.note == "gave up after 3 attempts"


def test_the_original_exception_is_raised_with_a_note_and_a_report(
    session: requests.Session, server: FailureServer
) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(failing(server, "reset", times=9))
    error: Any = caught.value
    assert type(error) is requests.ConnectionError
    assert len(error.polvo.attempts) == 3
    (note,) = error.__notes__
    assert f"; {error.polvo.summary()}; call again later" in note
    assert error.request.method == "GET"


def test_an_exception_keeps_its_arguments_beside_the_note(server: FailureServer) -> None:
    texts = []
    for session in (requests.Session(), mounted(RetryAdapter(max_attempts=1))):
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(failing(server, "reset"))
        texts.append(repr(caught.value.args))
    assert texts[0] == texts[1]
    (note,) = caught.value.__notes__
    assert note.startswith(f"polvo: GET {server.url[7:]}/")
    assert "the server closed the connection without an answer; 1 attempt in " in note


def test_a_traceback_shows_one_frame_of_ours(session: requests.Session, server: FailureServer) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(failing(server, "reset", times=9))
    ours = [entry for entry in caught.traceback if "polvo_adapters" in str(entry.path)]
    assert [entry.name for entry in ours] == ["send"]


def test_response_connection_is_the_adapter_that_was_mounted(server: FailureServer) -> None:
    adapter = ResilientAdapter(inner=RetryAdapter(inner=HTTPAdapter()))
    response = mounted(adapter).get(server.url + "/echo")
    assert response.connection is adapter


def test_a_replay_after_401_passes_the_policies(server: FailureServer) -> None:
    adapter = ResilientAdapter(retry=FAST)
    challenge = 'header=WWW-Authenticate:%20Digest%20realm="r",nonce="n",qop="auth"'
    url = f"{server.url}/fault/status?code=401&times=1&{challenge}"
    sent: list[requests.PreparedRequest] = []
    send = adapter.send
    adapter.send = lambda request, **keywords: (sent.append(request), send(request, **keywords))[1]
    response = mounted(adapter).get(url, auth=HTTPDigestAuth("user", "pass"))
    assert (response.status_code, len(sent)) == (200, 2)
    assert sent[1].headers["Authorization"].startswith("Digest ")


def test_waits_are_not_hidden_in_elapsed(server: FailureServer) -> None:
    clock = VirtualClock()
    session = mounted(ResilientAdapter(clock=clock))
    response = session.get(failing(server, retry_after=30))
    assert response.elapsed == timedelta(0)  # the virtual clock stands still during an attempt
    assert response.polvo.waited >= 60
    assert clock.now() >= 60


def test_elapsed_can_still_be_set(session: requests.Session, server: FailureServer) -> None:
    response = session.get(server.url + "/echo")
    assert response.elapsed > timedelta(0)
    response.elapsed = timedelta(seconds=7)
    assert response.elapsed == timedelta(seconds=7)


def test_a_response_pickles_with_its_report(session: requests.Session, server: FailureServer) -> None:
    response = session.get(failing(server))
    copied = pickle.loads(pickle.dumps(response))
    assert (copied.content, copied.elapsed) == (response.content, response.elapsed)
    assert str(copied.polvo) == str(response.polvo)


def test_every_adapter_is_an_http_adapter_that_needs_no_arguments() -> None:
    for kind in (PolicyAdapter, RateLimitAdapter, ResilientAdapter, RetryAdapter):
        assert isinstance(kind(), HTTPAdapter)


def test_pool_settings_are_those_of_http_adapter() -> None:
    adapter = ResilientAdapter(pool_connections=3, pool_maxsize=7, pool_block=True)
    assert (adapter._pool_connections, adapter._pool_maxsize, adapter._pool_block) == (3, 7, True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolicyAdapter(retries=3), "retries"),
        (lambda: ResilientAdapter(retries=3), "retries"),
        (lambda: RetryAdapter(attempts=3), "attempts"),
        (lambda: PolicyAdapter("retry"), "PolicyAdapter: 'retry' is not a policy"),
        (
            lambda: PolicyAdapter(inner=HTTPAdapter(), pool_maxsize=3),
            "pool_maxsize belong to the adapter given as inner",
        ),
        (lambda: RetryAdapter(ExponentialBackoff(), base=3), "base beside a policy"),
        (lambda: RetryAdapter("3"), "retry='3': expected"),
        (lambda: ResilientAdapter(retry=3), "retry=3: expected"),
        (lambda: ResilientAdapter(retry={"attempts": 3}), "attempts"),
        (lambda: RateLimitAdapter(TokenBucket(3), max_wait=3), "max_wait beside a policy; give one or the other"),
        (lambda: RateLimitAdapter(rate=3), "rate"),
        (
            lambda: RateLimitAdapter("fast"),
            r"rate_limit='fast': expected 'adaptive', AdaptiveRateLimit\(\.\.\.\), TokenBucket",
        ),
        (lambda: ResilientAdapter(rate_limit=3), "rate_limit=3: expected"),
        (lambda: ResilientAdapter(rate_limit={"rate": 3}), "rate"),
    ],
)
def test_unknown_keywords_and_things_are_type_errors(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "policy"),
    [
        (lambda: RateLimitAdapter(), AdaptiveRateLimit()),
        (lambda: RateLimitAdapter("adaptive"), AdaptiveRateLimit()),
        (lambda: RateLimitAdapter({"pace": "burst"}), AdaptiveRateLimit("burst")),
        (lambda: RateLimitAdapter(pace="burst", max_wait=7), AdaptiveRateLimit("burst", 7)),
        (lambda: RateLimitAdapter("adaptive", max_wait=7), AdaptiveRateLimit(max_wait=7)),
        (lambda: RateLimitAdapter(TokenBucket(3)), TokenBucket(3)),
        (lambda: RateLimitAdapter(SlidingWindow(3, 4)), SlidingWindow(3, 4)),
        (lambda: RateLimitAdapter(max_wait=7, pool_maxsize=3, timeout=5), AdaptiveRateLimit(max_wait=7)),
    ],
)
def test_a_rate_limit_is_a_policy_or_its_keywords(make: Any, policy: Any) -> None:
    assert make().policies == (policy,)


def test_keywords_that_are_not_the_policy_s_are_the_adapter_s() -> None:
    adapter = RateLimitAdapter(max_wait=7, pool_maxsize=3, timeout=5)
    assert (adapter._pool_maxsize, adapter.timeout) == (3, 5)


@pytest.mark.parametrize("transport", [False, True])
def test_a_store_and_a_clock_that_are_set_later_are_used(transport: bool, server: FailureServer) -> None:
    store, clock = MemoryStore(), VirtualClock()
    adapter: Any = PolicyTransport(TokenBucket(5)) if transport else PolicyAdapter(TokenBucket(5))
    adapter.store, adapter.clock = store, clock
    if transport:
        with httpx.Client(transport=adapter) as client:
            response: Any = client.get(server.url + "/echo")
            report = response.extensions["polvo"]
    else:
        report = mounted(adapter).get(server.url + "/echo").polvo
    assert len(store) == 1
    assert report.elapsed == 0.0


def test_a_rate_limit_lies_inside_retries_and_deadline() -> None:
    adapter = ResilientAdapter(deadline=5, rate_limit="adaptive")
    assert [type(policy) for policy in adapter.policies] == [Deadline, ExponentialBackoff, AdaptiveRateLimit]


def test_install_takes_a_rate_limit_and_counts_all_that_is_wrapped_together(server: FailureServer) -> None:
    clock = VirtualClock()
    session = polvo.install(requests.Session(), rate_limit=TokenBucket(0.1), clock=clock)
    polvo.install(session, prefix=server.url, rate_limit=TokenBucket(0.1), clock=clock)
    assert [session.get(server.url + "/echo").polvo.queued for _ in range(2)] == [0, 10]


def test_a_wrong_deadline_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"Deadline\(seconds=-1\)"):
        ResilientAdapter(deadline=-1)


@pytest.mark.parametrize("inner", [None, HTTPAdapter()])
def test_adapters_pickle(inner: Any, server: FailureServer) -> None:
    adapter = ResilientAdapter(retry=FAST, deadline=20, timeout=5, inner=inner)
    adapter.send(requests.Request("GET", server.url + "/echo").prepare())
    for copied in (pickle.loads(pickle.dumps(adapter)), copy.deepcopy(adapter)):
        assert copied.policies == adapter.policies
        assert copied.timeout == 5
        assert type(copied.inner) is type(inner)
        assert mounted(copied).get(failing(server, key=id(copied))).status_code == 200


def test_sessions_with_adapters_pickle(session: requests.Session, server: FailureServer) -> None:
    copied = pickle.loads(pickle.dumps(session))
    assert copied.get(failing(server)).status_code == 200


def test_wrapped_attributes_are_found() -> None:
    inner = HTTPAdapter(pool_maxsize=3)
    adapter = ResilientAdapter(inner=inner)
    assert adapter.poolmanager is inner.poolmanager
    with pytest.raises(AttributeError, match="nothing_like_that"):
        adapter.nothing_like_that  # noqa: B018


def test_closing_closes_the_wrapped_adapter() -> None:
    class Closing(HTTPAdapter):
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

    inner = Closing()
    mounted(ResilientAdapter(inner=inner)).close()
    assert inner.closed
    ResilientAdapter().close()


# Timeouts ------------------------------------------------------------------------------------------------------------


class Recording(HTTPAdapter):
    """Keeps the keywords that it was sent with."""

    def send(self, request: Any, **keywords: Any) -> requests.Response:
        self.keywords = keywords
        return super().send(request, **keywords)


@pytest.mark.parametrize(("given", "expected"), [(5, 5), ((1, 2), (1, 2)), ((None, 2), (None, 2)), (0.5, 0.5)])
def test_a_timeout_that_the_caller_names_is_left_alone(given: Any, expected: Any, server: FailureServer) -> None:
    inner = Recording()
    mounted(ResilientAdapter(inner=inner)).get(server.url + "/echo", timeout=given)
    assert inner.keywords["timeout"] == expected


def test_policy_adapters_supply_no_timeout_by_default(server: FailureServer) -> None:
    inner = Recording()
    mounted(PolicyAdapter(inner=inner)).get(server.url + "/echo")
    assert inner.keywords["timeout"] is None
    mounted(PolicyAdapter(inner=inner, timeout=3)).get(server.url + "/echo")
    assert inner.keywords["timeout"] == 3


def test_the_wrapped_adapter_is_called_as_requests_calls_it(server: FailureServer) -> None:
    inner = Recording()
    mounted(ResilientAdapter(inner=inner)).get(server.url + "/echo", stream=True).close()
    assert set(inner.keywords) == {"stream", "timeout", "verify", "cert", "proxies"}


# Bodies --------------------------------------------------------------------------------------------------------------


class Unnamed:
    """A file without iteration, as upload encoders are."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class Seekable(Unnamed):
    def seek(self, position: int, whence: int = 0) -> None:
        self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def started_file() -> io.BytesIO:
    file = io.BytesIO(b"skipped" + b"x" * 3000)
    file.seek(7)
    return file


@pytest.mark.parametrize(
    "body", [lambda: b"x" * 3000, lambda: "x" * 3000, lambda: started_file(), lambda: Seekable(b"x" * 3000)]
)
def test_bodies_are_sent_whole_every_time(body: Any, session: requests.Session, server: FailureServer) -> None:
    assert session.put(failing(server, key="k"), data=body()).status_code == 200
    assert [record.body_length for record in server.requests] == [3000, 3000, 3000]


@pytest.mark.parametrize("body", [lambda: (b"x" * 1000 for _ in range(3)), lambda: Unnamed(b"x" * 3000)])
@pytest.mark.parametrize("kind", ["status", "reset", "truncated"])
def test_a_one_shot_body_is_never_sent_twice(
    body: Any, kind: str, session: requests.Session, server: FailureServer
) -> None:
    ended = ending(lambda: session.put(failing(server, kind), data=body()))
    bare = ending(lambda: requests.put(failing(server, kind), data=body()))
    assert ended == bare
    assert [record.body_length for record in server.requests] == [3000, 3000]


def ending(call: Callable[[], requests.Response]) -> str:
    """Return the status, or the class of the exception."""
    try:
        return str(call().status_code)
    except requests.RequestException as error:
        return type(error).__name__


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_that_refuses_to_rewind_leaves_the_answer(
    stream: bool, session: requests.Session, server: FailureServer
) -> None:
    class Stuck(Seekable):
        def seek(self, position: int, whence: int = 0) -> None:
            if len(server.requests) > 0:
                raise OSError("stuck")
            super().seek(position, whence)

    response = session.put(failing(server, body="busy"), data=Stuck(b"x" * 3000), stream=stream)
    assert (response.status_code, response.text) == (503, "busy")
    assert "could not be rewound" in response.polvo.note  # type: ignore[attr-defined]
    assert len(server.requests) == 1


# Deadlines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hang", "drip", "slow-headers"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_every_way_of_being_slow(kind: str, stream: bool, server: FailureServer) -> None:
    session = mounted(ResilientAdapter(deadline=0.3))
    with pytest.raises(polvo.DeadlineExceeded) as caught:
        session.get(failing(server, kind, size=500, interval=0.05), stream=stream).content  # noqa: B018
    assert isinstance(caught.value, requests.Timeout)
    assert server.url.partition("://")[2] in str(caught.value)


def test_a_deadline_holds_for_a_connection_made_before_it_was_mounted(server: FailureServer) -> None:
    session = requests.Session()
    session.get(server.url + "/echo")
    polvo.install(session, deadline=0.3)
    with pytest.raises(polvo.DeadlineExceeded):
        session.get(failing(server, "drip", size=500, interval=0.05))


def test_a_deadline_does_not_outlive_its_call(server: FailureServer) -> None:
    adapter = HTTPAdapter()
    with pytest.raises(polvo.DeadlineExceeded):
        mounted(PolicyAdapter(Deadline(0.2), inner=adapter)).get(failing(server, "hang"))
    response = mounted(adapter).get(failing(server, "drip", key="d", size=6, interval=0.05))
    assert len(response.content) == 6


def test_a_call_within_its_deadline_is_left_alone(server: FailureServer) -> None:
    session = mounted(ResilientAdapter(deadline=30))
    for _ in range(3):
        assert session.get(server.url + "/echo?size=100000").content == b"x" * 100_000
    assert server.open_connections == 1


def test_retry_after_beyond_the_deadline_ends_the_call_with_the_response(server: FailureServer) -> None:
    session = mounted(ResilientAdapter(deadline=5))
    response = session.get(failing(server, retry_after=3600, body="busy"))
    assert (response.status_code, response.text) == (503, "busy")
    assert "before the deadline" in response.polvo.note  # type: ignore[attr-defined]
    assert len(server.requests) == 1


@pytest.fixture
def secure(tmp_path: Any) -> Any:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with FailureServer(ssl_context=context) as server:
        server.ca = str(tmp_path / "ca.pem")
        yield server


@pytest.mark.parametrize("kind", ["hang", "drip", "slow-headers"])
def test_a_deadline_holds_under_tls(kind: str, secure: Any) -> None:
    with requests.Session() as session:
        session.mount("https://", ResilientAdapter(deadline=0.5))
        with pytest.raises(polvo.DeadlineExceeded):
            session.get(failing(secure, kind, size=500, interval=0.05), verify=secure.ca)


@pytest.mark.parametrize("kind", ["status", "reset", "eof", "truncated", "cut-headers", "cut-chunk"])
def test_a_flaky_server_is_survived_under_tls(kind: str, secure: Any) -> None:
    with requests.Session() as session:
        session.mount("https://", ResilientAdapter(retry=FAST))
        assert session.get(failing(secure, kind), verify=secure.ca).json()["method"] == "GET"


def test_a_certificate_that_does_not_hold_is_not_tried_again(secure: Any) -> None:
    with requests.Session() as session:
        session.mount("https://", ResilientAdapter(retry=FAST))
        with pytest.raises(requests.exceptions.SSLError) as caught:
            session.get(secure.url + "/echo")
    assert len(caught.value.polvo.attempts) == 1


# Retries do not multiply ---------------------------------------------------------------------------------------------


def test_an_inner_retry_is_asked_by_default(server: FailureServer) -> None:
    inner = HTTPAdapter(max_retries=Retry(4, status_forcelist=[500], backoff_factor=0.001, raise_on_status=False))
    session = mounted(ResilientAdapter(inner=inner))
    assert session.get(failing(server, times=99, code=500)).status_code == 500
    assert len(server.requests) == 5
    assert inner.max_retries.total == 4


def test_an_inner_retry_is_left_out_where_the_policy_is_given(server: FailureServer) -> None:
    inner = HTTPAdapter(max_retries=Retry(4, status_forcelist=[503], backoff_factor=0.001))
    session = mounted(ResilientAdapter(retry={"max_attempts": 2, **FAST}, inner=inner))
    assert session.get(failing(server, times=99)).status_code == 503
    assert len(server.requests) == 2


def test_an_inner_retry_stays_where_ours_is_switched_off(server: FailureServer) -> None:
    retry = Retry(4, status_forcelist=[503], backoff_factor=0.001, raise_on_status=False)
    session = mounted(ResilientAdapter(retry=False, inner=HTTPAdapter(max_retries=retry)))
    session.get(failing(server, times=99))
    assert len(server.requests) == 5


def test_code_that_expects_the_retry_error_of_its_retry_gets_it(server: FailureServer) -> None:
    inner = HTTPAdapter(max_retries=Retry(2, status_forcelist=[503], backoff_factor=0.001))
    with pytest.raises(requests.exceptions.RetryError) as caught:
        mounted(ResilientAdapter(inner=inner)).get(failing(server, times=99, body="busy"))
    assert not isinstance(caught.value, polvo.PolvoError)
    assert len(caught.value.polvo.attempts) == len(server.requests) == 3  # type: ignore[attr-defined]


def test_max_retries_as_http_adapter_takes_it(server: FailureServer) -> None:
    retry = Retry(3, status_forcelist=[503], backoff_factor=0.001, raise_on_status=False)
    mounted(ResilientAdapter(max_retries=retry)).get(failing(server, times=99))
    assert len(server.requests) == 4
    mounted(RetryAdapter(retry)).get(failing(server, times=99, key="k"))
    assert server.counters_for("k")["received"] == 4


def test_stacked_retry_adapters_do_not_multiply(server: FailureServer) -> None:
    inner = RetryAdapter(max_attempts=4, **FAST)
    outer = ResilientAdapter(retry={"max_attempts": 2, **FAST}, inner=RetryAdapter(inner=inner, **FAST))
    mounted(outer).get(failing(server, times=99))
    assert len(server.requests) == 2
    mounted(inner).get(failing(server, times=99, key="alone"))
    assert server.counters_for("alone")["received"] == 4


def test_a_retry_of_an_adapter_of_ours_that_has_no_policy_does_not_multiply(server: FailureServer) -> None:
    retry = Retry(2, status_forcelist=[503], backoff_factor=0.001, raise_on_status=False)
    inner = PolicyAdapter(max_retries=retry)
    mounted(ResilientAdapter(inner=inner)).get(failing(server, times=99))
    assert len(server.requests) == 3
    mounted(inner).get(failing(server, times=99, key="alone"))
    assert server.counters_for("alone")["received"] == 3


# Install and uninstall -----------------------------------------------------------------------------------------------


def test_install_wraps_what_is_mounted_and_uninstall_gives_it_back() -> None:
    session = requests.Session()
    special = HTTPAdapter(pool_maxsize=3)
    session.mount("https://api.example.com/", special)
    before = dict(session.adapters)
    assert polvo.install(session) is session
    assert list(session.adapters) == list(before)
    assert all(isinstance(adapter, ResilientAdapter) for adapter in session.adapters.values())
    assert session.adapters["https://api.example.com/"].inner is special
    polvo.uninstall(session)
    assert list(session.adapters.items()) == list(before.items())


def test_install_at_a_prefix_wraps_what_serves_it_and_nothing_else() -> None:
    session = requests.Session()
    before = dict(session.adapters)
    polvo.install(session, prefix="https://api.example.com/")
    wrapped: Any = session.get_adapter("https://api.example.com/orders")
    assert wrapped.inner is before["https://"]
    assert session.get_adapter("https://other.example.com/") is before["https://"]
    polvo.uninstall(session)
    assert list(session.adapters.items()) == list(before.items())


def test_installing_again_replaces(server: FailureServer) -> None:
    session = requests.Session()
    before = dict(session.adapters)
    polvo.install(session, retry={"max_attempts": 9, **FAST})
    polvo.install(session, retry={"max_attempts": 2, **FAST})
    session.get(failing(server, times=99))
    assert len(server.requests) == 2
    polvo.uninstall(session)
    assert list(session.adapters.items()) == list(before.items())


def test_installing_again_at_a_prefix_replaces_and_comes_out_again() -> None:
    session = requests.Session()
    before = dict(session.adapters)
    for _ in range(2):
        polvo.install(session, prefix="https://api.example.com/")
    polvo.install(session)
    polvo.uninstall(session)
    assert list(session.adapters.items()) == list(before.items())


def test_install_takes_policies() -> None:
    session = polvo.install(requests.Session(), Deadline(5), timeout=3)
    adapter: Any = session.get_adapter("https://api.example.com/")
    assert (adapter.policies, adapter.timeout) == ((Deadline(5),), 3)


def test_install_shares_one_store() -> None:
    session = polvo.install(requests.Session())
    assert len({id(adapter.store) for adapter in session.adapters.values()}) == 1
    store = MemoryStore()
    polvo.install(session, store=store)
    assert {adapter.store for adapter in session.adapters.values()} == {store}


def test_uninstall_leaves_alone_what_the_user_mounted() -> None:
    mine = ResilientAdapter()
    session = mounted(mine)
    polvo.uninstall(session)
    assert session.get_adapter("http://api.example.com/") is mine


def test_a_failing_install_changes_nothing() -> None:
    session = requests.Session()
    before = dict(session.adapters)
    with pytest.raises(TypeError):
        polvo.install(session, nonsense=1)
    with pytest.raises(requests.exceptions.InvalidSchema):
        polvo.install(session, prefix="ftp://example.com/")
    assert dict(session.adapters) == before


def test_uninstall_leaves_no_trace_in_the_pools(server: FailureServer) -> None:
    session = polvo.install(requests.Session(), deadline=10)
    session.get(server.url + "/echo")
    polvo.uninstall(session)
    manager: Any = session.get_adapter(server.url).poolmanager
    assert all("_get_conn" not in vars(manager.pools[key]) for key in manager.pools.keys())  # noqa: SIM118
    assert session.get(server.url + "/echo").status_code == 200


def test_an_adapter_that_is_no_http_adapter_is_wrapped_too(caplog: pytest.LogCaptureFixture) -> None:
    class Canned(requests.adapters.BaseAdapter):
        calls = 0

        def send(self, request: Any, **keywords: Any) -> requests.Response:
            self.calls += 1
            response = requests.Response()
            response.status_code, response.request, response.url = 503 if self.calls < 3 else 200, request, request.url
            response.raw = io.BytesIO(b"canned")
            return response

        def close(self) -> None:
            """Nothing to close."""

    session = requests.Session()
    session.mount("canned://", Canned())
    for _ in range(2):  # said once
        polvo.install(session, retry=FAST, deadline=10)
    (message,) = caplog.messages
    assert re.match(".*Canned gets a deadline as its timeout only", message)
    response = session.get("canned://anything")
    assert (response.text, len(response.polvo.attempts)) == ("canned", 3)


def test_an_adapter_with_sockets_of_its_own_that_overruns_the_deadline_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OwnSockets(HTTPAdapter):
        def send(self, request: Any, **keywords: Any) -> requests.Response:
            clock.advance(3.0)
            response = requests.Response()
            response.status_code, response.request, response.url = 200, request, request.url
            return response

    clock = VirtualClock()
    session = requests.Session()
    session.mount("http://", ResilientAdapter(inner=OwnSockets(), deadline=2.0, clock=clock))
    for _ in range(2):
        assert session.get("http://api.example.com/").status_code == 200
    assert len(caplog.messages) == 1
    assert re.match("a call took 1.000 s longer than its deadline in .*OwnSockets, which", caplog.messages[0])


# Streams, connections, threads and fork ------------------------------------------------------------------------------


def test_a_stream_is_handed_over_unread(session: requests.Session, server: FailureServer) -> None:
    with session.get(failing(server, "status", times=1), stream=True) as response:
        assert not response._content_consumed
        assert response.raw.read(1) == b"{"


def test_given_up_responses_hold_no_connection(server: FailureServer) -> None:
    session = mounted(ResilientAdapter(retry=FAST, pool_maxsize=1, pool_block=True))
    for number in range(5):
        with session.get(failing(server, key=number), stream=True) as response:
            assert response.status_code == 200
    assert server.open_connections <= 1


def test_an_error_with_a_streamed_response_holds_no_connection(server: FailureServer) -> None:
    session = mounted(ResilientAdapter({"raise_on_status": True, "base": 0}, pool_maxsize=1, pool_block=True))
    for number in range(3):
        with pytest.raises(polvo.RetriesExhaustedError):
            session.get(failing(server, key=number, times=9), stream=True)


def test_a_streamed_body_that_breaks_off_is_the_callers(session: requests.Session, server: FailureServer) -> None:
    response = session.get(failing(server, "truncated"), stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        response.content  # noqa: B018
    assert len(server.requests) == 1


def test_many_threads_share_an_adapter(server: FailureServer) -> None:
    session = mounted(ResilientAdapter(retry=FAST, pool_maxsize=8))
    statuses: list[int] = []

    def work(number: int) -> None:
        statuses.extend(session.get(failing(server, times=1, key=f"{number}-{i}")).status_code for i in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
    assert len(server.requests) == 160


def _get_in_child(adapter: ResilientAdapter, url: str, results: Any) -> None:
    response = mounted(adapter).get(url)
    results.put((response.status_code, os.getpid()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("inner", [False, True])
def test_a_forked_child_uses_connections_of_its_own(inner: bool, server: FailureServer) -> None:
    adapter = ResilientAdapter(retry=FAST, inner=HTTPAdapter() if inner else None)
    assert mounted(adapter).get(server.url + "/echo").status_code == 200
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [
        context.Process(target=_get_in_child, args=(adapter, failing(server, key=number), results))
        for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [results.get()[0] for _ in children] == [200, 200, 200]
    assert mounted(adapter).get(server.url + "/echo").status_code == 200
    assert server.open_connections == 1  # the parent's, still the same


OWN, WRAPPING, BARE = (
    lambda: ResilientAdapter(retry=FAST),
    lambda: ResilientAdapter(retry=FAST, inner=HTTPAdapter()),
    lambda: PolicyAdapter(),  # what it raises of the other faults, urllib3 itself ties to the pool
)


@pytest.mark.parametrize(
    ("fault", "make"),
    [
        *(
            (fault, make)
            for fault in ("reset", "hang", "truncated", "broken-gzip", "status")
            for make in (OWN, WRAPPING)
        ),
        *((fault, BARE) for fault in ("broken-gzip", "status")),
    ],
)
def test_closing_a_session_closes_its_connections_without_help_of_the_collector(
    fault: str, make: Any, server: FailureServer
) -> None:
    gc.collect()
    gc.disable()
    try:
        with mounted(make()) as session:
            with contextlib.suppress(requests.RequestException):
                session.get(failing(server, fault, times=1), timeout=0.2)
            session.get(server.url + "/echo")
        for _ in range(200):
            if server.open_connections == 0:
                break
            time.sleep(0.05)
        assert server.open_connections == 0
    finally:
        gc.enable()


def test_a_response_has_no_public_name_that_requests_does_not_have(
    session: requests.Session, server: FailureServer
) -> None:
    """A `read` among them, say, would make it look like a file to other libraries."""
    ours, theirs = session.get(server.url + "/echo"), requests.get(server.url + "/echo")
    public = {name for name in dir(ours) if not name.startswith("_")}
    assert public - set(dir(theirs)) == {"polvo"}


def test_a_length_that_cannot_be_true_costs_no_memory(server: FailureServer) -> None:
    session = mounted(ResilientAdapter(deadline=0.3))
    with pytest.raises(polvo.DeadlineExceeded):
        session.get(failing(server, "drip", size=1 << 40, interval=0.05))


def test_an_interrupted_wait_leaves_nothing_behind(server: FailureServer) -> None:
    class Interrupting(VirtualClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    adapter = ResilientAdapter(clock=Interrupting(), pool_maxsize=1, pool_block=True)
    with pytest.raises(KeyboardInterrupt):
        mounted(adapter).get(failing(server), stream=True)
    assert mounted(adapter).get(server.url + "/echo").status_code == 200


def test_requests_through_a_proxy_are_retried_and_whole(server: FailureServer) -> None:
    """The failure server answers absolute targets, as a proxy would."""
    proxies = {"http": server.url}
    session = mounted(ResilientAdapter(retry=FAST))
    url = "http://api.example.com/fault/cut-headers?times=1"
    assert session.get(url, proxies=proxies).json()["method"] == "GET"
    unreachable = {"http": "http://127.0.0.1:1"}
    with pytest.raises(requests.exceptions.ProxyError) as caught:
        session.post("http://api.example.com/", data=b"x", proxies=unreachable)
    assert len(caught.value.polvo.attempts) == 3


def test_the_broken_body_of_a_redirect_is_forgiven_as_requests_forgives_it() -> None:
    replies = [
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthere",
    ]
    paths = []

    def serve(listener: socket.socket) -> None:
        for reply in replies:
            with listener.accept()[0] as connection:
                paths.append(connection.recv(65536).split()[1])
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with mounted(ResilientAdapter(retry=FAST)) as session:
            response = session.get(f"http://127.0.0.1:{listener.getsockname()[1]}/here", timeout=10)
        thread.join()
    assert (response.text, paths) == ("there", [b"/here", b"/there"])
