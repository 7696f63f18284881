"""Bodies of httpx that go on where they broke off: what tests/shells/test_resume.py does not try with all shells."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import ssl
import threading
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.resume import Resume
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.httpx.pools import find_pool
from polvo_adapters.stores.partial_files import PartialFile
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport, ResilientTransport
from tests.support.alarms import WaitingAlarm, ringing
from tests.support.cutting_server import CuttingServer, Entity, Seen, serve
from tests.support.resuming_clients import retrying

PLAIN = bytes(range(97, 123)) * 2
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
NO_BREAKER: Any = {"circuit_breaker": None, "verify": CONTEXT, "trust_env": False}


def transport(*policies: Any, **keywords: Any) -> PolicyTransport:
    return PolicyTransport(*(policies or (Resume(), retrying())), stream=True, verify=CONTEXT, **keywords)


def session(**options: Any) -> polvo.AsyncSession:
    return polvo.AsyncSession(**{"retry": retrying(), "resume": True, "timeout": 2, **NO_BREAKER, **options})


async def read(client: httpx.AsyncClient, url: str, **keywords: Any) -> bytes:
    async with client.stream("GET", url, **keywords) as response:
        return await response.aread()


# Ways to ask for it ---------------------------------------------------------------------------------------------------


def ask_by_policy(url: str) -> bytes:
    with httpx.Client(transport=transport()) as client, client.stream("GET", url) as response:
        return response.read()


def ask_by_extension(url: str) -> bytes:
    client = httpx.Client(transport=ResilientTransport(retry=retrying(), resume=True, verify=CONTEXT))
    with client, client.stream("GET", url, extensions={"polvo_stream": True}) as response:
        return response.read()


def ask_by_install(url: str) -> bytes:
    client = polvo.install(httpx.Client(verify=CONTEXT), retry=retrying(), resume=True)
    with client, client.stream("GET", url) as response:
        return b"".join(response.iter_raw())


def ask_by_policy_below(url: str) -> bytes:
    inner = ResilientTransport(retry=retrying(), resume=True, stream=True, verify=CONTEXT)
    client = httpx.Client(transport=PolicyTransport(Deadline(5), inner=inner, stream=True))
    with client, client.stream("GET", url) as response:
        return response.read()


def ask_in_task(url: str, **options: Any) -> bytes:
    async def main() -> bytes:
        said = options.pop("said", {})
        async with session(**options) as client:
            return await read(client, url, **said)

    return asyncio.run(main())


def ask_by_async_install(url: str) -> bytes:
    async def main() -> bytes:
        async with polvo.install(httpx.AsyncClient(verify=CONTEXT), retry=retrying(), resume=True) as client:
            return await read(client, url)

    return asyncio.run(main())


WAYS: dict[str, Callable[[str], bytes]] = {
    "policy": ask_by_policy,
    "extension": ask_by_extension,
    "install": ask_by_install,
    "policy of a transport below": ask_by_policy_below,
    "session": ask_in_task,
    "call": lambda url: ask_in_task(url, resume=None, said={"resume": True}),
    "install, async": ask_by_async_install,
}


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_asked_for_in_several_ways(way: str) -> None:
    with serve(Entity(PLAIN), cuts=[10, 3]) as server:
        assert WAYS[way](server.url) == PLAIN
        assert [seen.headers.get("range") for seen in server.seen] == [None, "bytes=10-", "bytes=13-"]


def test_a_body_that_is_read_in_the_attempt_is_repeated_whole() -> None:
    with serve(Entity(PLAIN), cuts=[10]) as server:
        with httpx.Client(transport=ResilientTransport(retry=retrying(), resume=True, verify=CONTEXT)) as client:
            assert client.get(server.url).content == PLAIN
        assert [seen.headers.get("range") for seen in server.seen] == [None, None]


async def test_the_rest_is_asked_for_where_redirects_have_led() -> None:
    class Redirecting(CuttingServer):
        def answer(self, connection: Any, seen: Seen, number: int) -> bool:
            if seen.path == "/file.bin":
                connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
                return True
            return super().answer(connection, seen, number)

    server = Redirecting(Entity(PLAIN), cuts=[None, 10])
    try:
        async with session() as client:
            assert await read(client, server.url) == PLAIN
        assert [seen.path for seen in server.seen] == ["/file.bin", "/there", "/there"]
    finally:
        server.close()


async def test_headers_are_sent_again_as_they_were() -> None:
    headers = [("X-Two", "a"), ("X-Two", "b"), ("X-Name", "caf\u00e9".encode("latin-1").decode("latin-1"))]
    async with session() as client:
        with serve(Entity(PLAIN), cuts=[10]) as server:
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
            assert await read(client, server.url, headers=encoded) == PLAIN
            first, second = (dict(seen.headers) for seen in server.seen)
            assert (second.pop("range"), second.pop("if-range")) == ("bytes=10-", '"one"')
            assert first == second


# Ends -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_session", [True, False])
async def test_nothing_is_asked_for_once_it_is_closed(is_session: bool) -> None:
    with serve(Entity(PLAIN), cuts=[10], deed="hang") as server:
        transport = AsyncPolicyTransport(Resume(), retrying(), stream=True, verify=CONTEXT)
        client = session() if is_session else httpx.AsyncClient(transport=transport)
        task = asyncio.ensure_future(read(client, server.url))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if server.seen:
                break
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(httpx.HTTPError) as caught:
            await task
        assert "closed" in str(caught.value.__notes__)
        assert len(server.seen) == 1


class ShortBody(httpx.AsyncBaseTransport):
    """A transport that does not look at the length of bodies."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies, self.asked = list(bodies), list[httpx.Request]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        first = len(PLAIN) - len(self.bodies[0])
        body, length = self.bodies.pop(0)[:10], len(PLAIN) - first

        async def parts() -> AsyncIterator[bytes]:
            yield body
            yield b""

        headers = {"ETag": '"one"', "Content-Length": str(length)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(PLAIN) - 1}/{len(PLAIN)}"
        return httpx.Response(206 if first else 200, headers=headers, content=parts())


