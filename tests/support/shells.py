"""One face for the three shells, for tests that do the same in each: an adapter, and both transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import requests

import polvo_adapters as polvo
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport


class Answer(NamedTuple):
    """How a call ended: with a response, or with an error."""

    status: int
    report: Any
    body: bytes = b""
    error: BaseException | None = None
    headers: Any = None


class Shell:
    """A client with policies.

    Args:
        *policies: The policies, outermost first.
        **keywords: Those of the adapter or transport.
    """

    name = ""

    def __init__(self, *policies: Any, **keywords: Any) -> None:
        self.below = self.make(*policies, **keywords)

    def make(self, *policies: Any, **keywords: Any) -> Any:
        """Return the adapter or transport."""
        raise NotImplementedError

    def call(self, method: str, url: str, body: Any = None, headers: Any = None, timeout: float | None = 30) -> Answer:
        """Make a call, and read the body of its response."""
        raise NotImplementedError

    def stream(self, url: str, act: Callable[[], object] = lambda: None, timeout: float | None = 30) -> Answer:
        """Make a call whose body is read by the caller, who does something before."""
        raise NotImplementedError

    def get(self, url: str, **keywords: Any) -> Answer:
        return self.call("GET", url, **keywords)

    def close(self) -> None:
        """Close the connections."""


class RequestsShell(Shell):
    name = "requests"

    def make(self, *policies: Any, **keywords: Any) -> Any:
        keywords.pop("stream", None)
        self.session = requests.Session()
        adapter = polvo.PolicyAdapter(*policies, **keywords)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        return adapter

    def call(self, method: str, url: str, body: Any = None, headers: Any = None, timeout: float | None = 30) -> Answer:
        try:
            response = self.session.request(method, url, data=body, headers=headers, timeout=timeout)
        except requests.RequestException as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.polvo, response.content, headers=response.headers)

    def stream(self, url: str, act: Callable[[], object] = lambda: None, timeout: float | None = 30) -> Answer:
        try:
            with self.session.get(url, stream=True, timeout=timeout) as response:
                act()
                body = b"".join(response.iter_content(1000))
        except requests.RequestException as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.polvo, body)

    def close(self) -> None:
        self.session.close()


class HTTPXShell(Shell):
    name = "httpx, sync"

    def make(self, *policies: Any, **keywords: Any) -> Any:
        transport = PolicyTransport(*policies, **keywords)
        self.client = httpx.Client(transport=transport)
        return transport

    def call(self, method: str, url: str, body: Any = None, headers: Any = None, timeout: float | None = 30) -> Answer:
        try:
            response = self.client.request(method, url, content=body, headers=headers, timeout=timeout)
        except (httpx.HTTPError, polvo.PolvoError) as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.extensions["polvo"], response.content, headers=response.headers)

    def stream(self, url: str, act: Callable[[], object] = lambda: None, timeout: float | None = 30) -> Answer:
        extensions = {"polvo_stream": True}
        try:
            with self.client.stream("GET", url, timeout=timeout, extensions=extensions) as response:
                act()
                body = b"".join(response.iter_bytes())
        except (httpx.HTTPError, polvo.PolvoError) as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.extensions["polvo"], body)

    def close(self) -> None:
        self.client.close()


class AsyncHTTPXShell(Shell):
    name = "httpx, async"

    def make(self, *policies: Any, **keywords: Any) -> Any:
        transport = AsyncPolicyTransport(*policies, **keywords)
        self.loop = asyncio.new_event_loop()
        self.client = httpx.AsyncClient(transport=transport)
        return transport

    def call(self, method: str, url: str, body: Any = None, headers: Any = None, timeout: float | None = 30) -> Answer:
        return self.loop.run_until_complete(self.call_async(method, url, body, headers, timeout))

    async def call_async(
        self, method: str, url: str, body: Any = None, headers: Any = None, timeout: float | None = 30
    ) -> Answer:
        """Make a call in a task."""
        if isinstance(body, Iterator):
            body = as_async(body)
        try:
            response = await self.client.request(method, url, content=body, headers=headers, timeout=timeout)
        except (httpx.HTTPError, polvo.PolvoError) as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.extensions["polvo"], response.content, headers=response.headers)

    def stream(self, url: str, act: Callable[[], object] = lambda: None, timeout: float | None = 30) -> Answer:
        return self.loop.run_until_complete(self._stream(url, act, timeout))

    async def _stream(self, url: str, act: Callable[[], object], timeout: float | None) -> Answer:
        extensions = {"polvo_stream": True}
        try:
            async with self.client.stream("GET", url, timeout=timeout, extensions=extensions) as response:
                act()
                body = b"".join([part async for part in response.aiter_bytes()])
        except (httpx.HTTPError, polvo.PolvoError) as error:
            return Answer(0, getattr(error, "polvo", None), error=error)
        return Answer(response.status_code, response.extensions["polvo"], body)

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()


async def as_async(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


SHELLS: tuple[type[Shell], ...] = (RequestsShell, HTTPXShell, AsyncHTTPXShell)
