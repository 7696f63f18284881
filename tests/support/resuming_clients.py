"""One face for clients whose streamed bodies go on where they break off, for tests that run with every shell."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import requests

import polvo_adapters as polvo
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.transports import ResilientTransport

if TYPE_CHECKING:
    from typing_extensions import Self

_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to load certificates takes longer than a call


class Read(NamedTuple):
    """What came of a response, and how it ended."""

    status: int
    body: bytes
    report: Any
    error: Any = None

    @property
    def notes(self) -> list[str]:
        """What the error says of the body, besides the note of the break itself."""
        error = self.error.args[0] if isinstance(self.error, requests.RequestException) else self.error
        return [note for note in getattr(error, "__notes__", ()) if not note.startswith("polvo: GET ")]


class ResumingClient:
    """A client, by default with retries that wait for nothing.

    Args:
        **options: Keywords of the standard stack; `resume` is on.

    Attributes:
        kind: Name of the shell.
        broken: The class of the error of a body that breaks off.
        errors: The class of all errors.
    """

    kind = ""
    broken: Any = httpx.RemoteProtocolError
    errors: Any = (httpx.HTTPError, polvo.PolvoError)
    readers: dict[str, Any] = {}

    def __init__(self, **options: Any) -> None:
        timeout = options.pop("timeout", 2)
        self.client = self.make(timeout, {"retry": retrying(), "resume": True, **options})

    def make(self, timeout: float, options: dict[str, Any]) -> Any:
        """Return the client."""
        raise NotImplementedError

    def read(self, url: str, method: str = "GET", reader: str = "whole", **keywords: Any) -> Read:
        """Make a call, and read the body of its response as a reader does; an error is returned."""
        raise NotImplementedError

    def read_some(self, url: str, count: int) -> None:
        """Read so many pieces of a body, and close the response."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def retrying(**settings: Any) -> ExponentialBackoff:
    return ExponentialBackoff(**{"base": 0, "cap": 0, "budget": None, **settings})


class RequestsClient(ResumingClient):
    kind = "requests"
    broken = requests.exceptions.ChunkedEncodingError
    errors = requests.RequestException
    readers: dict[str, Callable[[Any], Any]] = {
        "whole": lambda response: response.iter_content(65_536),
        "single": lambda response: response.iter_content(1),
        "lines": lambda response: (line + b"\n" for line in response.iter_lines(chunk_size=3)),
        "pieces": lambda response: response.iter_content(5),
    }

    def make(self, timeout: float, options: dict[str, Any]) -> Any:
        self.timeout = timeout
        session = requests.Session()
        session.mount("http://", polvo.ResilientAdapter(timeout=timeout, **options))
        return session

    def read(self, url: str, method: str = "GET", reader: str = "whole", **keywords: Any) -> Read:
        body = bytearray()
        response: Any = None
        try:
            with self.client.request(method, url, stream=True, **keywords) as response:
                for piece in self.readers[reader](response):
                    body += piece
        except self.errors as error:
            return Read(response.status_code if response is not None else 0, bytes(body), None, error)
        return Read(response.status_code, bytes(body), response.polvo)

    def read_some(self, url: str, count: int) -> None:
        with self.client.get(url, stream=True) as response:
            pieces = response.iter_content(5)
            for _ in range(count):
                next(pieces)


class HTTPXClient(ResumingClient):
    kind = "httpx, sync"
    readers: dict[str, Callable[[Any], Any]] = {
        "whole": lambda response: response.iter_bytes(),
        "single": lambda response: response.iter_bytes(1),
        "lines": lambda response: (line.encode() + b"\n" for line in response.iter_lines()),
        "pieces": lambda response: response.iter_bytes(5),
    }

    def make(self, timeout: float, options: dict[str, Any]) -> Any:
        transport = ResilientTransport(stream=True, verify=_PLAIN, **options)
        return httpx.Client(transport=transport, timeout=timeout)

    def read(self, url: str, method: str = "GET", reader: str = "whole", **keywords: Any) -> Read:
        body = bytearray()
        response: Any = None
        try:
            with self.client.stream(method, url, **keywords) as response:
                for piece in self.readers[reader](response):
                    body += piece
        except self.errors as error:
            return Read(response.status_code if response is not None else 0, bytes(body), None, error)
        return Read(response.status_code, bytes(body), response.extensions["polvo"])

    def read_some(self, url: str, count: int) -> None:
        with self.client.stream("GET", url) as response:
            pieces = response.iter_bytes(5)
            for _ in range(count):
                next(pieces)


async def _read_lines(response: httpx.Response) -> AsyncIterator[bytes]:
    async for line in response.aiter_lines():
        yield line.encode() + b"\n"


class AsyncHTTPXClient(ResumingClient):
    kind = "httpx, async"
    readers: dict[str, Callable[[Any], Any]] = {
        "whole": lambda response: response.aiter_bytes(),
        "single": lambda response: response.aiter_bytes(1),
        "lines": _read_lines,
        "pieces": lambda response: response.aiter_bytes(5),
    }

    def make(self, timeout: float, options: dict[str, Any]) -> Any:
        self.loop = asyncio.new_event_loop()
        options = {"circuit_breaker": None, "deadline": None, **options}  # as a transport has them
        return polvo.AsyncSession(timeout=timeout, verify=_PLAIN, trust_env=False, **options)

    def read(self, url: str, method: str = "GET", reader: str = "whole", **keywords: Any) -> Read:
        return self.loop.run_until_complete(self._read(url, method, reader, keywords))

    async def _read(self, url: str, method: str, reader: str, keywords: dict[str, Any]) -> Read:
        body = bytearray()
        response: Any = None
        try:
            async with self.client.stream(method, url, **keywords) as response:
                async for piece in self.readers[reader](response):
                    body += piece
        except self.errors as error:
            return Read(response.status_code if response is not None else 0, bytes(body), None, error)
        return Read(response.status_code, bytes(body), response.polvo)

    def read_some(self, url: str, count: int) -> None:
        self.loop.run_until_complete(self._read_some(url, count))

    async def _read_some(self, url: str, count: int) -> None:
        async with self.client.stream("GET", url) as response:
            pieces = response.aiter_bytes(5)
            for _ in range(count):
                await anext(pieces)

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


CLIENTS: tuple[type[ResumingClient], ...] = (RequestsClient, HTTPXClient, AsyncHTTPXClient)
