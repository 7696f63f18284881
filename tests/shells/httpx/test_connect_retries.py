"""Retries of a transport of httpx, `retries=N`, do not multiply with those of the policies above it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import (
    AsyncPolicyTransport,
    AsyncResilientTransport,
    PolicyTransport,
    ResilientTransport,
)
from tests.support.wire_servers import refused_port

RETRY = ExponentialBackoff(base=0.0, max_attempts=2)
ONCE = ["queue", "connect 127.0.0.1"]
TWICE = [*ONCE, "connect 127.0.0.1"]


def below(is_async: bool) -> Any:
    return httpx.AsyncHTTPTransport(retries=1) if is_async else httpx.HTTPTransport(retries=1)


def installed(is_async: bool) -> Any:
    client: Any = httpx.AsyncClient if is_async else httpx.Client
    return polvo.install(client(transport=below(is_async)), RETRY)


def client_of(transport: Any, is_async: bool) -> Any:
    kind: Any = httpx.AsyncClient if is_async else httpx.Client
    return kind(transport=transport, trust_env=False)


def kind_of(is_async: bool, name: str) -> Any:
    kinds = {
        "policy": (PolicyTransport, AsyncPolicyTransport),
        "resilient": (ResilientTransport, AsyncResilientTransport),
    }
    return kinds[name][is_async]


def nested(is_async: bool) -> Any:
    kind = kind_of(is_async, "policy")
    return client_of(kind(RETRY, inner=kind(Deadline(30), inner=below(is_async))), is_async)


MADE: dict[str, tuple[Callable[[bool], Any], list[list[str]]]] = {
    "its keyword": (lambda a: client_of(kind_of(a, "policy")(RETRY, retries=1), a), [ONCE, ONCE]),
    "given": (lambda a: client_of(kind_of(a, "policy")(RETRY, inner=below(a)), a), [ONCE, ONCE]),
    "below another": (nested, [ONCE, ONCE]),
    "installed": (installed, [ONCE, ONCE]),
    "the standard stack": (
        lambda a: client_of(kind_of(a, "resilient")(retry=RETRY, inner=below(a)), a),
        [ONCE, ONCE],
    ),
    "no policy that retries": (lambda a: client_of(kind_of(a, "policy")(Deadline(30), inner=below(a)), a), [TWICE]),
    "no retry": (lambda a: client_of(kind_of(a, "resilient")(retry=False, retries=1), a), [TWICE]),
}


async def get_in_task(client: httpx.AsyncClient, url: str) -> None:
    async with client:
        await client.get(url)


def list_phases(client: Any, url: str) -> list[list[str]]:
    with pytest.raises(httpx.ConnectError) as caught:
        asyncio.run(get_in_task(client, url)) if isinstance(client, httpx.AsyncClient) else client.get(url)
    if isinstance(client, httpx.Client):
        client.close()
    report = caught.value.polvo  # type: ignore[attr-defined]
    return [[phase.name for phase in attempt.phases] for attempt in report.attempts]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_where_policies_retry_a_connection_is_made_once_per_attempt(name: str, is_async: bool) -> None:
    make, expected = MADE[name]
    assert list_phases(make(is_async), f"http://127.0.0.1:{refused_port()}/") == expected


def test_a_session_connects_once_per_attempt() -> None:
    session = polvo.AsyncSession(retry=RETRY, transport=httpx.AsyncHTTPTransport(retries=1), trust_env=False)
    assert list_phases(session, f"http://127.0.0.1:{refused_port()}/") == [ONCE, ONCE]


def test_other_requests_through_the_transport_connect_as_often_as_before(server: FailureServer) -> None:
    inner = httpx.HTTPTransport(retries=1)
    told: list[str] = []
    extensions = {"trace": lambda event, _info: told.append(event)}
    with PolicyTransport(RETRY, inner=inner) as transport:
        request = httpx.Request("GET", server.url + "/echo", extensions=extensions)
        assert transport.handle_request(request).status_code == 200
        assert request.extensions is extensions or request.extensions == extensions
        told.clear()
        with pytest.raises(httpx.ConnectError):
            inner.handle_request(httpx.Request("GET", f"http://127.0.0.1:{refused_port()}/", extensions=extensions))
    assert told.count("connection.connect_tcp.started") == 2