async def test_an_early_end_that_the_transport_does_not_see() -> None:
    inner = ShortBody(*(PLAIN[at:] for at in range(0, len(PLAIN), 10)))
    async with polvo.AsyncSession(transport=inner, retry=retrying(), resume=True) as client:
        assert await read(client, "http://a.test/") == PLAIN
    assert [request.headers.get("range") for request in inner.asked][:3] == [None, "bytes=10-", "bytes=20-"]
    inner = ShortBody(PLAIN)
    async with polvo.AsyncSession(transport=inner, retry=retrying(max_attempts=1), resume=True) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            await read(client, "http://a.test/")


@pytest.mark.parametrize("stream", [False, True])
def test_a_part_of_an_encoded_body_is_no_broken_one(stream: bool) -> None:
    wire = zlib.compress(PLAIN * 50)
    client = httpx.Client(transport=PolicyTransport(Deadline(5), stream=stream, verify=CONTEXT))
    headers = {"Range": "bytes=0-40"}
    with serve(Entity(wire, "deflate")) as server, client:
        with client.stream("GET", server.url, headers=headers) as response:
            assert (response.status_code, b"".join(response.iter_raw())) == (206, wire[:41])
        assert asyncio.run(_get_part(server.url, headers, stream)) == wire[:41]


async def _get_part(url: str, headers: dict[str, str], stream: bool) -> bytes:
    transport = AsyncPolicyTransport(Deadline(5), stream=stream, verify=CONTEXT)
    async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", url, headers=headers) as response:
        return b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize("is_async", [False, True])
def test_the_deadline_of_a_transport_above_holds_for_the_rest(is_async: bool) -> None:
    kind: Any = AsyncPolicyTransport if is_async else PolicyTransport
    inner = kind(Resume(), retrying(), stream=True, verify=CONTEXT)
    outer = kind(Deadline(0.3), inner=inner, stream=True)

    def read_all(url: str) -> None:
        with httpx.Client(transport=outer, timeout=0.1) as client, client.stream("GET", url) as response:
            response.read()

    async def read_all_async(url: str) -> None:
        async with httpx.AsyncClient(transport=outer, timeout=0.1) as client:
            await read(client, url)

    began = time.monotonic()
    with serve(Entity(PLAIN), cuts=[1] * 30, deed="hang") as server, pytest.raises(polvo.DeadlineExceeded):
        asyncio.run(read_all_async(server.url)) if is_async else read_all(server.url)
    assert 0.25 < time.monotonic() - began < 2.5  # of 3


