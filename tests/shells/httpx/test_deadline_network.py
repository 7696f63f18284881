"""What lies between a deadline and the sockets of httpcore: timeouts, backends, streams and pools."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore
import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.httpx.network import DeadlineStream
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout, find_deadline, limit
from polvo_adapters.testing import FailureServer, VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.httpx_deadline_scenes import Wrapper
from tests.support.leaping_clock import Leap
from tests.support.wire_servers import HTTP, LONGEST, Fault, Silent, WireServer, certificates, refused_port, resolve_to

DEADLINE = 0.4


@contextlib.contextmanager
def ends_in_time(deadline: float = DEADLINE, late: float = 8.0) -> Iterator[None]:
    """Expect that the deadline ends a call; a machine that stands still for a moment is no failure of it."""
    began = time.monotonic()
    with pytest.raises(polvo.DeadlineExceeded):
        yield
    assert deadline * 0.9 < time.monotonic() - began < deadline + late


def ask(transport: Any, url: str, timeout: float | None = 60.0, **keywords: Any) -> httpx.Response:
    with contextlib.closing(httpx.Client(transport=Wrapper(transport), timeout=timeout)) as client:  # leaves it open
        return client.request("GET", url, **keywords)


class TestTimeout:
    @pytest.mark.parametrize(
        ("patience", "seconds", "now", "left"),
        [(None, 5.0, 5.0, 2.0), (1.0, 1.0, 1.0, 1.0), (4.0, 4.0, 4.0, 2.0), (9.0, 5.0, 5.0, 2.0)],
    )
    def test_it_is_what_is_left(self, patience: float | None, seconds: float, now: float, left: float) -> None:
        clock = VirtualClock()
        timeout = DeadlineTimeout(patience, clock.now() + 5, clock)
        assert (timeout, limit(timeout)) == (seconds, now)
        clock.sleep(3)
        assert (timeout, limit(timeout)) == (seconds, left)
        clock.sleep(2)
        with pytest.raises(TimeoutError):
            limit(timeout)

    @pytest.mark.parametrize(("inner", "left"), [(2.0, 2.0), (9.0, 4.0)])
    def test_one_within_another_keeps_both(self, inner: float, left: float) -> None:
        clock = VirtualClock()
        outer = DeadlineTimeout(8.0, clock.now() + 4, clock)
        assert limit(DeadlineTimeout(outer, clock.now() + inner, clock)) == left

    def test_any_other_is_kept(self) -> None:
        assert [limit(None), limit(3), limit(0.0)] == [None, 3, 0.0]

    def test_it_is_copied_as_a_number(self) -> None:
        timeout = DeadlineTimeout(None, VirtualClock().now() + 5, VirtualClock())
        for twin in (copy.copy(timeout), copy.deepcopy(timeout), pickle.loads(pickle.dumps(timeout))):
            assert (twin, type(twin)) == (5.0, float)

    def test_a_deadline_on_another_clock_is_not_known(self) -> None:
        mine, other = VirtualClock(), VirtualClock()
        timeout = {"pool": DeadlineTimeout(None, 7.0, mine)}
        request = httpx.Request("GET", "http://shop.test/", extensions={"timeout": timeout})
        assert (find_deadline(request, mine), find_deadline(request, other)) == (7.0, None)


@pytest.mark.parametrize("stream", [False, True])
def test_a_foreign_transport_gets_what_is_left(stream: bool) -> None:
    seen: list[dict[str, float]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, text="ok")

    clock = VirtualClock()
    transport = PolicyTransport(Deadline(3), inner=httpx.MockTransport(handle), clock=clock, stream=stream)
    assert ask(transport, "http://shop.test/", timeout=2).text == "ok"
    with httpx.Client(transport=transport, timeout=httpx.Timeout(None, read=9)) as client:
        assert client.get("http://shop.test/").text == "ok"
    assert seen == [dict.fromkeys(("connect", "read", "write", "pool"), each) for each in (2.0, 3.0)]


def test_a_foreign_transport_that_takes_too_long_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class LateTransport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            clock.sleep(5)
            return httpx.Response(200)

    clock = VirtualClock()
    transport = PolicyTransport(Deadline(3), inner=LateTransport(), clock=clock)
    for _ in range(2):
        with pytest.raises(polvo.DeadlineExceeded):
            ask(transport, "http://shop.test/")
    found = [each.message for each in caplog.records if "opens sockets of its own" in each.message]
    assert [("2.000 s" in each, "LateTransport" in each) for each in found] == [(True, True)]


async def test_an_empty_part_is_not_the_end_of_a_stream() -> None:
    class Parts(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in (b"a", b"", b"b"):
                yield part

    inner = httpx.MockTransport(lambda request: httpx.Response(200, stream=Parts()))
    transport = AsyncPolicyTransport(Deadline(20), inner=inner, stream=True)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get("http://shop.test/")).content == b"ab"


def test_callers_who_want_the_same_connection_wait_no_longer() -> None:
    """The pool offers a connection that becomes free to all of them, and all but one have to wait once more."""
    limits = httpx.Limits(max_connections=1)

    def call() -> None:
        with ends_in_time(1, late=0.8):  # another wait of the same length ends at 1.9 s
            ask(transport, server.url)

    with (
        contextlib.closing(httpx.HTTPTransport(limits=limits)) as inner,
        ThreadPoolExecutor(6) as pool,
        WireServer(Fault(HTTP)) as server,
        httpx.Client(transport=Wrapper(inner)) as client,
    ):
        transport = PolicyTransport(Deadline(1), inner=inner)
        with client.stream("GET", server.url) as response:
            server._open[0].fault = server.fault = Fault(HTTP, "answer", "hang")
            others = [pool.submit(ask, inner, server.url) for _ in range(2)]  # first in the queue, without a deadline
            time.sleep(0.1)
            calls = [pool.submit(call) for _ in range(4)]
            time.sleep(0.9)
            response.read()
        for each in calls:
            each.result()
    assert all(isinstance(each.exception(), httpx.TransportError) for each in others)  # when the server went away


def test_a_connection_forgets_the_deadline_of_the_call_before(leap: Leap) -> None:
    with WireServer(Fault(HTTP)) as server, contextlib.closing(httpx.HTTPTransport()) as inner:
        ask(PolicyTransport(Deadline(20), inner=inner), server.url)
        leap()
        assert ask(inner, server.url, timeout=None).text == "ok"
        assert server.connections == 1


def test_pauses_of_httpcore_end_with_the_deadline() -> None:
    with PolicyTransport(Deadline(0.6), retries=1 << 30) as transport, ends_in_time(0.6):
        ask(transport, f"http://127.0.0.1:{refused_port()}/")


def test_only_a_handshake_without_a_timeout_has_that_of_connecting() -> None:
    clock = VirtualClock()
    timeout = DeadlineTimeout(None, clock.now() + 1, clock)
    during, after = (DeadlineStream(httpcore.MockStream([b"a", b"b", b"c"]), timeout) for _ in range(2))
    assert [during.read(1), after.read(1), after.read(1, timeout=None)] == [b"a", b"a", b"b"]
    clock.sleep(2)
    assert after.read(1) == b"c"
    with pytest.raises(httpcore.ReadTimeout):
        during.read(1)


async def test_a_stream_that_hangs_ends_in_a_task_whoever_made_it() -> None:
    class Hanging(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.sleep(LONGEST)

    inner = httpx.MockTransport(lambda request: httpx.Response(200, stream=Hanging()))
    transport = AsyncPolicyTransport(Deadline(DEADLINE), inner=inner, stream=True)
    async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", "http://shop.test/") as response:
        with ends_in_time():
            assert [part async for part in response.aiter_raw()] == []


class TestBody:
    def test_its_own_time_is_looked_at_afterwards(self) -> None:
        def body() -> Iterator[bytes]:
            yield b"a"
            time.sleep(DEADLINE)
            yield b"b"

        with WireServer(Fault(HTTP)) as server, PolicyTransport(Deadline(DEADLINE)) as transport, ends_in_time():
            ask(transport, server.url, content=body())
        assert server.processed == 0

    def test_a_call_that_it_makes_has_a_time_of_its_own(self) -> None:
        with WireServer(Fault(HTTP)) as server, WireServer(Fault(HTTP, "answer", "hang"), times=1) as other:

            def body() -> Iterator[bytes]:
                with contextlib.suppress(httpx.ReadTimeout):
                    httpx.get(other.url, timeout=1.5)
                yield b"b"

            transport = PolicyTransport(Deadline(1))
            with transport, pytest.raises(polvo.DeadlineExceeded):
                ask(transport, server.url, content=body())
        assert other.processed == 1


class TestBackend:
    """Network backends of one's own: to pin addresses, or to connect in another way."""

    @staticmethod
    def transport(backend: Any) -> httpx.HTTPTransport:
        inner = httpx.HTTPTransport()
        inner._pool = httpcore.ConnectionPool(network_backend=backend)
        return inner

    def test_it_is_asked_with_the_name(self) -> None:
        class Pinning(httpcore.SyncBackend):
            def connect_tcp(self, host: str, *args: Any, **keywords: Any) -> httpcore.NetworkStream:
                assert host == "pinned.test"
                return super().connect_tcp("127.0.0.1", *args, **keywords)

        with WireServer(Fault(HTTP)) as server:
            transport = PolicyTransport(Deadline(5), inner=self.transport(Pinning()))
            with transport:
                assert ask(transport, f"http://pinned.test:{server.port}/").text == "ok"

    def test_it_may_take_no_longer(self) -> None:
        closed = threading.Event()

        class Late(httpcore.MockStream):
            def close(self) -> None:
                closed.set()

        class Slow(httpcore.SyncBackend):
            def connect_tcp(self, *args: Any, **keywords: Any) -> httpcore.NetworkStream:
                time.sleep(2 * DEADLINE)
                return Late([])

        with PolicyTransport(Deadline(DEADLINE), inner=self.transport(Slow())) as transport, ends_in_time():
            ask(transport, "http://shop.test/")
        assert closed.wait(LONGEST)

    def test_a_stream_of_its_own_is_written_to_in_blocks(self) -> None:
        written: list[tuple[int, bool]] = []

        class Stream(httpcore.MockStream):
            def write(self, buffer: bytes, timeout: float | None = None) -> None:
                written.append((len(buffer), timeout is not None and timeout <= 1))
                time.sleep(0.25)

        class Backend(httpcore.MockBackend):
            def connect_tcp(self, *args: Any, **keywords: Any) -> httpcore.NetworkStream:
                return Stream([])

        with PolicyTransport(Deadline(1), inner=self.transport(Backend([]))) as transport, ends_in_time(1):
            ask(transport, "http://shop.test/", content=b"x" * 1_000_000)
        assert {within for _, within in written} == {True}
        assert max(size for size, _ in written) < 100_000

    def test_create_connection_of_ones_own_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original, asked = socket.create_connection, []

        def create(address: Any, *args: Any, **keywords: Any) -> Any:
            asked.append(address[0])
            return original(("127.0.0.1", address[1]), *args, **keywords)

        monkeypatch.setattr(socket, "create_connection", create)
        with WireServer(Fault(HTTP)) as server, PolicyTransport(Deadline(5)) as transport:
            assert ask(transport, f"http://pinned.test:{server.port}/").text == "ok"
        assert asked == ["pinned.test"]


