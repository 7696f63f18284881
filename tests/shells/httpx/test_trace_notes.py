"""The steps of an attempt in a task: noted by the connection they are those that the events of httpcore tell."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.async_library import Late, finish_within
from polvo_adapters.shells.httpx.trace import ATTEMPT, HTTPXTrace
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport
from tests.support.wire_servers import refused_port

RETRY = ExponentialBackoff(base=0.001, max_attempts=2)
Act = Callable[[httpx.AsyncClient, dict[str, Any]], Coroutine[Any, Any, Any]]


async def listen(_event: str, _info: dict[str, Any]) -> None:
    """Be a listener, with which httpcore tells all."""


def run(act: Act, *policies: Policy, told: bool, **keywords: Any) -> Any:
    async def run() -> Any:
        transport = AsyncPolicyTransport(*(policies or (RETRY,)), **keywords)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            result = await act(client, {"trace": listen} if told else {})
            assert ATTEMPT.get() is None
            return result

    return asyncio.run(run())


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    take = HTTPXTrace.take_async

    async def take_async(self: HTTPXTrace, event: str, info: dict[str, Any]) -> None:
        seen.append(event)
        await take(self, event, info)

    monkeypatch.setattr(HTTPXTrace, "take_async", take_async)
    return seen


def phases_of(response: httpx.Response) -> list[list[str]]:
    attempts = response.extensions["polvo"].attempts
    return [[phase.name for phase in attempt.phases] for attempt in attempts]


@pytest.mark.parametrize("path", ["/echo", "/fault/status", "/fault/drip?size=50&interval=0.001", "/fault/redirect"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_phases_are_the_same(method: str, path: str, server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, extensions: dict[str, Any]) -> list[Any]:
        content = b"body" if method == "POST" else None
        found = []
        for _ in range(2):  # on a new connection, and on one that is open
            response = await client.request(method, server.url + path, content=content, extensions=extensions)
            found.append((response.status_code, phases_of(response)))
        return found

    noted, told = run(act, told=False), run(act, told=True)
    assert noted == told
    assert {"send", "wait"} <= set(noted[0][1][0])


@pytest.mark.parametrize("told", [False, True])
def test_a_refused_connection_is_proved_to_be_unsent(told: bool) -> None:
    async def act(client: httpx.AsyncClient, extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.post(f"http://127.0.0.1:{refused_port()}/", content=b"x", extensions=extensions)
        report = caught.value.polvo  # type: ignore[attr-defined]
        return len(report.attempts), report.sent

    assert run(act, told=told) == (2, False)


@pytest.mark.parametrize("told", [False, True])
def test_what_may_have_been_sent_is_not_said_to_be_unsent(told: bool, server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.HTTPError) as caught:
            await client.post(server.url + "/fault/reset", content=b"x", extensions=extensions)
        report = caught.value.polvo  # type: ignore[attr-defined]
        return len(report.attempts), report.sent

    assert run(act, told=told) == (1, True)


def test_a_plain_call_needs_no_events(events: list[str], server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> int:
        return (await client.post(server.url + "/echo", content=b"x")).status_code

    assert (run(act, told=False), events) == (200, [])


@pytest.mark.parametrize("keywords", [{"http2": True}, {"proxy": "own"}, {}], ids=["http2", "proxy", "generator"])
def test_what_others_write_or_may_fail_is_told_by_events(
    keywords: dict[str, Any], events: list[str], server: FailureServer
) -> None:
    """On a connection of HTTP/2 another task may write for this one; a proxy and a generator may fail by themselves."""

    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> Any:
        async def parts() -> Any:
            yield b"x"

        content = b"x" if keywords else parts()
        return (await client.post(server.url + "/echo", content=content)).status_code

    given = {**keywords, "proxy": server.url} if "proxy" in keywords else keywords
    run(act, told=False, **given)
    assert "http11.send_request_headers.started" in events


def test_a_cancelled_attempt_leaves_no_trace_to_others(server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> int:
        with pytest.raises(Late):
            await finish_within(0.1, client.get(server.url + "/fault/hang"))
        assert ATTEMPT.get() is None
        return (await client.get(server.url + "/echo")).status_code

    assert run(act, told=False) == 200


class Resolving(httpcore.AsyncNetworkBackend):
    """A backend that calls a resolver over HTTP, through policies, before it connects."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._ask, self._inner = ask, httpcore.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **keywords: Any) -> httpcore.AsyncNetworkStream:
        await self._ask()
        return await self._inner.connect_tcp(*args, **keywords)