def test_what_the_callers_signal_handler_raises_is_no_break() -> None:
    alarm = WaitingAlarm()

    def interrupt(_: int, frame: Any) -> None:
        if alarm.is_waiting(frame):
            raise TimeoutError("of the caller")

    with serve(Entity(PLAIN), cuts=[10], deed="hang") as server, httpx.Client(transport=transport()) as client:
        response = client.send(client.build_request("GET", server.url), stream=True)
        with pytest.raises((TimeoutError, httpx.HTTPError)), ringing(interrupt):
            response.read()
        assert len(server.seen) == 1


def test_another_thread_may_read_it() -> None:
    with serve(Entity(PLAIN), cuts=[10, 3]) as server, httpx.Client(transport=transport()) as client:
        response = client.send(client.build_request("GET", server.url), stream=True)
        thread = threading.Thread(target=response.read)
        thread.start()
        thread.join(5)
        assert response.content == PLAIN


def test_nothing_is_left_to_the_garbage_collector() -> None:
    with serve(Entity(PLAIN), cuts=[10, 3]) as server, httpx.Client(transport=transport()) as client:
        gc.collect()
        gc.disable()
        try:
            response: Any = client.send(client.build_request("GET", server.url), stream=True)
            inner = weakref.ref(response.stream._stream)
            assert response.read() == PLAIN
            response.stream._response = None  # of httpx, which refers to the response that refers to it
            del response
            assert inner() is None
        finally:
            gc.enable()


# Tasks that are cancelled ---------------------------------------------------------------------------------------------


def _leaves(client: Any) -> list[Any]:
    """Return what is in the pool of a session besides connections that are idle."""
    pool = find_pool(client._transport)
    return [*pool._requests, *(each for each in pool.connections if not each.is_idle())]


