"""What a call has come to is put to the store when the body of its answer is over, however that ends, and once."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import io
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Flow, Proceed, Race, Release, Start, WaitAny
from polvo_adapters.core.machines import Changed, Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import StateChange
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.virtual_worlds import BOUND

RETRY = ExponentialBackoff(base=0.001)


class Journal:
    """A machine that records its events."""

    initial: tuple[str, ...] = ()

    def transition(self, state: tuple[str, ...], event: str, now: float) -> tuple[tuple[str, ...], Any]:
        return (*state, event), Changed("open", "closed", "told", event) if event == "changed" else event

    def release_event(self, verdict: str) -> str:
        return f"{verdict} abandoned"


def note(event: str) -> list[Event]:
    return [Event(Journal(), "journal", event)]


@dataclass(frozen=True)
class Held:
    """Holds a lease for as long as a call takes."""

    name: str = ""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        yield Acquire(note(f"{self.name}taken"))
        outcome = yield from proceed(call)
        yield Release(note(f"{self.name}given back"), note(f"{self.name}broken"))
        return outcome


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def told(store: MemoryStore) -> list[str]:
    """Return what was put to the store, by finalizers too."""
    store.decide([])
    return list(store._states["journal"])


def told_at_once(store: MemoryStore) -> list[str]:
    """Return what was put to the store so far."""
    return list(store._states["journal"])


def session_of(store: MemoryStore, *policies: Any, **keywords: Any) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, PolicyAdapter(*(policies or (Held(),)), store=store, **keywords))
    return session


@pytest.fixture
def session(store: MemoryStore) -> Iterator[requests.Session]:
    with session_of(store) as session:
        yield session


# Mounted adapters -----------------------------------------------------------------------------------------------------


def test_without_stream_it_is_over_before_the_adapter_returns(store: MemoryStore, server: FailureServer) -> None:
    adapter = PolicyAdapter(Held(), store=store)
    adapter.send(requests.Request("GET", server.url + "/echo").prepare())
    assert told_at_once(store) == ["taken", "given back"]
    adapter.close()


def test_an_attempt_that_failed_is_over_at_once(
    session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    with pytest.raises(requests.ConnectionError):
        session.get(server.url + "/fault/reset", stream=True)
    assert told_at_once(store) == ["taken", "given back"]


ENDS: dict[str, Callable[[requests.Response], object]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "all pieces": lambda response: list(response.iter_content(7)),
    "all lines": lambda response: list(response.iter_lines()),
    "iterated": list,
    "closed": lambda response: response.close(),
    "closed twice": lambda response: (response.close(), response.close()),
    "read and closed": lambda response: (response.content, response.close()),
    "some pieces, and closed": lambda response: (next(response.iter_content(7)), response.close()),
    "raw, and closed": lambda response: (response.raw.read(), response.close()),
    "some of raw, and closed": lambda response: (response.raw.read(7), response.close()),
    "left": lambda response: response.__exit__(None, None, None),
    "pickled": lambda response: pickle.loads(pickle.dumps(response)),
    "copied": copy.copy,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_is_over_when_it_is_read_or_closed(
    end: str, session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    response = session.get(server.url + "/echo?size=100000", stream=True)
    assert told_at_once(store) == ["taken"]
    ENDS[end](response)
    assert told_at_once(store) == ["taken", "given back"]
    response.close()
    del response
    assert told(store) == ["taken", "given back"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_that_is_dropped_is_over_by_the_next_decision(
    begun: bool, session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    response = session.get(server.url + "/echo?size=100000", stream=True)
    pieces = response.iter_content(7)
    if begun:
        next(pieces)
    del response
    assert told(store) == ["taken"]
    del pieces
    assert told_at_once(store) == ["taken"]
    assert told(store) == ["taken", "given back"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_finalizer_takes_no_lock(session: requests.Session, store: MemoryStore, server: FailureServer) -> None:
    """The collector may come at any time, also while this very thread has locked the store."""
    cycle: list[Any] = [session.get(server.url + "/echo?size=100000", stream=True)]
    cycle.append(cycle)

    def collect() -> None:
        with store._lock:
            gc.collect()

    del cycle
    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert told(store) == ["taken", "given back"]


def test_a_stream_that_breaks_off_is_broken(
    session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    response = session.get(server.url + "/fault/truncated", stream=True)
    with pytest.raises(requests.RequestException):
        response.content  # noqa: B018 - reads the body
    assert told_at_once(store) == ["taken", "broken"]
    response.close()
    assert told(store) == ["taken", "broken"]


def test_a_stream_that_outlasts_the_deadline_is_broken(store: MemoryStore, server: FailureServer) -> None:
    with session_of(store, Deadline(0.3), Held()) as session:
        response = session.get(server.url + "/fault/drip?size=500&interval=0.05", stream=True)
        with pytest.raises(polvo.DeadlineExceeded):
            list(response.iter_content(None))
        assert told_at_once(store) == ["taken", "broken"]


def test_an_interrupted_reader_may_read_on(
    session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    response = session.get(server.url + "/echo?size=100000", stream=True)
    pieces = response.iter_content(7)
    next(pieces)
    with pytest.raises(KeyboardInterrupt):
        pieces.throw(KeyboardInterrupt)  # as if Ctrl-C had come while it waited
    assert told_at_once(store) == ["taken"]
    response.close()
    assert told_at_once(store) == ["taken", "given back"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_session_reads_redirects(
    stream: bool, session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    url = f"{server.url}/fault/status?code=302&times=1&body=away&header=Location:%20/echo?size=100000"
    response = session.get(url, stream=stream)
    assert [each.status_code for each in response.history] == [302]
    assert told_at_once(store) == ["taken", "given back", "taken", *([] if stream else ["given back"])]
    response.close()
    assert told_at_once(store) == ["taken", "given back"] * 2


def test_a_redirect_that_is_not_followed_is_read_by_the_session(
    session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    url = f"{server.url}/fault/status?code=302&times=1&body=away&header=Location:%20/echo"
    session.get(url, allow_redirects=False)
    assert told_at_once(store) == ["taken", "given back"]


@pytest.mark.parametrize("request_", [("HEAD", "/echo?size=9"), ("GET", "/fault/status?code=204&times=1")])
@pytest.mark.parametrize("end", ["content", "closed", "left"])
def test_a_stream_of_nothing_is_over_when_it_is_closed(
    request_: tuple[str, str], end: str, session: requests.Session, store: MemoryStore, server: FailureServer
) -> None:
    method, path = request_
    response = session.request(method, server.url + path, stream=True)
    ENDS[end](response)
    assert told_at_once(store) == ["taken", "given back"]


def test_a_stream_that_is_given_up_for_a_retry_is_over(store: MemoryStore, server: FailureServer) -> None:
    with session_of(store, RETRY, Held()) as session:
        response = session.get(server.url + "/fault/status?times=2&body=sorry", stream=True)
        assert told_at_once(store) == ["taken", "given back", "taken", "given back", "taken"]
        response.close()
    assert told_at_once(store) == ["taken", "given back"] * 3


def test_all_leases_of_a_call_end_with_its_body(store: MemoryStore, server: FailureServer) -> None:
    inner = PolicyAdapter(Held("c "), store=store)
    with session_of(store, Held("a "), Held("b "), inner=inner) as session:
        response = session.get(server.url + "/echo?size=100000", stream=True)
        assert told_at_once(store) == ["a taken", "b taken", "c taken"]
        response.close()
    assert told_at_once(store)[3:] == ["c given back", "b given back", "a given back"]


class Custom(requests.Response):
    """A response class of another library."""


class Choosing(HTTPAdapter):
    def build_response(self, request: Any, response: Any) -> requests.Response:
        built = super().build_response(request, response)
        built.__class__ = Custom
        return built


@pytest.mark.parametrize("read", [True, False])
def test_a_response_of_another_class_is_over_when_it_is_read_or_dropped(
    store: MemoryStore, server: FailureServer, read: bool
) -> None:
    with session_of(store, Held("a "), Held("b "), inner=Choosing()) as session:
        response = session.get(server.url + "/echo?size=100000", stream=True)
        assert type(response) is Custom
        assert told(store) == ["a taken", "b taken"]
        if read:
            assert len(response.content) == 100_000
        else:
            del response
        assert told(store) == ["a taken", "b taken", "b given back", "a given back"]


def drain(raw: Any) -> None:
    """Read to the end in the way of urllib3, and then let go of the connection."""
    raw.drain_conn()
    raw.release_conn()


def read_into(raw: Any) -> None:
    buffer = bytearray(4096)
    while raw.readinto(buffer):
        pass


RAW_READERS: dict[str, Callable[[Any], object]] = {
    "copyfileobj": lambda raw: shutil.copyfileobj(raw, io.BytesIO()),
    "read": lambda raw: raw.read(),
    "read in pieces": lambda raw: list(iter(lambda: raw.read(4096), b"")),
    "read undecoded": lambda raw: raw.read(decode_content=False),
    "read1": lambda raw: list(iter(lambda: raw.read1(4096), b"")),
    "read1 all": lambda raw: list(iter(raw.read1, b"")),
    "readinto": read_into,
    "stream": lambda raw: list(raw.stream(1000)),
    "iteration": list,
    "data": lambda raw: raw.data,
    "drain_conn": drain,
    "release_conn": lambda raw: raw.release_conn(),
    "close": lambda raw: raw.close(),
    "with": lambda raw: raw.__exit__(None, None, None),
}


@pytest.mark.parametrize("inner", [None, HTTPAdapter, Choosing])
@pytest.mark.parametrize("path", ["/echo?size=100000", "/fault/drip?interval=0&times=1"])
@pytest.mark.parametrize("reader", RAW_READERS)
def test_a_body_that_is_read_through_raw_is_over(
    store: MemoryStore, server: FailureServer, reader: str, path: str, inner: Any
) -> None:
    with session_of(store, Held(), inner=inner and inner()) as session:
        response = session.get(server.url + path, stream=True)
        assert told(store) == ["taken"]
        RAW_READERS[reader](response.raw)
        assert told(store) == ["taken", "given back"]
        response.close()
        del response
        assert told(store) == ["taken", "given back"]


@pytest.mark.parametrize("reader", ["copyfileobj", "read", "read in pieces", "stream", "iteration", "data"])
def test_a_body_that_breaks_off_is_broken_for_raw_too(store: MemoryStore, server: FailureServer, reader: str) -> None:
    with session_of(store, Held()) as session:
        response = session.get(server.url + "/fault/truncated?times=1", stream=True)
        with pytest.raises(ProtocolError):
            RAW_READERS[reader](response.raw)
        assert told(store) == ["taken", "broken"]


def test_a_part_that_was_read_through_raw_ends_nothing(store: MemoryStore, server: FailureServer) -> None:
    with session_of(store, Held()) as session:
        response = session.get(server.url + "/echo?size=100000", stream=True)
        pieces = response.raw.stream(1000)
        assert len(next(pieces)) == len(response.raw.read(1000)) == 1000
        assert response.raw.read(0) == b""
        pieces.close()
        assert told(store) == ["taken"]
        assert len(response.content) == 98_000
        assert told(store) == ["taken", "given back"]


def test_a_change_after_the_call_is_in_its_report_all_the_same(store: MemoryStore, server: FailureServer) -> None:
    @dataclass(frozen=True)
    class Changing(Held):
        def flow(self, call: Call, proceed: Proceed) -> Flow:
            yield Acquire(note("taken"))
            outcome = yield from proceed(call)
            yield Release(note("changed"), ())
            return outcome

    with session_of(store, Changing()) as session, session.get(server.url + "/echo?size=9", stream=True) as response:
        assert response.polvo.changes == []
        response.content  # noqa: B018 - reads the body
        assert response.polvo.changes == [StateChange("journal", "open", "closed", "told")]


@dataclass(frozen=True)
class Twice:
    """Sends a request twice at once, and takes the second answer."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        yield Start(proceed(call))
        yield WaitAny(None)
        yield Start(proceed(call))
        _, outcome = yield WaitAny(None)
        return outcome