def test_a_call_within_an_attempt_leaves_no_step_of_it_out(server: FailureServer) -> None:
    """Its trace must say that the request was handed to the socket, or the request would be sent once more."""

    async def run() -> tuple[int, bool]:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY), trust_env=False) as resolver:
            inner = httpx.AsyncHTTPTransport()
            inner._pool = httpcore.AsyncConnectionPool(
                network_backend=Resolving(lambda: resolver.get(server.url + "/echo"))
            )
            async with httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY, inner=inner)) as client:
                with pytest.raises(httpx.HTTPError) as caught:
                    await client.post(server.url + "/fault/reset", content=b"x")
        report = caught.value.polvo  # type: ignore[attr-defined]
        return len(report.attempts), report.sent

    assert asyncio.run(run()) == (1, True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks of Python 3.10 have a context each")
def test_tasks_that_share_a_context_leave_no_step_out(server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> list[Any]:
        async def post(path: str, begins: int) -> tuple[int, bool]:
            for _ in range(begins):  # each while others connect, write and read
                await asyncio.sleep(0)
            try:
                report = (await client.post(server.url + path, content=b"x")).extensions["polvo"]
            except httpx.HTTPError as error:
                report = error.polvo  # type: ignore[attr-defined]
            return len(report.attempts), report.sent

        loop, context = asyncio.get_running_loop(), copy_context()
        paths = ["/fault/reset", "/echo"] * 10
        posts = [post(path, number) for number, path in enumerate(paths)]
        tasks = [loop.create_task(each, context=context) for each in posts]  # type: ignore[call-arg, unused-ignore]
        found = await asyncio.gather(*tasks)
        assert context[ATTEMPT] is None
        return found

    assert run(act, told=False) == [(1, True)] * 20


def test_what_is_begun_within_an_attempt_outlives_its_trace(server: FailureServer) -> None:
    """A task has the context in which it was made; the calls that it makes later are attempts of their own."""

    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> Any:
        old = HTTPXTrace(0.0, float, None)
        old.is_over = True
        ATTEMPT.set(old)
        found = [phases_of(await client.post(server.url + "/echo", content=b"x")) for _ in range(2)]
        return found, len(old.marks)

    found, marks = run(act, told=False)
    assert ([names[0][-3:] for names in found], marks) == ([["send", "wait", "body"]] * 2, 1)


def test_a_connection_that_another_task_has_opened_notes_for_the_one_that_uses_it(server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient, _: dict[str, Any]) -> Any:
        first = await asyncio.create_task(client.post(server.url + "/echo", content=b"x"))
        second = await asyncio.create_task(client.post(server.url + "/echo", content=b"x"))
        with pytest.raises(httpx.HTTPError) as caught:
            await asyncio.create_task(client.post(server.url + "/fault/reset", content=b"x"))
        report = caught.value.polvo  # type: ignore[attr-defined]
        return phases_of(first)[0][1:], phases_of(second)[0], (len(report.attempts), report.sent)

    sent = ["send", "wait", "body"]
    assert run(act, told=False) == (["connect 127.0.0.1", *sent], ["queue", *sent], (1, True))


@pytest.mark.parametrize("told", [False, True])
def test_connecting_once_more_is_noted(told: bool) -> None:
    async def act(client: httpx.AsyncClient, extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.post(f"http://127.0.0.1:{refused_port()}/", content=b"x", extensions=extensions)
        report = caught.value.polvo  # type: ignore[attr-defined]
        return report.sent, [[phase.name for phase in attempt.phases] for attempt in report.attempts]

    phases = ["queue", "connect 127.0.0.1", "connect 127.0.0.1"]
    assert run(act, Deadline(30), told=told, retries=1) == (False, [phases])


@pytest.mark.skipif(not hasattr(asyncio, "start_unix_server"), reason="this system has no Unix sockets")
@pytest.mark.parametrize("told", [False, True])
def test_a_request_through_a_unix_socket_was_sent(told: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def act(client: httpx.AsyncClient, extensions: dict[str, Any]) -> Any:
        async with await asyncio.start_unix_server(serve, path):
            with pytest.raises(httpx.RemoteProtocolError) as caught:
                await client.post("http://a.test/", content=b"x", extensions=extensions)
        report = caught.value.polvo  # type: ignore[attr-defined]
        return report.sent, [[phase.name for phase in attempt.phases] for attempt in report.attempts]

    assert run(act, told=told, uds=path) == (True, [["queue", f"connect {path}", "send", "wait"]])