@pytest.mark.parametrize("rest", ["part", "whole"])
async def test_a_task_that_is_cancelled_anywhere_gives_everything_back(rest: str) -> None:
    options = {"bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5}, "deadline": 5}
    with serve(Entity(PLAIN), rest=rest) as server:
        async with session(**options) as client:
            steps = 0
            for number in range(400):
                server.seen.clear()
                server.cuts = [10, 20, 0]
                if await _is_done_after(client, server.url, number):
                    break
                steps += 1
                assert _leaves(client) == [], number
                server.cuts = ()
                assert await read(client, server.url) == PLAIN, number  # the slot is free
            assert 5 < steps < 399


async def _is_done_after(client: httpx.AsyncClient, url: str, steps: int) -> bool:
    """Read a body, cancel that after so many rounds of the event loop, and return whether it was done before."""
    task = asyncio.ensure_future(read(client, url))
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    assert result == PLAIN or isinstance(result, asyncio.CancelledError), result
    return result == PLAIN


class Refusing(CuttingServer):
    """A server that refuses the token of its first answer from then on."""

    def answer(self, connection: Any, seen: Seen, number: int) -> bool:
        if number:
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
            return True
        return super().answer(connection, seen, number)


@pytest.mark.parametrize("how", ["fails", "hangs", "is cancelled"])
async def test_another_credential_that_does_not_come(how: str) -> None:
    values, asked = iter(("old",)), asyncio.Event()

    async def fetch() -> str:
        value = next(values, None)
        if value is not None:
            return value
        asked.set()
        if how == "fails":
            raise OSError("the vault is closed")
        await asyncio.sleep(30)
        return "late"

    server = Refusing(Entity(PLAIN), cuts=[10])
    options = {"bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5}, "deadline": 0.5 if how == "hangs" else 5}
    try:
        async with session(auth=polvo.auth.bearer(polvo.Secret(fetch)), **options) as client:
            task = asyncio.ensure_future(read(client, server.url))
            if how == "is cancelled":
                await asked.wait()
                task.cancel()
            expected: Any = {"fails": httpx.RemoteProtocolError, "hangs": polvo.DeadlineExceeded}
            with pytest.raises(expected.get(how, asyncio.CancelledError)) as caught:
                await task
            assert how != "fails" or "401" in str(caught.value.__notes__)  # the held one stays in use
            assert _leaves(client) == []
    finally:
        server.close()


def list_parts(directory: Path) -> list[int]:
    """Return the lengths of the partial files."""
    return [each.stat().st_size for each in directory.glob(".*.part")]


@pytest.mark.parametrize("when", ["while it hangs", "in the wait before the rest", "before it begins"])
async def test_a_download_that_is_cancelled_keeps_what_has_come(tmp_path: Path, when: str) -> None:
    whole, retry = PLAIN * 5000, retrying() if when != "in the wait before the rest" else ExponentialBackoff(base=30)
    deed = "hang" if when == "while it hangs" else "close"
    with serve(Entity(whole), cuts=[200_000], deed=deed) as server:
        async with session(retry=retry, timeout=10) as client:
            task = asyncio.ensure_future(client.download(server.url, tmp_path / "x"))
            for _ in range(500):
                if when == "before it begins" or any(list_parts(tmp_path)):
                    break
                await asyncio.sleep(0.01)
            await asyncio.sleep(0 if when == "before it begins" else 0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert _leaves(client) == []
            kept = list_parts(tmp_path)
            server.seen.clear()
            server.cuts = ()
            assert (await client.download(server.url, tmp_path / "x")).read_bytes() == whole
            if when == "before it begins":
                assert kept in ([], [0])
            else:
                assert kept == [200_000]
                assert server.seen[0].headers["range"] == "bytes=200000-"
            assert os.listdir(tmp_path) == ["x"]


async def test_nothing_is_written_behind_a_block_that_the_disk_has_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cancelled before it has heard of that leaves no file with a hole to a later download."""
    whole, sizes, is_over, write = PLAIN * 8000, list[int](), threading.Event(), os.write

    def refuse_second(descriptor: int, data: Any) -> int:
        sizes.append(len(data))
        if len(sizes) == 2:
            is_over.wait(5)
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with serve(Entity(whole)) as server:
        async with session() as client:
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", refuse_second)
                task = asyncio.ensure_future(client.download(server.url, tmp_path / "x"))
                while len(sizes) < 2:  # noqa: ASYNC110 - the thread of the file is no task
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)  # until the next block is there
                task.cancel()
                asyncio.get_running_loop().call_later(0.05, is_over.set)
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert (await client.download(server.url, tmp_path / "x")).read_bytes() == whole


async def test_a_download_touches_its_file_on_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by: dict[str, set[int]] = {}
    for name in [name for name, value in vars(PartialFile).items() if inspect.isfunction(value)]:
        original = getattr(PartialFile, name)

        def watch(self: Any, *args: Any, original: Any = original, name: str = name) -> Any:
            by.setdefault(name, set()).add(threading.get_ident())
            return original(self, *args)

        monkeypatch.setattr(PartialFile, name, watch)
    with serve(Entity(PLAIN * 3000), cuts=[50_000]) as server:
        async with session() as client:
            await client.download(server.url, tmp_path / "x")
            server.seen.clear()
            server.cuts = [10_000, 0, 0]
            with pytest.raises(httpx.RemoteProtocolError):
                await client.download(server.url, tmp_path / "x")
    assert {"__init__", "begin", "write", "finish", "keep"} <= by.keys()
    assert threading.get_ident() not in set().union(*by.values())


async def test_progress_may_be_a_coroutine_function(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    async def note(size: int, total: int | None) -> None:
        await asyncio.sleep(0)
        seen.append((size, total))

    with serve(Entity(PLAIN)) as server:
        async with session() as client:
            await client.download(server.url, tmp_path / "x", progress=note)
    assert seen == [(0, len(PLAIN)), (len(PLAIN), len(PLAIN))]


async def test_errors_of_a_download_are_of_httpx_as_well(tmp_path: Path) -> None:
    async with session() as client:
        with pytest.raises(polvo.ConfigurationError) as caught:
            await client.download("http://a.test/", tmp_path)
        assert isinstance(caught.value, httpx.RequestError)
        with pytest.raises(TypeError, match="no keyword stream"):
            await client.download("http://a.test/x", tmp_path / "x", stream=True)  # type: ignore[call-arg]
        assert os.listdir(tmp_path) == []


def test_it_works_under_trio(tmp_path: Path) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with serve(Entity(PLAIN * 3000), cuts=[10, 3]) as server:
            async with session() as client:
                assert await read(client, server.url) == PLAIN * 3000
                server.seen.clear()
                path = await client.download(server.url, tmp_path / "x")
                assert path.read_bytes() == PLAIN * 3000
                server.seen.clear()
                server.cuts, server.deed = [100_000], "hang"
                with trio.move_on_after(0.3):
                    await client.download(server.url, tmp_path / "y")
                assert list_parts(tmp_path) == [100_000]

    trio.run(main)
