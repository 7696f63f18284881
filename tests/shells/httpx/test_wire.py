"""Under httpx too a request counts as never sent only where the connection says so: by the events of httpcore."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest

from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.wire_faults import ABRUPT, FAULTS, HARMLESS, REFUSED, UNPROCESSED, UNSENT
from tests.support.wire_servers import HTTP, SOCKS, Fault, WireServer, certificates, refused_port

PAYLOAD = b"payload " * 400
ALWAYS = 1 << 30
RETRY = ExponentialBackoff(base=0.001, max_attempts=2, budget=None)
METHODS = ("GET", "PUT", "POST")
BODIES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: PAYLOAD,
    "generator": lambda: (PAYLOAD[start : start + 1000] for start in range(0, len(PAYLOAD), 1000)),
}
CELLS = [
    (method, body, times)
    for method in METHODS
    for body, times in (("bytes", 1), ("bytes", ALWAYS), ("generator", 1), ("generator", ALWAYS))
]


async def as_async(parts: Any) -> Any:
    for part in parts:
        yield part


def settings(server: WireServer) -> dict[str, Any]:
    """Return the keywords of a transport of httpx that goes the way of the server."""
    proxy = next(iter(server.proxies.values()), None)
    return {"verify": ssl.create_default_context(cafile=certificates()[1]), "proxy": proxy}


class Client:
    """One face for both kinds of client, with policies or without."""

    def __init__(self, kind: str, inner: Any, *policies: Any) -> None:
        self.kind = kind
        wrapper: Any = PolicyTransport if kind == "sync" else AsyncPolicyTransport
        self.transport = wrapper(*policies, inner=inner) if policies else inner

    def request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        if self.kind == "sync":
            with httpx.Client(transport=self.transport) as client:
                return client.request(method, url, **arguments)
        return asyncio.run(self._request(method, url, **arguments))

    async def _request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        if hasattr(arguments.get("content"), "__next__"):
            arguments["content"] = as_async(arguments["content"])
        async with httpx.AsyncClient(transport=self.transport) as client:
            return await client.request(method, url, **arguments)


def httpx_transport(kind: str, server: WireServer) -> Any:
    return (httpx.HTTPTransport if kind == "sync" else httpx.AsyncHTTPTransport)(**settings(server))


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Cell(NamedTuple):
    """What must happen: how many attempts, whether the request may have left, and what the caller gets."""

    attempts: int
    sent: bool
    gets: str


def expected(meaning: str, method: str, body: str, times: int) -> Cell:
    """Say what must happen when the first `times` connections meet a fault, and two attempts are allowed."""
    is_sent, bare = meaning not in (UNSENT, REFUSED), "what httpx gets"
    is_safe = meaning in (UNSENT, UNPROCESSED) or method in IDEMPOTENT_METHODS
    if meaning in (REFUSED, HARMLESS) or not is_safe:
        return Cell(1, is_sent, bare)
    if is_sent and body == "generator":
        return Cell(1, is_sent, bare)
    return Cell(2, True, "200") if times == 1 else Cell(2, is_sent, bare)


def call(client: Client, server: WireServer, method: str, body: str) -> tuple[str, Any]:
    """Return the status or the class of the exception, and the report."""
    timeout = 0.4 if server.fault.deed == "hang" else 20
    try:
        response = client.request(method, server.url, content=BODIES[body](), timeout=timeout)
    except Exception as error:  # noqa: BLE001 - whichever it is
        is_race = server.fault.step in ("accept", "head") and server.fault.deed in ABRUPT
        is_race = is_race and isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))
        return "broken" if is_race else type(error).__name__, getattr(error, "polvo", None)
    return str(response.status_code), response.extensions.get("polvo")


def bare(kind: str, fault: Fault, method: str, body: str) -> str:
    with WireServer(fault) as server:
        return call(Client(kind, httpx_transport(kind, server)), server, method, body)[0]


def run(kind: str, fault: Fault, method: str, body: str, times: int) -> tuple[str, ...]:
    """Return what happened otherwise than it must."""
    cell = expected(FAULTS[fault], method, body, times)
    if cell.gets.startswith("what"):
        cell = cell._replace(gets=bare(kind, fault, method, body))
    with WireServer(fault, times) as server:
        gets, report = call(Client(kind, httpx_transport(kind, server), RETRY), server, method, body)
    got = Cell(len(report.attempts), report.sent, gets)
    faults = [] if got == cell else [f"{got} instead of {cell}"]
    if method == "POST" and server.processed > 1:
        faults.append(f"processed {server.processed} times")
    if server.touched and not report.sent:
        faults.append("it is said that nothing was sent, and the server has read some of it")
    if any(each != PAYLOAD for each in server.bodies):
        faults.append("another body arrived")
    return tuple(faults)


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.way != SOCKS], ids=lambda each: "-".join(map(str, each))
)
def test_fault(fault: Fault, kind: str) -> None:
    """Run all cells of a fault; those in which the server hangs wait side by side."""
    cells = [cell for cell in CELLS if cell[2] == ALWAYS or fault.deed != "refuse"]
    with ThreadPoolExecutor(len(cells) if fault.deed == "hang" else 1) as pool:
        results = list(pool.map(lambda cell: run(kind, fault, *cell), cells))
    assert {cell: result for cell, result in zip(cells, results, strict=True) if result} == {}


class OwnError(Exception):
    """What no library knows."""


RAISED: dict[str, Callable[[], Exception]] = {
    "httpx.ConnectError": lambda: httpx.ConnectError("upstream"),
    "httpx.ReadTimeout": lambda: httpx.ReadTimeout("upstream"),
    "httpx.RemoteProtocolError": lambda: httpx.RemoteProtocolError("upstream"),
    "httpx.ProxyError": lambda: httpx.ProxyError("502 upstream"),
    "ConnectionResetError": lambda: ConnectionResetError(104, "reset"),
    "TimeoutError": lambda: TimeoutError("slow"),
    "OwnError": lambda: OwnError("own"),
}


def raising(error: Exception, late: bool) -> Any:
    if late:
        yield b"x" * 1000
    raise error


@pytest.mark.parametrize("policy", [RETRY, Fallback(lambda failed: {"ok": False}, exceptions=(Exception,))], ids=type)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", RAISED)
def test_what_the_body_raises_comes_out_once(name: str, late: bool, policy: Any, kind: str) -> None:
    error = RAISED[name]()
    with WireServer(Fault(HTTP)) as server, pytest.raises(type(error)) as caught:
        Client(kind, httpx_transport(kind, server), policy).request("PUT", server.url, content=raising(error, late))
    report: Any = error.polvo  # type: ignore[attr-defined]
    assert (caught.value is error, len(report.attempts), server.processed) == (True, 1, 0)


@pytest.mark.parametrize("raised", [TimeoutError, ConnectionResetError, OSError, OwnError])
@pytest.mark.parametrize("fault", [Fault(HTTP, "answer", "hang"), Fault(HTTP, "answer", "drip body")], ids=str)
def test_an_alarm_ends_the_call(fault: Fault, raised: type[Exception]) -> None:
    def end(_: int, frame: Any) -> None:
        is_reading = frame.f_code.co_name == "read" and "_backends" in frame.f_code.co_filename
        if is_reading and servers[-1].connections:  # not between two reads, where httpx names no exception anew
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise raised("the job may take so long")

    servers: list[WireServer] = []

    def outcome(*policies: Any) -> tuple[str, int]:
        with WireServer(fault) as server:
            servers.append(server)
            client = Client("sync", httpx_transport("sync", server), *policies)
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.003)
            try:
                client.request("GET", server.url, timeout=20)
            except Exception as error:  # noqa: BLE001 - whichever it is
                return type(error).__name__, server.connections
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return "no error", 0

    before = signal.signal(signal.SIGALRM, end)
    try:
        assert outcome(RETRY) == (outcome()[0], 1)
    finally:
        signal.signal(signal.SIGALRM, before)


def make_foreign(kind: str, handle: Callable[[httpx.Request], httpx.Response]) -> Any:
    """Return a transport that is not built on httpcore."""

    class Foreign(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return handle(request)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return handle(request)

    return httpx.MockTransport(handle) if kind.startswith("mock") else Foreign()


@pytest.mark.parametrize("foreign", ["mock", "own"])
@pytest.mark.parametrize(
    "name", ["httpx.ConnectError", "httpx.ConnectTimeout", "httpx.PoolTimeout", "httpx.ProxyError"]
)
def test_a_foreign_transport_proves_nothing(name: str, foreign: str, kind: str) -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        raise getattr(httpx, name.partition(".")[2])("it says")

    for method, attempts in (("GET", 2), ("POST", 1)):
        asked.clear()
        with pytest.raises(httpx.TransportError) as caught:
            Client(kind, make_foreign(foreign, handle), RETRY).request(method, "http://shop.test/", content=b"x")
        report: Any = caught.value.polvo  # type: ignore[attr-defined]
        assert (len(asked), report.sent) == (attempts, True)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["httpx.ConnectError", "httpx.ConnectTimeout"])
def test_a_transport_that_audits_proves_nothing(name: str, when: str) -> None:
    """The host that it audits with refuses connections, and what it sent itself was processed."""
    port = refused_port()

    class Auditing(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if when == "before":
                self.audit()
            response = super().handle_request(request)
            response.read()
            self.audit()
            return response

        def audit(self) -> None:
            if name == "httpx.ConnectTimeout":
                raise httpx.ConnectTimeout("of the audit host")
            httpx.post(f"http://127.0.0.1:{port}/", content=b"audit")

    with WireServer(Fault(HTTP)) as server, pytest.raises(httpx.TransportError) as caught:
        Client("sync", Auditing(), RETRY).request("POST", server.url, content=b"x")
    report: Any = caught.value.polvo  # type: ignore[attr-defined]
    assert server.processed == (when == "after")
    assert len(report.attempts) == 1


def test_the_callers_own_trace_hears_everything(kind: str) -> None:
    def events(*policies: Any) -> list[str]:
        heard: list[str] = []

        def hear(event: str, info: dict[str, Any]) -> None:
            heard.append(event)

        async def hear_async(event: str, info: dict[str, Any]) -> None:
            heard.append(event)

        extensions = {"trace": hear if kind == "sync" else hear_async, "own": 1}
        with WireServer(Fault(HTTP, "answer", "close"), times=1) as server:
            client = Client(kind, httpx_transport(kind, server), *policies)
            try:
                response = client.request("GET", server.url, extensions=extensions)
                assert {key: response.request.extensions[key] for key in extensions} == extensions
            except httpx.RemoteProtocolError as lost:
                heard.append(str(lost.request.extensions["trace"] is extensions["trace"]))
        return heard

    lost, recovered = events(), events(RETRY)
    assert lost.pop() == "True"
    assert lost[0] == "connection.connect_tcp.started"
    assert recovered[: len(lost)] == lost
    assert recovered.count("connection.connect_tcp.started") == 2
    assert "http11.receive_response_body.complete" in recovered


@pytest.mark.parametrize("policy", [RETRY, Deadline(20.0), Hedge(delay=0.01)], ids=type)
def test_the_extensions_of_the_request_are_as_before(policy: Any, kind: str) -> None:
    request = httpx.Request("GET", "http://shop.test/", extensions={"own": 1, "timeout": {"read": 20.0}})
    before = dict(request.extensions)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(policy, inner=inner)) as client:
            return await client.send(request)

    with WireServer(Fault(HTTP)) as server:
        request.url = httpx.URL(server.url)
        request.headers["host"] = f"127.0.0.1:{server.port}"
        inner = httpx_transport(kind, server)
        if kind == "sync":
            with httpx.Client(transport=PolicyTransport(policy, inner=inner)) as client:
                response = client.send(request)
        else:
            response = asyncio.run(send())
    assert response.status_code == 200
    assert request.extensions == before


async def test_the_extensions_of_a_request_that_was_cancelled_are_as_before() -> None:
    extensions = {"own": 1}
    with WireServer(Fault(HTTP, "answer", "hang")) as server:
        request = httpx.Request("GET", server.url, extensions=extensions)
        async with AsyncPolicyTransport(Deadline(20.0), inner=httpx_transport("async", server)) as transport:
            task = asyncio.ensure_future(transport.handle_async_request(request))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert request.extensions == extensions


def test_the_attempts_of_a_race_do_not_mix_their_traces(kind: str) -> None:
    """The first attempt hangs after it was sent, the second one is answered: both count as sent, each in its phases."""
    with WireServer(Fault(HTTP, "answer", "hang"), times=1) as server:
        client = Client(kind, httpx_transport(kind, server), Hedge(delay=0.05))
        response = client.request("GET", server.url, timeout=0.5)
    report = response.extensions["polvo"]
    assert response.status_code == 200
    for attempt in report.attempts:
        names = [phase.name.split()[0] for phase in attempt.phases]
        assert len(names) == len(set(names))


def test_a_refused_connection_is_proof_whatever_the_body(kind: str) -> None:
    for body in BODIES.values():
        with pytest.raises(httpx.ConnectError) as caught:
            Client(kind, (httpx.HTTPTransport if kind == "sync" else httpx.AsyncHTTPTransport)(), RETRY).request(
                "POST", f"http://127.0.0.1:{refused_port()}/", content=body()
            )
        report: Any = caught.value.polvo  # type: ignore[attr-defined]
        assert (len(report.attempts), report.sent) == (2, False)
