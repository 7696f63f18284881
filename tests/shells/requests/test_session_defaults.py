"""What `polvo.Session()` and the verbs have without being asked, and what code that exists keeps."""

from __future__ import annotations

import contextvars
import math
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util import Retry, Timeout

import polvo_adapters as polvo
import polvo_adapters.requests as drop_in
from polvo_adapters.policies import defaults
from polvo_adapters.policies.defaults import DefaultDeadline
from polvo_adapters.shells.requests import api
from polvo_adapters.testing import FailureServer, VirtualClock
from tests.support.leaping_clock import Leap
from tests.support.listening_server import Asked, Listening, Reply

DEAD = "http://127.0.0.1:9/x"
DRIP = "/fault/drip?size=12&interval=0.05"  # takes 0.6 s
QUICK = "/fault/drip?size=12&interval=0.005"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a default deadline of a minute be 0.3 s, which is shorter than a dripping body."""
    seconds = DefaultDeadline.seconds
    monkeypatch.setattr(DefaultDeadline, "seconds", lambda *given: seconds(*given) and seconds(*given) / 200)


def fails(get: Callable[[str], Any]) -> list[str]:
    """Return how each of 12 calls to a dead host ends."""
    ends = []
    for _ in range(12):
        with pytest.raises(requests.RequestException) as caught:
            get(DEAD)
        ends.append(type(caught.value).__name__)
    return ends


def test_a_dead_host_is_left_alone_after_ten_calls() -> None:
    clock = VirtualClock()
    with polvo.Session(clock=clock) as session:
        assert fails(session.get) == ["ConnectionError"] * 10 + ["CircuitOpenError"] * 2
        assert session.circuit(DEAD).status.state == "open"


@pytest.mark.parametrize("off", [None, False])
def test_a_session_without_a_breaker(off: Any) -> None:
    with polvo.Session(circuit_breaker=off, clock=VirtualClock()) as session:
        assert fails(session.get) == ["ConnectionError"] * 12


@pytest.mark.parametrize("way", ["mounted", "installed", "drop-in"])
def test_code_that_exists_gets_no_error_of_ours(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    session: Any = requests.Session()
    if way == "mounted":
        session.mount("http://", polvo.ResilientAdapter(clock=VirtualClock()))
    elif way == "installed":
        polvo.install(session, clock=VirtualClock())
    else:
        session = drop_in.Session()
    assert fails(session.get) == ["ConnectionError"] * 12


def test_five_failures_in_a_row_open_nothing() -> None:
    with polvo.Session(clock=VirtualClock()) as session:
        for _ in range(9):
            with pytest.raises(requests.ConnectionError):
                session.get(DEAD)
        assert session.circuit(DEAD).status.state == "closed"


def test_the_first_opening_is_short_and_grows() -> None:
    clock, opened = VirtualClock(), []
    with polvo.Session(retry=False, clock=clock) as session:
        for _ in range(10):
            with pytest.raises(requests.ConnectionError):
                session.get(DEAD)
        for _ in range(6):
            seconds = session.circuit(DEAD).status.retry_after or 0.0
            opened.append(seconds)
            clock.advance(seconds + 0.001)
            with pytest.raises(requests.ConnectionError):
                session.get(DEAD)  # the probe
    assert 4 <= opened[0] <= 6
    assert opened[:4] == sorted(set(opened[:4]))
    assert max(opened) <= 75


def test_the_call_that_opens_a_circuit_has_its_own_end(server: FailureServer) -> None:
    """Also where the circuit opens between two of its attempts."""
    breaker = {"failure_threshold": 1}
    with polvo.Session(server.url, circuit_breaker=breaker, clock=VirtualClock()) as session:
        response = session.put("fault/status?code=503", data="x")
        assert (response.status_code, len(response.polvo.attempts)) == (503, 1)  # type: ignore[attr-defined]
    with polvo.Session(circuit_breaker=breaker, clock=VirtualClock()) as session:
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(DEAD)
        assert not isinstance(caught.value, polvo.CircuitOpenError)


@pytest.mark.usefixtures("impatient")
class TestDeadline:
    def test_a_dripping_body_ends(self, server: FailureServer) -> None:
        with polvo.Session(server.url) as session, pytest.raises(polvo.DeadlineExceeded):
            session.get(DRIP)

    def test_a_dripping_body_of_a_verb_ends(self, server: FailureServer) -> None:
        with pytest.raises(polvo.DeadlineExceeded):
            polvo.get(server.url + DRIP)

    @pytest.mark.parametrize("deadline", [None, 60])
    def test_it_is_switched_off(self, server: FailureServer, deadline: float | None) -> None:
        with polvo.Session(server.url, deadline=deadline) as session:
            assert len(session.get(DRIP).content) == 12

    @pytest.mark.parametrize("timeout", [None, 1000, (30, 1000)])
    def test_a_call_with_a_longer_timeout_has_more_time(self, server: FailureServer, timeout: Any) -> None:
        with polvo.Session(server.url) as session:
            assert len(session.get(DRIP, timeout=timeout).content) == 12

    @pytest.mark.parametrize("way", ["mounted", "installed", "drop-in"])
    def test_code_that_exists_has_none(self, server: FailureServer, way: str) -> None:
        session: Any = drop_in.Session() if way == "drop-in" else requests.Session()
        if way == "mounted":
            session.mount("http://", polvo.ResilientAdapter())
        elif way == "installed":
            polvo.install(session)
        assert len(session.get(server.url + DRIP, timeout=30).content) == 12

    def test_the_headers_of_a_stream_are_bound(self, server: FailureServer) -> None:
        with polvo.Session(server.url) as session, pytest.raises(polvo.DeadlineExceeded):
            session.get("fault/slow-headers?interval=0.1", stream=True)

    def test_a_deadline_that_is_named_binds_streams(self, server: FailureServer) -> None:
        with polvo.Session(server.url, deadline=0.3) as session, pytest.raises(polvo.DeadlineExceeded):
            session.get(DRIP, stream=True).content  # noqa: B018 - reads the body
        with polvo.Session(server.url) as session, pytest.raises(polvo.DeadlineExceeded):
            session.get(DRIP, stream=True, deadline=0.3).content  # noqa: B018 - the same

    @pytest.mark.parametrize("inner", [None, polvo.RetryAdapter()])
    def test_the_deadline_of_an_adapter_binds_streams(self, server: FailureServer, inner: Any) -> None:
        with polvo.Session(server.url) as session:
            session.mount("http://", polvo.ResilientAdapter(deadline=0.25, inner=inner))
            with pytest.raises(polvo.DeadlineExceeded):
                session.get(DRIP, stream=True).content  # noqa: B018 - the same

    def test_a_deadline_that_is_named_binds_what_a_hook_calls(self, server: FailureServer) -> None:
        def hook(*_: Any, **__: Any) -> None:
            other.get(DRIP)

        other = polvo.Session(server.url, deadline=None)
        with other, polvo.Session(server.url, deadline=0.3) as session, pytest.raises(polvo.DeadlineExceeded):
            session.get("echo", hooks={"response": hook})

    def test_a_prepared_request_has_it_too(self, server: FailureServer) -> None:
        with polvo.Session(server.url) as session:
            prepared = session.prepare_request(requests.Request("GET", server.url + DRIP))
            with pytest.raises(polvo.DeadlineExceeded):
                session.send(prepared)
            assert len(session.send(prepared, timeout=None).content) == 12

    def test_a_session_keeps_it_in_a_pickle(self, server: FailureServer) -> None:
        copy = pickle.loads(pickle.dumps(polvo.Session(server.url)))
        with copy as session, pytest.raises(polvo.DeadlineExceeded):
            session.get(DRIP)


class TestWithoutDeadline:
    """What the default deadline leaves out."""

    @pytest.mark.parametrize("way", ["iter_content", "raw"])
    def test_a_body_that_is_streamed_takes_as_long_as_it_takes(
        self, server: FailureServer, leap: Leap, way: str
    ) -> None:
        with polvo.Session(server.url) as session:
            response = session.get(QUICK, stream=True)
            leap()
            read = b"".join(response.iter_content(4)) if way == "iter_content" else response.raw.read()
            assert len(read) == 12

    def test_an_upload_takes_as_long_as_it_takes(self, server: FailureServer, leap: Leap) -> None:
        def pieces() -> Iterator[bytes]:
            for _ in range(8):
                leap()
                yield b"x"

        with polvo.Session(server.url) as session:
            assert session.post("echo", data=pieces()).status_code == 200

    def test_a_download_takes_as_long_as_it_takes(self, server: FailureServer, leap: Leap, tmp_path: Path) -> None:
        with polvo.Session(server.url) as session:
            session.hooks["response"].append(lambda *_, **__: leap())
            assert len(session.download(QUICK, tmp_path / "x").read_bytes()) == 12

    @pytest.mark.parametrize("way", ["another session", "without a deadline", "stream", "download", "verb", "its own"])
    def test_it_binds_no_call_that_a_hook_makes(
        self, server: FailureServer, leap: Leap, tmp_path: Path, way: str
    ) -> None:
        session = polvo.Session(server.url)
        other = polvo.Session(server.url, timeout=30, **({"deadline": None} if way == "without a deadline" else {}))
        ways: dict[str, Callable[[], Any]] = {
            "stream": lambda: session.get(QUICK, stream=True).content,
            "download": lambda: other.download(QUICK, tmp_path / "x").read_bytes(),
            "verb": lambda: polvo.get(server.url + QUICK).content,
            "its own": lambda: session.get(QUICK, timeout=30).content,
        }
        found = []

        def hook(*_: Any, **__: Any) -> None:
            leap()
            found.append(len(ways.get(way, lambda: other.get(QUICK).content)()))

        with session, other:
            assert session.get("echo", hooks={"response": hook}).status_code == 200
        assert found == [12]

    @pytest.mark.parametrize("outer", [{}, {"deadline": 60}])
    def test_a_call_that_is_over_binds_nothing(self, server: FailureServer, leap: Leap, outer: dict[str, Any]) -> None:
        """Contexts are copied to threads and tasks that outlive the call in which they begin."""
        copied = []

        def hook(*_: Any, **__: Any) -> None:
            copied.append(contextvars.copy_context())

        with polvo.Session(server.url, **outer) as session, polvo.Session(server.url) as other:
            session.get("echo", hooks={"response": hook})
            leap()
            for get in (session.get, other.get):
                assert copied[0].run(get, "echo").status_code == 200


@pytest.mark.parametrize(
    ("options", "timeout", "seconds"),
    [
        ({}, 30, 60),
        ({}, 1, 60),
        ({}, 45, 90),
        ({}, (3, 45), 90),
        ({}, (3, None), None),
        ({}, None, None),
        ({}, Timeout(connect=5, read=50), 100),
        ({"rate_limit": "adaptive"}, 30, 120),
        ({"rate_limit": {"max_wait": math.inf}}, 30, None),
        ({"bulkhead": 4}, 30, 90),
        ({"rate_limit": "adaptive", "bulkhead": 4}, 30, 150),
        ({"bulkhead": None, "rate_limit": None}, 30, 60),
    ],
)
def test_the_seconds_of_the_default(options: Any, timeout: Any, seconds: float | None) -> None:
    assert DefaultDeadline.of(options).seconds(timeout) == seconds


def test_the_verbs_have_the_breaker_of_sessions_and_the_drop_in_has_none() -> None:
    adapter: Any = polvo.Session().get_adapter("http://x")
    assert api._connections._options == defaults.SESSION_DEFAULTS
    assert [policy.stack_option for policy in adapter.policies] == ["deadline", "retry", "circuit_breaker"]
    own: Any = drop_in.Session().get_adapter("http://x")
    assert [policy.stack_option for policy in own.policies] == ["retry"]


@pytest.mark.parametrize("retry", [True, Retry(2, status_forcelist=[503])])
def test_waits_that_the_server_asks_for_do_not_count(retry: Any) -> None:
    """Also those of an earlier hop."""

    def throttle(_: Asked) -> Reply:
        busy = len(api.asked) <= 2
        return (
            Reply(status=503, headers=(("Retry-After", "50"),))
            if busy
            else Reply(status=307, headers=(("Location", "/end"),))
        )

    clock = VirtualClock()
    with Listening() as api, polvo.Session(api.url, retry=retry, clock=clock) as session:
        api.routes.update({"/": throttle, "/end": Reply({})})
        began = clock.now()
        assert session.get("/").status_code == 200
        assert clock.now() - began >= 100
