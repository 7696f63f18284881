"""The synchronous client: a session of this library, a cache, and the driver of the operations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.services.double_o import calls
from polvo_adapters.services.double_o.cache import OverdueError, SecretCache
from polvo_adapters.services.double_o.effects import FileWork, ServiceEffect, ServiceOperation, ServiceRequest
from polvo_adapters.services.double_o.sending import send
from polvo_adapters.services.double_o.settings import NO_COOKIES, ClientSettings
from polvo_adapters.services.operation_driver import drive
from polvo_adapters.shells.requests.session import Session

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Client(ClientSettings):
    """A client of Double-O, for any number of threads and tokens.

    GET, HEAD, PUT and DELETE are sent again after 429, 500, 502, 503, 504 and broken connections; POST and PATCH only
    where the server has certainly not processed them. Retry-After is obeyed.

    Args:
        base_url: Address of the server; None for `BASE_URL`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte; None for no limit.
        retries: How often a request is sent again at most.
        backoff_factor: Upper bound of the first wait between attempts, in seconds; it doubles from wait to wait.
        deadline: Seconds for a whole call: attempts, waits, redirects and body; `timeout` for each attempt by default.
        cache: The cache of values with a `cache_ttl`; by default one that all clients of the process share.
        clock: Time and chance; tests pass a virtual clock.
        **session: Other keywords of `polvo_adapters.Session`, such as `rate_limit` or `circuit_breaker`.

    Raises:
        ArgumentError: A value cannot work; this is a ValueError.
        TypeError: There is no such keyword.
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
        clock: Clock = SYSTEM,
        **session: Any,
    ) -> None:
        super().__init__(base_url, timeout, retries, backoff_factor, deadline, cache, clock, session)
        self._session = self._make_session()

    def get_secret(self, token: str, cache_ttl: float | None = None) -> Any:
        """Return the value of a secret.

        Args:
            token: The token of the secret.
            cache_ttl: Seconds for which a fetched value may be used again; None to fetch it, and keep nothing.

        Returns:
            The value: a string, or whatever JSON value the server has.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            SecretError: The value could not be fetched.
            ArgumentError: `cache_ttl` is no number.
        """
        return self._run(calls.get_secret(token, cache_ttl))

    def proxy(
        self,
        path: str,
        token: str,
        method: str = "POST",
        payload: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the response of an API behind the proxy, which adds the credentials of that API.

        Args:
            path: Path of the API, such as "v1/chat/completions"; it cannot lead out of the proxy.
            token: The token of the proxied API.
            method: HTTP method.
            payload: What is sent as JSON; an empty one is not sent.
            headers: More headers, except `Authorization`, which carries the token.
            params: Query parameters.

        Returns:
            The JSON value of the response, or None where it is empty, as with status 204.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            ProxyError: There is no response, or it is an error, or no JSON.
            ArgumentError: The path leads out of the proxy, or another argument cannot be sent; nothing was sent.
        """
        return self._run(calls.proxy(path, token, method, payload, headers, params))

    def chat_completion(self, token: str, messages: Sequence[Any], model: str = "gpt-4o-mini", **keywords: Any) -> Any:
        """Return the next message of a conversation, as the API responds; raises as `proxy` does.

        Args:
            token: The token of the proxied API.
            messages: Mappings with "role" and "content".
            model: Name of the model.
            **keywords: Other fields of the request.
        """
        path, payload = calls.describe_chat(messages, model, keywords)
        return self.proxy(path, token, payload=payload)

    chat = chat_completion

    def embed(self, token: str, texts: Sequence[str], model: str = "text-embedding-3-small", **keywords: Any) -> Any:
        """Return embeddings of texts; see `chat_completion`."""
        path, payload = calls.describe_embeddings(texts, model, keywords)
        return self.proxy(path, token, payload=payload)

    def image(
        self, token: str, prompt: str, model: str = "dall-e-3", n: int = 1, size: str = "1024x1024", **keywords: Any
    ) -> Any:
        """Return images generated from a description; see `chat_completion`.

        Args:
            token: The token of the proxied API.
            prompt: The description.
            model: Name of the model.
            n: How many images.
            size: Their size in pixels, such as "1024x1024".
            **keywords: Other fields of the request.
        """
        path, payload = calls.describe_image(prompt, model, n, size, keywords)
        return self.proxy(path, token, payload=payload)

    def get_env(self, token: str, cache_ttl: float | None = None) -> dict[str, Any]:
        """Return the variables of an environment.

        Args:
            token: The token of the environment.
            cache_ttl: As for `get_secret`.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            EnvError: The variables could not be fetched.
        """
        return self._run(calls.get_env(token, cache_ttl))

    def load_env(self, token: str, cache_ttl: float | None = None) -> dict[str, str]:
        """Set the variables of an environment in `os.environ`, all of them or none; see `get_env`.

        Raises:
            EnvError: They could not be fetched, or one of them cannot be a variable; nothing was changed.
        """
        return self._run(calls.load_env(token, cache_ttl))

    def export_env(
        self, token: str, path: str | os.PathLike[str] = ".env", overwrite: bool = True, cache_ttl: float | None = None
    ) -> dict[str, str]:
        """Write the variables of an environment to a file that its owner alone can read, and return them.

        The file is replaced as a whole: it has all of them or is what it was.

        Args:
            token: The token of the environment.
            path: The file.
            overwrite: Whether to replace its content; otherwise the variables are added to its end.
            cache_ttl: As for `get_secret`.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            EnvError: They could not be fetched, or one cannot be written such that all readers agree on its value.
            OSError: The file cannot be written.
        """
        return self._run(calls.export_env(token, path, overwrite, cache_ttl))

    def health(self) -> bool:
        """Return True if the server is well; no token is sent.

        Raises:
            ProxyError: It is not.
        """
        return self._run(calls.check_health())

    def invalidate_cache(self, token: str | None = None) -> None:
        """Remove values of this client's server from the cache.

        Args:
            token: Only the secret and the environment of this token; None for all.
        """
        self._invalidate(token)

    def close(self) -> None:
        """Close the connections; a call after that opens new ones."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_session(self) -> Session:
        session = Session(**self._session_keywords())
        session.cookies.set_policy(NO_COOKIES)
        return session

    def _find_session(self) -> Session:
        """Return the session of the present settings."""
        if self._is_stale:
            self._is_stale, old = False, self._session
            self._session = self._make_session()
            old.close()
        return self._session

    def _run(self, operation: ServiceOperation[T]) -> T:
        return drive(operation, self._perform)

    def _perform(self, effect: ServiceEffect) -> Any:
        if isinstance(effect, ServiceRequest):
            return send(self._find_session(), self.base_url, effect)
        if isinstance(effect, FileWork):
            return effect.work()
        try:
            return self._cache.get(*self._place(effect), effect.ttl, lambda: self._run(effect.make()), self.deadline)
        except OverdueError:
            return self._overdue_response()