def test_the_winner_of_a_race_is_over_when_it_is_read_and_the_loser_with_the_race(
    store: MemoryStore, server: FailureServer
) -> None:
    with session_of(store, Twice(), Held()) as session:
        response = session.get(server.url + "/echo?size=100000", stream=True)
        assert told_at_once(store) == ["taken", "taken", "given back"]
        assert len(response.content) == 100_000
        assert told_at_once(store) == ["taken", "taken", "given back", "given back"]


def test_two_threads_that_close_a_response_do_so_once(store: MemoryStore, server: FailureServer) -> None:
    with session_of(store) as session:
        for _ in range(20):
            response = session.get(server.url + "/echo?size=9", stream=True)
            meeting = threading.Barrier(2)
            closing = [
                threading.Thread(target=lambda response=response, at=meeting: (at.wait(BOUND), response.close()))
                for _ in range(2)
            ]
            for thread in closing:
                thread.start()
            for thread in closing:
                thread.join(BOUND)
    assert told_at_once(store) == ["taken", "given back"] * 20


# httpx ----------------------------------------------------------------------------------------------------------------


def test_with_httpx_too_it_is_over_before_the_transport_returns(store: MemoryStore, server: FailureServer) -> None:
    with PolicyTransport(Held(), store=store) as transport:
        transport.handle_request(httpx.Request("GET", server.url + "/echo"))
        assert told_at_once(store) == ["taken", "given back"]