@pytest.mark.parametrize("attribute", ["_pool", "_network_backend", "_requests", "_optional_thread_lock"])
def test_without_what_is_private_calls_go_as_before(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with WireServer(Fault(HTTP)) as server:
        inner = httpx.HTTPTransport()
        hidden: Any = inner if attribute == "_pool" else inner._pool
        value = hidden.__dict__.pop(attribute, None)
        transport = PolicyTransport(Deadline(5), inner=inner)
        setattr(hidden, attribute, value)
        with transport:
            assert ask(transport, server.url).text == "ok"


def test_a_silent_address_leaves_time_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with Silent() as silent, WireServer(Fault(HTTP)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to(silent.port, server.port))
        with PolicyTransport(Deadline(2)) as transport:
            assert ask(transport, "http://wire.test/").text == "ok"


@pytest.mark.parametrize("record", [b"\x16\x03\x03\x40\x00", b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["handshake", "head"])
def test_tls_within_tls_drips_no_longer(record: bytes) -> None:
    """A proxy that is spoken to over TLS, behind which another TLS begins."""
    context, authority = certificates()

    def serve() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as plain, context.wrap_socket(plain, True) as sock:
            sock.settimeout(LONGEST)
            while b"\r\n\r\n" not in sock.recv(65536):
                pass
            if record.startswith(b"\x16"):
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sock.sendall(record)
            for _ in range(2000):
                sock.sendall(b"x")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        proxy = httpx.Proxy(f"https://127.0.0.1:{listening.getsockname()[1]}", ssl_context=trusting(authority))
        with PolicyTransport(Deadline(DEADLINE), proxy=proxy, verify=trusting(authority)) as transport, ends_in_time():
            ask(transport, "https://wire.test/")
        thread.join()


def trusting(authority: str) -> Any:
    return ssl.create_default_context(cafile=authority)


@pytest.mark.parametrize("kind", [PolicyTransport, AsyncPolicyTransport])
def test_transports_are_extended_once(kind: Any) -> None:
    inner: Any = (httpx.HTTPTransport if kind is PolicyTransport else httpx.AsyncHTTPTransport)()
    kind(inner=inner)
    backend, pool = inner._pool._network_backend, type(inner._pool)
    kind(inner=kind(inner=inner))
    assert (inner._pool._network_backend is backend, type(inner._pool) is pool) == (True, True)
    assert isinstance(inner._pool, (httpcore.ConnectionPool, httpcore.AsyncConnectionPool))


def test_a_wait_of_an_inner_transport_does_not_overrun_the_deadline_of_the_outer_one(server: FailureServer) -> None:
    inner = PolicyTransport(ExponentialBackoff())
    began = time.monotonic()
    with PolicyTransport(Deadline(30), inner=inner) as transport:
        assert ask(transport, server.url + "/fault/status?retry_after=60").status_code == 503
    assert time.monotonic() - began < 15
