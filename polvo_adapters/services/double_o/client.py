"""The synchronous client: a session of this library, a cache, and the driver of the operations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.services.double_o import calls, checks
from polvo_adapters.services.double_o.cache import OverdueError, SecretCache
from polvo_adapters.services.double_o.effects import Effect, Operation, ServiceRequest, ServiceResponse, drive
from polvo_adapters.services.double_o.errors import ArgumentError
from polvo_adapters.services.double_o.sending import send
from polvo_adapters.shells.requests.session import Session

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")

BASE_URL = "https://double-o-539191849800.europe-west1.run.app"
"""Where Double-O is, unless a client or a call says otherwise."""
CACHE = SecretCache()
"""The cache that all clients of this process share, unless one is given its own."""


class Client:
    """A client of Double-O, for any number of threads and tokens.

    GET, HEAD, PUT and DELETE are sent again after 429, 500, 502, 503, 504 and broken connections; POST and PATCH only
    where the server has certainly not processed them. Retry-After is obeyed.

    Args:
        base_url: Address of the server; None for `BASE_URL`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte; None for no limit.
        retries: How often a call is sent again at most.
        backoff_factor: Upper bound of the first wait between attempts, in seconds; it doubles from wait to wait.
        deadline: Seconds for a whole call: attempts, waits, redirects and body. By default `timeout` for each attempt
            that there may be.
        cache: Where values with a `cache_ttl` live; by default they are shared with the other clients of the process.
        clock: Time and chance; tests pass a virtual clock.
        **session: Other keywords of `polvo_adapters.Session`, such as `rate_limit` or `circuit_breaker`.

    Raises:
        ArgumentError: A value that cannot work; it is a ValueError.
        TypeError: A keyword that a session does not know.
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
        _checked("retries", retries, whole=True)
        _checked("backoff_factor", backoff_factor)
        for name, seconds in (("timeout", timeout), ("deadline", deadline)):
            if seconds is not None:
                _checked(name, seconds, above=True)
        if deadline is None and timeout is not None:
            deadline = timeout * (retries + 1)
        self.base_url = _base_url(base_url)
        self.timeout, self.retries, self.backoff_factor = timeout, retries, backoff_factor
        self.deadline, self.clock, self._keywords = deadline, clock, session
        self._cache = CACHE if cache is None else cache
        backoff = ExponentialBackoff(max_attempts=retries + 1, base=backoff_factor)
        self._session = Session(**{"retry": backoff, **session}, timeout=timeout, deadline=deadline, clock=clock)
        # A cookie of one token's answer must not go out with another token.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def get_secret(self, token: str, cache_ttl: float | None = None) -> Any:
        """Return the value of a secret.

        Args:
            token: The token of the secret.
            cache_ttl: Seconds for which a value that was fetched may be used again; None to ask, and keep nothing.

        Returns:
            The value: a string, or whatever JSON value the server keeps.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            SecretError: There is no value to be had.
            ArgumentError: `cache_ttl` is no number.
        """
        return self._run(calls.secret(token, cache_ttl))

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
        """Call an API through the proxy, which knows its credentials.

        Args:
            path: Path of the API, such as "v1/chat/completions"; it cannot lead out of the proxy.
            token: The token of the proxied API.
            method: HTTP method.
            payload: What is sent as JSON; nothing is where it is empty.
            headers: More headers; not `Authorization`, which is the token's.
            params: Query parameters.

        Returns:
            The JSON value of the answer, or None where it is empty, as with status 204.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            ProxyError: There is no answer, or it is an error, or no JSON.
            ArgumentError: The path leads elsewhere, or something else cannot be sent; nothing was.
        """
        return self._run(calls.proxy(path, token, method, payload, headers, params))

    def chat_completion(self, token: str, messages: Sequence[Any], model: str = "gpt-4o-mini", **keywords: Any) -> Any:
        """Have a conversation continued.

        Args:
            token: The token of the proxied API.
            messages: Mappings with "role" and "content".
            model: Name of the model.
            **keywords: Other fields of the request.

        Returns:
            The answer of the API.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            ProxyError: There is no answer, or it is an error, or no JSON.
        """
        return self._run(calls.chat(token, messages, model, keywords))

    chat = chat_completion

    def embed(self, token: str, texts: Sequence[str], model: str = "text-embedding-3-small", **keywords: Any) -> Any:
        """Return embeddings of texts; see `chat_completion`."""
        return self._run(calls.embed(token, texts, model, keywords))

    def image(
        self, token: str, prompt: str, model: str = "dall-e-3", n: int = 1, size: str = "1024x1024", **keywords: Any
    ) -> Any:
        """Have images made of a description; see `chat_completion`.

        Args:
            token: The token of the proxied API.
            prompt: What is to be seen.
            model: Name of the model.
            n: How many images.
            size: Their size in pixels, such as "1024x1024".
            **keywords: Other fields of the request.
        """
        return self._run(calls.image(token, prompt, model, n, size, keywords))

    def get_env(self, token: str, cache_ttl: float | None = None) -> dict[str, Any]:
        """Return the variables of an environment.

        Args:
            token: The token of the environment.
            cache_ttl: As for `get_secret`.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            EnvError: There are no variables to be had.
        """
        return self._run(calls.env(token, cache_ttl))

    def load_env(self, token: str, cache_ttl: float | None = None) -> dict[str, str]:
        """Set the variables of an environment in `os.environ`, all of them or none; see `get_env`.

        Raises:
            EnvError: There are none to be had, or one of them cannot be a variable; nothing was changed.
        """
        return self._run(calls.load_env(token, cache_ttl))

    def export_env(
        self,
        token: str,
        path: str | os.PathLike[str] = ".env",
        overwrite: bool = True,
        cache_ttl: float | None = None,
    ) -> dict[str, str]:
        """Write the variables of an environment to a file that its owner alone can read.

        The file is replaced as a whole: it has all of them or is what it was.

        Args:
            token: The token of the environment.
            path: The file.
            overwrite: Whether what is in it goes; else the variables are added to its end.
            cache_ttl: As for `get_secret`.

        Returns:
            The variables.

        Raises:
            AuthenticationError: The token is not accepted, or cannot be sent.
            EnvError: There are none to be had, or one cannot be written such that all readers agree on its value.
            OSError: The file cannot be written.
        """
        return self._run(calls.export_env(token, path, overwrite, cache_ttl))

    def health(self) -> bool:
        """Return True if the server is well; no token is sent.

        Raises:
            ProxyError: It is not.
        """
        return self._run(calls.health())

    def invalidate_cache(self, token: str | None = None) -> None:
        """Forget values that were kept from this client's server.

        Args:
            token: Those of this token only, secret and environment; None for all.
        """
        self._cache.invalidate(self.base_url, token or None)

    def close(self) -> None:
        """Close the connections; a call after that opens new ones."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        cache = None if self._cache is CACHE else self._cache
        return {**settings, "cache": cache, **self._keywords}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a session and its connections do not travel

    def _run(self, operation: Operation[T]) -> T:
        return drive(operation, self._perform)

    def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, ServiceRequest):
            return send(self._session, self.base_url, effect)
        try:
            return self._cache.get(
                self.base_url,
                effect.token,
                effect.kind,
                effect.ttl,
                lambda: self._run(effect.make()),
                self.deadline,
            )
        except OverdueError:
            text = f"another thread's call did not end within {self.deadline:g} s; allow a longer timeout"
            return ServiceResponse(host=self.base_url.partition("://")[2], problem=text, reason="deadline")


_SETTINGS = ("base_url", "timeout", "retries", "backoff_factor", "deadline", "clock")


def _base_url(value: str | None) -> str:
    url = BASE_URL if value is None else value
    problem = checks.base_url(url)
    if problem:
        raise ArgumentError(f"base_url: {problem}; nothing was sent", reason="base_url")
    return url.rstrip("/")


def _checked(name: str, value: Any, *, above: bool = False, whole: bool = False) -> None:
    """Raise an error unless a setting is a number from 0, or above."""
    kinds = (int,) if whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or value < 0 or (above and value == 0):
        what = "whole number" if whole else "number"
        raise ArgumentError(f"{name}={value!r}: {name} must be a {what} {'above' if above else 'of at least'} 0")