HTTPX_ENDS: dict[str, Callable[[httpx.Response], object]] = {
    "read": lambda response: response.read(),
    "all pieces": lambda response: list(response.iter_bytes(7)),
    "all lines": lambda response: list(response.iter_lines()),
    "closed": lambda response: response.close(),
    "closed twice": lambda response: (response.close(), response.close()),
    "some pieces, and closed": lambda response: (next(response.iter_bytes(7)), response.close()),
}


@pytest.mark.parametrize("end", HTTPX_ENDS)
@pytest.mark.parametrize("policies", [(Held(),), (Twice(), Held())])
def test_a_stream_of_httpx_is_over_when_it_is_read_or_closed(
    end: str, policies: Any, store: MemoryStore, server: FailureServer
) -> None:
    transport = PolicyTransport(*policies, store=store, stream=True)
    with (
        httpx.Client(transport=transport) as client,
        client.stream("GET", server.url + "/echo?size=100000") as response,
    ):
        before = ["taken"] if len(policies) == 1 else ["taken", "taken", "given back"]
        assert told_at_once(store) == before
        HTTPX_ENDS[end](response)
        assert told_at_once(store) == [*before, "given back"]
    assert told(store) == [*before, "given back"]


ASYNC_ENDS: dict[str, Callable[[httpx.Response], Any]] = {
    "read": lambda response: response.aread(),
    "all pieces": lambda response: exhaust(response.aiter_bytes(7)),
    "all lines": lambda response: exhaust(response.aiter_lines()),
    "closed": lambda response: response.aclose(),
}


