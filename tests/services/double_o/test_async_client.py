"""The asynchronous client of Double-O: what is its own; `test_double_o.py` holds for it as well (slow)."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import os
import pickle
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

import polvo_adapters as polvo
from polvo_adapters.services import double_o as oo
from polvo_adapters.services.double_o import AsyncClient, Client, async_client
from polvo_adapters.services.double_o.cache import SecretCache
from polvo_adapters.services.double_o.errors import ArgumentError
from polvo_adapters.stores import SQLiteStore
from tests.support.double_o_server import COMPLETION, TOKEN, VALUE, VARIABLES, DoubleOServer, Reply
from tests.support.token_sharing import until

PACKAGE = Path(oo.__file__).parent
PATIENCE = 20.0


@pytest.fixture
def server(double_o_server: DoubleOServer) -> DoubleOServer:
    return double_o_server


# One copy of each operation -------------------------------------------------------------------------------------------


def public(kind: type) -> dict[str, inspect.Signature]:
    names = [name for name in vars(kind) if not name.startswith("_")]
    return {name: inspect.signature(getattr(kind, name)) for name in names if callable(getattr(kind, name))}


def test_the_two_clients_have_the_same_methods_and_arguments() -> None:
    threads, tasks = public(Client), public(AsyncClient)
    assert tasks == {**threads, "aclose": threads["close"]}
    assert all(inspect.iscoroutinefunction(getattr(AsyncClient, name)) for name in tasks)
    settings = [inspect.signature(kind).replace(return_annotation=None).parameters for kind in (Client, AsyncClient)]
    assert list(settings[0]) == list(settings[1])


def test_no_operation_is_there_twice() -> None:
    """Paths, payloads and what a response means are in one module; the clients hand arguments on."""
    found = Counter[str]()
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.body[0].value) for node in ast.walk(tree) if has_docstring(node)}  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
            if is_text and ("/api/" in node.value or node.value.startswith(("v1/", "/health"))):  # type: ignore[attr-defined]
                found[path.name] += 1
            if isinstance(node, (ast.Yield, ast.YieldFrom)) and path.name != "cache.py":
                found[path.name] += 1
    assert set(found) == {"calls.py"}
    for method in ast.walk(ast.parse(Path(async_client.__file__).read_text(encoding="utf-8"))):
        if isinstance(method, ast.AsyncFunctionDef) and not method.name.startswith(("_", "close")):
            assert len(method.body) <= 3  # a docstring, arguments, and the operation


def has_docstring(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    return (
        isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
    )


# The guide ------------------------------------------------------------------------------------------------------------


async def test_the_example_of_the_published_client(server: DoubleOServer) -> None:
    async with AsyncClient(server.url, retries=3, backoff_factor=0.5) as client:
        secret = await client.get_secret("YOUR_TOKEN", cache_ttl=300)
        result = await client.proxy(
            "v1/chat/completions",
            token="YOUR_PROXY_TOKEN",
            payload={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]},
        )
    assert (secret, result) == (VALUE, COMPLETION)


async def test_everything_that_it_can_do(server: DoubleOServer, tmp_path: Path) -> None:
    async with AsyncClient(server.url) as client:
        assert await client.get_secret(TOKEN) == VALUE
        assert await client.get_env(TOKEN) == VARIABLES
        assert await client.load_env(TOKEN) == VARIABLES
        assert os.environ["POLVO_T_A"] == "1"
        assert await client.export_env(TOKEN, tmp_path / ".env") == VARIABLES
        assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
        messages = [{"role": "user", "content": "Hello!"}]
        assert await client.chat(TOKEN, messages) == COMPLETION
        assert await client.chat_completion(TOKEN, messages, temperature=0.5) == COMPLETION
        assert await client.embed(TOKEN, ["a"]) is not None
        assert await client.image(TOKEN, "a cat") is not None
        assert await client.health() is True
        await client.invalidate_cache()
    bodies = [each.body for each in server.received if "chat" in each.path]
    assert bodies[1] == {"json": {"model": "gpt-4o-mini", "messages": messages, "temperature": 0.5}}


async def test_it_is_made_before_there_is_a_loop_as_in_the_example_with_fastapi(server: DoubleOServer) -> None:
    client = await asyncio.to_thread(AsyncClient, server.url, retries=3)
    assert await client.get_secret(TOKEN, cache_ttl=300) == VALUE
    await client.close()


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(401, {"error": "no"}), oo.AuthenticationError),
        (Reply(500, {"error": "no"}), oo.SecretError),
        (Reply(200, {"error": "gone"}), oo.SecretError),
        (Reply(drop=True), oo.SecretError),
        (Reply(200, b"hello"), oo.SecretError),
    ],
)
async def test_errors_are_those_of_the_other_client(server: DoubleOServer, reply: Reply, kind: type) -> None:
    server.always = reply
    errors = []
    async with AsyncClient(server.url) as client:
        with pytest.raises(kind) as caught:
            await client.get_secret(TOKEN)
        errors.append(caught.value)
    with Client(server.url) as other, pytest.raises(kind) as caught:
        await asyncio.to_thread(other.get_secret, TOKEN)
    errors.append(caught.value)
    named = [(type(each), each.reason, each.attempts, each.status_code, each.retry_after) for each in errors]
    assert named[0] == named[1]
    if not reply.drop:
        assert str(errors[0]) == str(errors[1])
    assert errors[0].__cause__ is errors[0].__context__ is None


async def test_a_closed_client_says_so(server: DoubleOServer) -> None:
    client = AsyncClient(server.url)
    await client.close()
    await client.close()
    for call in (client.get_secret(TOKEN), client.health(), client.get_secret(TOKEN, cache_ttl=60)):
        with pytest.raises(ArgumentError, match="closed") as caught:
            await call
        assert caught.value.reason == "closed"
    with pytest.raises(ArgumentError, match="closed"):
        async with client:
            pass
    assert server.received == []


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"retries": -1}, ArgumentError),
        ({"timeout": 0}, ArgumentError),
        ({"base_url": "ftp://a.test"}, ArgumentError),
        ({"unknown": 1}, TypeError),
        ({"allow_redirects": True}, TypeError),
    ],
)
def test_what_cannot_work_is_refused_at_construction(keywords: dict[str, Any], error: type) -> None:
    with pytest.raises(error, match=r"retries|timeout|base_url|unknown|allow_redirects"):
        AsyncClient(**keywords)


# Loops, threads and tasks ---------------------------------------------------------------------------------------------


def run_once(client: AsyncClient, call: Any) -> Any:
    """Run a call in a loop of its own, as a script may, which closes its connections."""
    try:
        return asyncio.run(call)
    finally:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert len(client._sessions) == 1
            client._forget_closed_loops()
            assert client._sessions == {}
            gc.collect()
        assert [str(each.message) for each in caught] == []


def test_one_client_serves_one_loop_after_the_other_and_two_at_a_time(server: DoubleOServer) -> None:
    client, errors = AsyncClient(server.url), []
    for _ in range(2):
        assert run_once(client, client.get_secret(TOKEN)) == VALUE

    async def many() -> None:
        assert await asyncio.gather(*(client.get_secret(TOKEN) for _ in range(5))) == [VALUE] * 5

    def run() -> None:
        try:
            asyncio.run(many())
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []


async def test_tasks_and_threads_share_cache_and_fetch(server: DoubleOServer) -> None:
    async with AsyncClient(server.url) as client:
        server.before_answer = lambda: time.sleep(0.1)
        with Client(server.url) as other:
            in_threads = [asyncio.to_thread(other.get_secret, TOKEN, 300) for _ in range(16)]
            in_tasks = [client.get_secret(TOKEN, cache_ttl=300) for _ in range(16)]
            assert await asyncio.gather(*in_threads, *in_tasks) == [VALUE] * 32
            assert len(server.received) == 1
            await client.invalidate_cache(TOKEN)
            await asyncio.to_thread(other.get_secret, TOKEN, 300)
            assert await client.get_secret(TOKEN, cache_ttl=300) == VALUE
    assert len(server.received) == 2


async def test_a_task_that_is_cancelled_leaves_the_fetch_to_another() -> None:
    cache, begun = SecretCache(), []

    async def fetch() -> str:
        begun.append(1)
        await asyncio.sleep(0.05 if len(begun) > 1 else PATIENCE)
        return "value"

    tasks = [asyncio.ensure_future(cache.aget("s", "t", "secret", 60, fetch)) for _ in range(3)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == ["value"] * 2
    assert (len(begun), tasks[0].cancelled(), len(cache._flights)) == (2, True, 0)


async def test_a_task_waits_for_a_thread_no_longer_than_for_a_call(server: DoubleOServer) -> None:
    go_on = threading.Event()
    server.before_answer = lambda: go_on.wait(PATIENCE)
    with Client(server.url) as other:
        first = asyncio.ensure_future(asyncio.to_thread(other.get_secret, TOKEN, 60))
        await asyncio.to_thread(until, lambda: server.received)
        async with AsyncClient(server.url, timeout=0.2) as client:
            with pytest.raises(oo.SecretError, match="another caller"):
                await client.get_secret(TOKEN, cache_ttl=60)
        go_on.set()
        assert await first == VALUE


async def test_many_tasks_with_tokens_of_their_own_some_cancelled(server: DoubleOServer) -> None:
    server.secrets = {f"tok{number}": f"value{number}" for number in range(30)}
    async with AsyncClient(server.url) as client:
        tasks = [asyncio.ensure_future(client.get_secret(token, cache_ttl=60)) for token in server.secrets]
        await asyncio.sleep(0.01)
        for task in tasks[::3]:
            task.cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        for value, expected in zip(got, server.secrets.values(), strict=True):
            assert value == expected or isinstance(value, asyncio.CancelledError)
        assert await client.get_secret("tok0", cache_ttl=60) == "value0"
    assert len(asyncio.all_tasks()) == 1


def test_a_client_pickles_without_values(server: DoubleOServer) -> None:
    client = AsyncClient(server.url, timeout=5, retries=2, rate_limit="adaptive")
    run_once(client, client.get_secret("hush-token", cache_ttl=60))
    data = pickle.dumps(client)
    assert b"hush-token" not in data
    assert VALUE.encode() not in data
    again = pickle.loads(data)
    assert run_once(again, again.get_secret(TOKEN)) == VALUE
    assert (again.timeout, again.retries, again.deadline) == (5, 2, 15)
    assert repr(again) == f"<AsyncClient {server.url}>"


async def test_both_clients_share_a_quota_by_a_store(server: DoubleOServer, tmp_path: Path) -> None:
    limit = polvo.ratelimit.TokenBucket(rate=0.001, capacity=2)
    shared: dict[str, Any] = {"store": SQLiteStore(tmp_path / "store"), "rate_limit": limit, "timeout": 20}
    async with AsyncClient(server.url, **shared) as client:
        with Client(server.url, **shared) as other:
            await client.get_secret(TOKEN)
            await asyncio.to_thread(other.get_secret, TOKEN)
            with pytest.raises(oo.SecretError):
                await client.get_secret(TOKEN)
    assert len(server.received) == 2
