"""The calls that were recorded of the published client, to be made again with it and with ours.

A case is a function that gets a World, arranges what the server answers, and returns what the call returns.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.double_o_server import TOKEN, DoubleOServer, Reply

NOWHERE = "http://127.0.0.1:9"
GONE = {"error": "gone"}


class World:
    """One client module, one stand-in, one directory."""

    def __init__(
        self, oo: ModuleType, server: DoubleOServer, directory: Path, *, asks_once: bool, **keywords: Any
    ) -> None:
        self.oo = oo
        self.asks_once = asks_once
        self.server = server
        self.directory = directory
        self.keywords = keywords
        self.closing = ExitStack()

    def client(self, base_url: str | None = None, **keywords: Any) -> Any:
        return self.closing.enter_context(
            self.oo.Client(base_url=base_url or self.server.url, **keywords, **self.keywords)
        )

    def forget_requests(self) -> None:
        self.server.received.clear()


def _get_cached(world: World) -> Any:
    client = world.client()
    client.get_secret(TOKEN, cache_ttl=300)
    world.forget_requests()
    return client


def _after_invalidation(world: World) -> Any:
    client = _get_cached(world)
    client.invalidate_cache(TOKEN)
    return client.get_secret(TOKEN, cache_ttl=300)


def _get_from_other_server(world: World) -> Any:
    _get_cached(world)
    return world.client(NOWHERE).get_secret(TOKEN, cache_ttl=300)


def _get_twice(world: World, name: str, ttl: float) -> Any:
    client = world.client()
    getattr(client, name)(TOKEN, cache_ttl=ttl)
    return getattr(client, name)(TOKEN, cache_ttl=ttl)


def _export(world: World) -> Any:
    path = world.directory / "exported.env"
    old = os.umask(0o022)
    try:
        world.client().export_env(TOKEN, str(path))
    finally:
        os.umask(old)
    return str((path.read_text(), oct(stat.S_IMODE(path.stat().st_mode))))


def _export_of(variables: dict[str, Any]) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        world.server.variables = variables
        path = world.directory / "other.env"
        world.client().export_env(TOKEN, str(path))
        return path.read_text()

    return run


def _load_of(variables: dict[str, Any]) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        world.server.variables = variables
        return world.client().load_env(TOKEN)

    return run


def _call(name: str) -> Callable[[Any], Any]:
    if name == "proxy":
        return lambda client: client.proxy("v1/x", TOKEN, payload={"a": 1})
    if name == "health":
        return lambda client: client.health()
    return lambda client: getattr(client, name)(TOKEN)


def _call_with_reply(name: str, reply: Reply, **keywords: Any) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        world.server.always = reply
        return _call(name)(world.client(**keywords))

    return run


def _follow_redirect(world: World) -> Any:
    world.server.script.append(Reply(301, headers={"Location": "/health"}))
    return world.client().get_secret(TOKEN)


def _fail_once(first: Reply, call: Callable[[Any], Any], **keywords: Any) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        world.server.script.extend([first, first])
        return call(world.client(retries=2, **keywords))

    return run


def _pay(client: Any) -> Any:
    return client.proxy("v1/pay", TOKEN, payload={"amount": 1})


def _proxy(*arguments: Any, **keywords: Any) -> Callable[[World], Any]:
    return lambda world: world.client().proxy(arguments[0], TOKEN, *arguments[1:], **keywords)


def _stampede(world: World) -> Any:
    client, results, barrier = world.client(), [], threading.Barrier(8)
    begun = threading.Semaphore(0)

    def run() -> None:
        barrier.wait(10)
        begun.release()
        results.append(client.get_secret("tok_stampede", cache_ttl=300))

    def wait_for_all() -> None:
        for _ in range(8):
            begun.acquire(timeout=10)

    # Nobody is answered before all have asked, or, where one asks for all, before all have begun.
    together = threading.Barrier(8)
    world.server.before_answer = wait_for_all if world.asks_once else lambda: together.wait(10)
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return len(results)


def _module(name: str, *arguments: Any, **keywords: Any) -> Callable[[World], Any]:
    return lambda world: getattr(world.oo, name)(*arguments, **keywords, base_url=world.server.url)


def _call_module_at_other_server(world: World) -> Any:
    world.oo.get_secret(TOKEN, base_url=world.server.url)
    world.forget_requests()
    return world.oo.get_secret(TOKEN, base_url=NOWHERE)


CASES: dict[str, Callable[[World], Any]] = {
    "sync get_secret": lambda world: world.client().get_secret(TOKEN),
    "sync get_secret cache_ttl=300 first": lambda world: world.client().get_secret(TOKEN, cache_ttl=300),
    "sync get_secret cache_ttl=300 second (cached)": lambda world: _get_cached(world).get_secret(TOKEN, cache_ttl=300),
    "sync get_secret cache_ttl=None after cached": lambda world: _get_cached(world).get_secret(TOKEN),
    "sync other client other base_url hits the same global cache": _get_from_other_server,
    "sync invalidate_cache(token) then get": _after_invalidation,
    "sync invalidate_cache()": lambda world: world.client().invalidate_cache(),
    "sync get_secret cache_ttl=0 twice": lambda world: _get_twice(world, "get_secret", 0),
    "sync get_secret cache_ttl=-5": lambda world: world.client().get_secret(TOKEN, cache_ttl=-5),
    "sync proxy POST payload": _proxy("v1/chat/completions", payload={"model": "m"}),
    "sync proxy leading slash": _proxy("/v1/x", payload={"a": 1}),
    "sync proxy GET no payload": _proxy("v1/models", "GET"),
    "sync proxy payload={}": _proxy("v1/x", payload={}),
    "sync proxy headers override": _proxy(
        "v1/x",
        payload={"a": 1},
        headers={"authorization": "Bearer OTHER", "Content-Type": "application/vnd.x", "X-Trace": "t1"},
    ),
    "sync proxy path with ../ and ?": _proxy("../secret?x=1", "GET"),
    "sync proxy DELETE": _proxy("v1/f/1", "DELETE"),
    "sync chat_completion": lambda world: world.client().chat_completion(TOKEN, [{"role": "user", "content": "hi"}]),
    "sync chat_completion kwargs": lambda world: world.client().chat_completion(
        TOKEN, [], model="x", temperature=0.1, stream=True
    ),
    "sync embed": lambda world: world.client().embed(TOKEN, ["a", "b"], dimensions=8),
    "sync image": lambda world: world.client().image(TOKEN, "a cat"),
    "sync get_env": lambda world: world.client().get_env(TOKEN),
    "sync get_env cached twice": lambda world: _get_twice(world, "get_env", 300),
    "sync load_env": lambda world: world.client().load_env(TOKEN),
    "sync export_env": _export,
    "sync export_env newline value": _export_of({"K": "line1\nINJECTED=1"}),
    "sync export_env non-string value": _export_of({"K": 5}),
    "sync load_env non-string value": _load_of({"K": 5}),
    "sync health": lambda world: world.client().health(),
    "sync get_secret HTTP 204": _call_with_reply("get_secret", Reply(204)),
    "sync get_secret HTTP 301": _follow_redirect,
    **{
        f"sync {name} HTTP {status}": _call_with_reply(name, Reply(status, {"error": "x"}))
        for name in ("get_secret", "proxy", "get_env", "health")
        for status in (400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
        if name == "get_secret" or status in (401, 403, 429, 500, 503)
    },
    "sync get_secret 200 error 'Invalid token'": _call_with_reply("get_secret", Reply(body={"error": "Invalid token"})),
    "sync get_secret 200 error 'Author not found' (substring auth)": _call_with_reply(
        "get_secret", Reply(body={"error": "Author not found"})
    ),
    "sync get_secret 200 error 'gone'": _call_with_reply("get_secret", Reply(body=GONE)),
    "sync get_secret 200 error is dict": _call_with_reply("get_secret", Reply(body={"error": {"code": 1}})),
    "sync get_secret 200 {}": _call_with_reply("get_secret", Reply(body={})),
    "sync get_secret 200 value None": _call_with_reply("get_secret", Reply(body={"value": None})),
    "sync get_secret 200 list": _call_with_reply("get_secret", Reply(body=[1])),
    "sync get_secret 200 not json": _call_with_reply("get_secret", Reply(body=b"hello")),
    "sync proxy 200 not json": _call_with_reply("proxy", Reply(body=b"hello")),
    "sync proxy 204 empty": lambda world: (
        world.server.script.append(Reply(204)),
        world.client().proxy("v1/x", TOKEN, method="DELETE"),
    )[1],
    "sync get_env 200 error": _call_with_reply("get_env", Reply(body=GONE)),
    "sync get_env 200 {}": _call_with_reply("get_env", Reply(body={})),
    **{
        f"sync retries=2 get_secret HTTP {status}": _call_with_reply(
            "get_secret", Reply(status), retries=2, backoff_factor=0.01
        )
        for status in (429, 500, 503)
    },
    "sync retries=2 get_secret dropped conn": _fail_once(Reply(drop=True), _call("get_secret"), backoff_factor=0.01),
    "sync retries=2 proxy POST dropped conn (non-idempotent resend)": _fail_once(
        Reply(drop=True), _pay, backoff_factor=0.01
    ),
    "sync retries=2 proxy POST read timeout (non-idempotent resend)": _fail_once(
        Reply(hang=True), _pay, backoff_factor=0.01, timeout=0.3
    ),
    "sync conn refused retries=0": lambda world: world.client(NOWHERE).get_secret(TOKEN),
    "sync timeout": _call_with_reply("get_secret", Reply(hang=True), timeout=0.3),
    "sync token with newline": lambda world: world.client().get_secret("tok\nX-Evil: 1"),
    "sync token non-latin1": lambda world: world.client().get_secret("tok☃"),
    "8 threads cold cache (stampede)": _stampede,
    "module get_secret base_url=RECORDER": _module("get_secret", TOKEN),
    "module get_secret base_url=http://127.0.0.1:9 (ignored?)": _call_module_at_other_server,
    "module proxy": _module("proxy", "v1/x", TOKEN, payload={"a": 1}),
    "module chat": _module("chat", TOKEN, [{"role": "user", "content": "Hello!"}]),
    "module get_env": _module("get_env", TOKEN),
    "module load_env": _module("load_env", TOKEN),
    "module export_env": lambda world: world.oo.export_env(
        TOKEN, path=str(world.directory / "m.env"), base_url=world.server.url
    ),
    "module embed": _module("embed", TOKEN, ["x"]),
    "module image": _module("image", TOKEN, "p"),
    "module health": _module("health"),
}
"""By the names that they have in the recording."""

UNREPEATED = {
    "sync repr(client)/vars": "looks at attributes, and sends nothing",
    "cache growth: 2000 expired distinct tokens stay": "looks at attributes, and sends nothing",
    "module invalidate_cache('') clears all": "looks at attributes, and sends nothing",
    "module default timeout/retries": "looks at attributes, and sends nothing",
}
"""Rows of the recording that are no calls, and why."""