async def exhaust(pieces: Any) -> None:
    async for _ in pieces:
        pass


@pytest.mark.parametrize("end", ASYNC_ENDS)
@pytest.mark.parametrize("policies", [(Held(),), (Twice(), Held())])
def test_an_asynchronous_stream_is_over_when_it_is_read_or_closed(
    end: str, policies: Any, store: MemoryStore, server: FailureServer
) -> None:
    async def run() -> None:
        transport = AsyncPolicyTransport(*policies, store=store, stream=True)
        async with (
            httpx.AsyncClient(transport=transport) as client,
            client.stream("GET", server.url + "/echo?size=100000") as response,
        ):
            before = ["taken"] if len(policies) == 1 else ["taken", "taken", "given back"]
            assert told_at_once(store) == before
            await ASYNC_ENDS[end](response)
            assert told_at_once(store) == [*before, "given back"]
        assert told(store) == [*before, "given back"]

    asyncio.run(run())


def test_a_stream_of_httpx_that_breaks_off_is_broken(store: MemoryStore, server: FailureServer) -> None:
    with (
        httpx.Client(transport=PolicyTransport(Held(), store=store, stream=True)) as client,
        client.stream("GET", server.url + "/fault/truncated") as response,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()
        assert told_at_once(store) == ["taken", "broken"]
    assert told(store) == ["taken", "broken"]


def test_an_asynchronous_stream_that_breaks_off_is_broken(store: MemoryStore, server: FailureServer) -> None:
    async def run() -> None:
        transport = AsyncPolicyTransport(Held(), store=store, stream=True)
        async with (
            httpx.AsyncClient(transport=transport) as client,
            client.stream("GET", server.url + "/fault/truncated") as response,
        ):
            with pytest.raises(httpx.RemoteProtocolError):
                await response.aread()
            assert told_at_once(store) == ["taken", "broken"]

    asyncio.run(run())
    assert told(store) == ["taken", "broken"]


def test_a_cancelled_reader_breaks_nothing(store: MemoryStore, server: FailureServer) -> None:
    async def run() -> None:
        transport = AsyncPolicyTransport(Held(), store=store, stream=True)
        async with httpx.AsyncClient(transport=transport) as client:
            async with client.stream("GET", server.url + "/fault/drip?size=500&interval=0.05") as response:
                pieces = response.aiter_bytes(1)
                await anext(pieces)
                reading = asyncio.ensure_future(exhaust(pieces))
                await asyncio.sleep(0)
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
            assert told_at_once(store) == ["taken", "given back"]

    asyncio.run(run())


def test_a_stream_of_httpx_that_is_dropped_is_over_by_the_next_decision(
    store: MemoryStore, server: FailureServer
) -> None:
    with httpx.Client(transport=PolicyTransport(Held(), store=store, stream=True)) as client:
        response = client.send(client.build_request("GET", server.url + "/echo?size=100000"), stream=True)
        assert told(store) == ["taken"]
        del response
        gc.collect()  # httpx ties a response to its stream
        assert told_at_once(store) == ["taken"]
        assert told(store) == ["taken", "given back"]
