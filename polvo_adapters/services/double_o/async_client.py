"""The asynchronous client: as `Client`, by the same operations, on a session of httpx; needs the extra `httpx`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from polvo_adapters.drivers.aio import ASYNC_SYSTEM, AsyncClock
from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.refresh.beside import run_beside
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.loop_ends import LoopEnd
from polvo_adapters.services.double_o import calls
from polvo_adapters.services.double_o.cache import OverdueError, SecretCache
from polvo_adapters.services.double_o.effects import FileWork, ServiceEffect, ServiceOperation, ServiceRequest
from polvo_adapters.services.double_o.errors import ArgumentError
from polvo_adapters.services.double_o.settings import NO_COOKIES, ClientSettings
from polvo_adapters.services.operation_driver import drive_async

if TYPE_CHECKING:
    from typing_extensions import Self

    from polvo_adapters.shells.httpx.session import AsyncSession

T = TypeVar("T")

_FILES = SharedCalls()
_MOST_LOOPS = 16


class AsyncClient(ClientSettings):
    """A client of Double-O for any number of tasks and tokens; it shares the cache with `Client`.

    It may be made anywhere, and used in several event loops: each has connections of its own.

    Args:
        base_url: Address of the server; None for `BASE_URL`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte; None for no limit.
        retries: How often a request is sent again at most.
        backoff_factor: Upper bound of the first wait between attempts, in seconds; it doubles from wait to wait.
        deadline: Seconds for a whole call; `timeout` for each attempt by default.
        cache: The cache of values with a `cache_ttl`; by default one that all clients of the process share.
        clock: Time and chance; tests pass a virtual clock.
        **session: Other keywords of `polvo_adapters.AsyncSession`, such as `rate_limit` or `circuit_breaker`.

    Raises:
        ArgumentError: A value cannot work; this is a ValueError.
        TypeError: There is no such keyword.
        ImportError: httpx is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        timeout: float | None = 30,
        retries: int = 0,
        backoff_factor: float = 0.5,
        *,
        deadline: float | None = None,
        cache: SecretCache | None = None,
        clock: AsyncClock = ASYNC_SYSTEM,
        **session: Any,
    ) -> None:
        super().__init__(base_url, timeout, retries, backoff_factor, deadline, cache, clock, session)
        self._is_closed = False
        self._sessions: dict[Any, tuple[AsyncSession, LoopEnd]] = {}  # by event loop, with which they are closed
        self._spare: AsyncSession | None = self._make_session()  # which also says now what is wrong with its keywords

    async def get_secret(self, token: str, cache_ttl: float | None = None) -> Any:
        """Return the value of a secret; see `Client.get_secret`."""
        return await self._run(calls.get_secret(token, cache_ttl))

    async def proxy(
        self,
        path: str,
        token: str,
        method: str = "POST",
        payload: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the response of an API behind the proxy; see `Client.proxy`."""
        return await self._run(calls.proxy(path, token, method, payload, headers, params))

    async def chat_completion(
        self, token: str, messages: Sequence[Any], model: str = "gpt-4o-mini", **keywords: Any
    ) -> Any:
        """Return the next message of a conversation; see `Client.chat_completion`."""
        path, payload = calls.describe_chat(messages, model, keywords)
        return await self.proxy(path, token, payload=payload)

    chat = chat_completion

    async def embed(
        self, token: str, texts: Sequence[str], model: str = "text-embedding-3-small", **keywords: Any
    ) -> Any:
        """Return embeddings of texts; see `Client.embed`."""
        path, payload = calls.describe_embeddings(texts, model, keywords)
        return await self.proxy(path, token, payload=payload)

    async def image(
        self, token: str, prompt: str, model: str = "dall-e-3", n: int = 1, size: str = "1024x1024", **keywords: Any
    ) -> Any:
        """Return images generated from a description; see `Client.image`."""
        path, payload = calls.describe_image(prompt, model, n, size, keywords)
        return await self.proxy(path, token, payload=payload)

    async def get_env(self, token: str, cache_ttl: float | None = None) -> dict[str, Any]:
        """Return the variables of an environment; see `Client.get_env`."""
        return await self._run(calls.get_env(token, cache_ttl))

    async def load_env(self, token: str, cache_ttl: float | None = None) -> dict[str, str]:
        """Set the variables of an environment in `os.environ`, all of them or none; see `Client.load_env`."""
        return await self._run(calls.load_env(token, cache_ttl))

    async def export_env(
        self, token: str, path: str | os.PathLike[str] = ".env", overwrite: bool = True, cache_ttl: float | None = None
    ) -> dict[str, str]:
        """Write the variables of an environment to a file, on another thread; see `Client.export_env`."""
        return await self._run(calls.export_env(token, path, overwrite, cache_ttl))

    async def health(self) -> bool:
        """Return True if the server is well; see `Client.health`."""
        return await self._run(calls.check_health())

    async def invalidate_cache(self, token: str | None = None) -> None:
        """Remove values of this client's server from the cache; see `Client.invalidate_cache`."""
        self._invalidate(token)

    async def close(self) -> None:
        """Close the connections; a call after that raises an ArgumentError."""
        self._is_closed = True
        spare, self._spare = self._spare, None
        found = self._sessions.pop(async_library.find_loop(), None)
        self._sessions.clear()  # which lets other loops that still run close theirs
        if found is not None:
            await found[1].close()
        if spare is not None:
            await spare.aclose()

    aclose = close

    async def __aenter__(self) -> Self:
        self._find_session()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, operation: ServiceOperation[T]) -> T:
        return await drive_async(operation, self._perform)

    async def _perform(self, effect: ServiceEffect) -> Any:
        from polvo_adapters.services.double_o.async_sending import send_async

        session = self._find_session()
        if isinstance(effect, ServiceRequest):
            return await send_async(session, self.base_url, effect)
        if isinstance(effect, FileWork):
            return await run_beside(_FILES, object(), effect.work)
        try:
            return await self._cache.aget(
                *self._place(effect), effect.ttl, lambda: self._run(effect.make()), self.deadline
            )
        except OverdueError:
            return self._overdue_response()

    def _find_session(self) -> AsyncSession:
        """Return the session of the running event loop.

        Raises:
            ArgumentError: The client is closed.
        """
        if self._is_closed:
            raise ArgumentError("the client is closed, and nothing was sent; make another one", reason="closed")
        if self._is_stale:  # loops that run close the sessions of the settings before
            self._is_stale, self._spare = False, None
            self._sessions.clear()
        loop = async_library.find_loop()
        found = self._sessions.get(loop)
        if found is None:
            self._forget_closed_loops()
            spare, self._spare = self._spare, None
            session = self._make_session() if spare is None else spare
            found = self._sessions[loop] = session, LoopEnd(session.aclose)
        return found[0]

    def _forget_closed_loops(self) -> None:
        """Forget the sessions of loops that have ended; they were closed with them."""
        for loop in list(self._sessions):
            is_closed = getattr(loop, "is_closed", None)  # which tokens of trio do not have
            if len(self._sessions) >= _MOST_LOOPS or (is_closed is not None and is_closed()):
                self._sessions.pop(loop, None)

    def _find_more_options(self) -> Collection[str]:
        import polvo_adapters.shells.httpx.session  # noqa: F401 - which says what is missing
        from polvo_adapters.shells.httpx.session_keywords import HTTPX_KEYWORDS

        return HTTPX_KEYWORDS

    def _make_session(self) -> AsyncSession:
        from polvo_adapters.shells.httpx.session import AsyncSession

        session = AsyncSession(**self._session_keywords())
        session.cookies.jar.set_policy(NO_COOKIES)
        return session
