"""What is not in a request of httpx keeps stored answers apart, as it does for `requests`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx
import pytest

from polvo_adapters.core.identity import PLAIN_SENDER
from polvo_adapters.policies.stack import standard
from polvo_adapters.shells.httpx.senders import sender_of
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

SETTINGS: dict[str, dict[str, Any]] = {
    "no verification": {"verify": False},
    "other authorities": {"verify": ssl.create_default_context()},
    "a proxy": {"proxy": "http://127.0.0.1:9"},
    "a proxy with a password": {"proxy": httpx.Proxy("http://127.0.0.1:9", auth=("a", "b"))},
    "a socket": {"uds": "/nowhere"},
    "a transport without verification": {"inner": httpx.HTTPTransport(verify=False)},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_selects_answers_is_part_of_the_sender(setting: str) -> None:
    keywords = dict(SETTINGS[setting])
    sender = sender_of(keywords.pop("inner", None), keywords)
    assert sender != PLAIN_SENDER
    outer = PolicyTransport(inner=PolicyTransport(**SETTINGS[setting]))
    assert outer._sender == outer.inner._sender != PLAIN_SENDER  # type: ignore[attr-defined]
    outer.close()


def test_a_certificate_is_part_of_the_sender() -> None:
    one, other = (sender_of(None, {"cert": name}) for name in ("a.pem", "b.pem"))
    assert one != other != PLAIN_SENDER


@pytest.mark.parametrize("keywords", [{}, {"http2": False}, {"retries": 2}, {"limits": httpx.Limits()}])
def test_other_settings_are_not(keywords: dict[str, Any]) -> None:
    assert sender_of(None, keywords) == PLAIN_SENDER
    assert sender_of(httpx.HTTPTransport(**keywords), {}) == PLAIN_SENDER
    assert sender_of(httpx.MockTransport(lambda _: httpx.Response(200)), {}) == PLAIN_SENDER


def test_what_came_without_verification_is_not_served_with_it() -> None:
    with FailureServer() as server:
        store, url = MemoryStore(), f"{server.url}/echo"
        with httpx.Client(transport=PolicyTransport(*standard(fallback="stale"), store=store, verify=False)) as client:
            assert client.get(url).status_code == 200
        policies = standard(retry=None, fallback="stale")
    with httpx.Client(transport=PolicyTransport(*policies, store=store)) as client, pytest.raises(httpx.ConnectError):
        client.get(url)
    with httpx.Client(transport=PolicyTransport(*policies, store=store, verify=False)) as client:
        assert client.get(url).status_code == 200


def test_nor_by_an_async_client() -> None:
    async def get(url: str, store: Any, **keywords: Any) -> int:
        transport = AsyncPolicyTransport(*standard(retry=None, fallback="stale"), store=store, **keywords)
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.get(url)).status_code

    with FailureServer() as server:
        store, url = MemoryStore(), f"{server.url}/echo"
        assert asyncio.run(get(url, store, verify=False)) == 200
    with pytest.raises(httpx.ConnectError):
        asyncio.run(get(url, store))
    assert asyncio.run(get(url, store, verify=False)) == 200
