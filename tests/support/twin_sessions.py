"""One face for `polvo.Session` and `polvo.AsyncSession`, so that a test of what both do runs with both.

A twin speaks the keywords of `requests`; what httpx calls otherwise is translated here. The asynchronous one runs an
event loop of its own, on the thread of the test, and only while it is called.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

import httpx
import requests

import polvo_adapters as polvo

if TYPE_CHECKING:
    from typing_extensions import Self

KINDS = ("requests", "httpx")

_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Twin:
    """A session of one kind.

    Args:
        kind: One of KINDS.
        *args: Those of the session.
        **keywords: The same.

    Attributes:
        session: The session.
        library_error: The class of errors of its library.
        status_error: That of errors with a status.
        broken_error: That of bodies that break off.
        timeout_error: That of timeouts.
    """

    def __init__(self, kind: str, *args: Any, **keywords: Any) -> None:
        self.kind = kind
        self.is_async = kind == "httpx"
        self.library_error: Any = httpx.HTTPError if self.is_async else requests.RequestException
        self.status_error: Any = httpx.HTTPStatusError if self.is_async else requests.HTTPError
        self.broken_error: Any = (
            httpx.RemoteProtocolError if self.is_async else requests.exceptions.ChunkedEncodingError
        )
        self.timeout_error: Any = httpx.TimeoutException if self.is_async else requests.Timeout
        if self.is_async:
            keywords = {
                "verify": _PLAIN,
                "trust_env": False,
                **keywords,
            }  # to load certificates takes longer than a call
        self.session: Any = polvo.AsyncSession(*args, **keywords) if self.is_async else polvo.Session(*args, **keywords)
        self._loop = asyncio.new_event_loop() if self.is_async else None

    def call(self, method: str, url: Any, **keywords: Any) -> Any:
        """Make a call; `hook` is a function of the response of each hop."""
        hook: Callable[[Any], object] | None = keywords.pop("hook", None)
        if self._loop is None:
            hooks = {} if hook is None else {"hooks": {"response": lambda response, **_: hook(response) and None}}
            return self.session.request(method, url, **keywords, **hooks)
        if "allow_redirects" in keywords:
            keywords["follow_redirects"] = keywords.pop("allow_redirects")
        if "data" in keywords and not isinstance(keywords["data"], dict):
            data = keywords.pop("data")
            keywords["content"] = data if isinstance(data, (str, bytes)) else _as_async(data)
        return self._loop.run_until_complete(self._call(method, url, keywords, hook))

    async def _call(self, method: str, url: Any, keywords: dict[str, Any], hook: Any) -> Any:
        async def run(response: httpx.Response) -> None:
            result = hook(response)
            if asyncio.iscoroutine(result):
                await result

        if hook is not None:
            self.session.event_hooks = {"response": [run]}
        if not keywords.pop("stream", False):
            return await self.session.request(method, url, **keywords)
        async with self.session.stream(method, url, **keywords) as response:
            await response.aread()
        return response

    def get(self, url: Any, **keywords: Any) -> Any:
        """Make a GET; with `stream`, the body is read within the block of a stream."""
        response = self.call("GET", url, **keywords)
        if keywords.get("stream") and not self.is_async:
            response.content  # noqa: B018 - reads the body
        return response

    def post(self, url: Any, **keywords: Any) -> Any:
        """Make a POST."""
        return self.call("POST", url, **keywords)

    def verb(self, name: str, url: Any, **keywords: Any) -> Any:
        """Call the verb of the session itself."""
        result = getattr(self.session, name)(url, **keywords)
        return result if self._loop is None else self._loop.run_until_complete(result)

    def download(self, url: Any, path: Any, **keywords: Any) -> Any:
        """Download a file."""
        return self.verb("download", url, path=path, **keywords)

    def prepare(self, url: Any, **keywords: Any) -> tuple[str, Any]:
        """Return the URL and the headers of a GET that is not sent."""
        if self.is_async:
            request = self.session.build_request("GET", url, **keywords)
            return str(request.url), request.headers
        sent: list[Any] = []
        self.session.send = lambda request, **_: (sent.append(request), requests.Response())[1]
        self.session.get(url, **keywords)
        del self.session.send
        return sent[0].url, sent[0].headers

    def close(self) -> None:
        """Close the session and its loop."""
        if self._loop is None:
            self.session.close()
            return
        self._loop.run_until_complete(self.session.aclose())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _as_async(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
