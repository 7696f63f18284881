"""The synchronous client: a session of this library, a cache, and the driver of the operations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

from polvo_adapters.core import setting_kinds, validate
from polvo_adapters.core.setting_kinds import SettingKind, check_settings
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.services.double_o import calls, checks
from polvo_adapters.services.double_o.cache import OverdueError, SecretCache
from polvo_adapters.services.double_o.effects import (
    ServiceEffect,
    ServiceOperation,
    ServiceRequest,
    ServiceResponse,
    drive,
)
from polvo_adapters.services.double_o.errors import ArgumentError
from polvo_adapters.services.double_o.sending import send
from polvo_adapters.shells.requests.session import Session

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

BASE_URL = "https://double-o-539191849800.europe-west1.run.app"
"""Address of Double-O, unless a client or a call has another."""
CACHE = SecretCache()
"""The cache of all clients of this process, unless one has its own."""


_KINDS = {
    "cache": SettingKind("a SecretCache", lambda value: isinstance(value, SecretCache)) | None,
    "clock": setting_kinds.CLOCK,
}


class Client:
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
        TypeError: `Session` has no such keyword.
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
        self.timeout, self.retries, self.backoff_factor, self.deadline = timeout, retries, backoff_factor, deadline
        self._validate()
        check_settings("Client", {"cache": cache, "clock": clock}, _KINDS, ArgumentError)
        if deadline is None and timeout is not None:
            self.deadline = deadline = timeout * (retries + 1)
        self.base_url = _normalize(base_url)
        self.clock, self._keywords = clock, session
        self._cache = CACHE if cache is None else cache
        backoff = ExponentialBackoff(max_attempts=retries + 1, base=backoff_factor)
        stack = {"retry": backoff, "circuit_breaker": None, **session}
        self._session = Session(**stack, timeout=timeout, deadline=deadline, clock=clock)
        # A cookie that came with one token must not go out with another.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

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
        return self.proxy("v1/chat/completions", token, payload={"model": model, "messages": messages, **keywords})

    chat = chat_completion

    def embed(self, token: str, texts: Sequence[str], model: str = "text-embedding-3-small", **keywords: Any) -> Any:
        """Return embeddings of texts; see `chat_completion`."""
        return self.proxy("v1/embeddings", token, payload={"model": model, "input": texts, **keywords})

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
        payload = {"model": model, "prompt": prompt, "n": n, "size": size, **keywords}
        return self.proxy("v1/images/generations", token, payload=payload)

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
        self._cache.invalidate(self.base_url, token or None)

    def close(self) -> None:
        """Close the connections; a call after that opens new ones."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        cache = None if self._cache is CACHE else self._cache
        return {**settings, "cache": cache, **self._keywords}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a session and its connections do not travel

    def _validate(self) -> None:
        try:
            validate.count(self, "retries", 0)
            validate.number(self, "backoff_factor", 0)
            for name in ("timeout", "deadline"):
                if getattr(self, name) is not None:
                    validate.number(self, name, 0, above=True)
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    def _run(self, operation: ServiceOperation[T]) -> T:
        return drive(operation, self._perform)

    def _perform(self, effect: ServiceEffect) -> Any:
        if isinstance(effect, ServiceRequest):
            return send(self._session, self.base_url, effect)
        try:
            key = (self.base_url, effect.token, effect.kind)
            return self._cache.get(*key, effect.ttl, lambda: self._run(effect.make()), self.deadline)
        except OverdueError:
            text = f"another thread's call did not end within {self.deadline:g} s; allow a longer timeout"
            return ServiceResponse(host=self.base_url.partition("://")[2], problem=text, reason="deadline")


_SETTINGS = ("base_url", "timeout", "retries", "backoff_factor", "deadline", "clock")


def _normalize(value: str | None) -> str:
    url = BASE_URL if value is None else value
    problem = checks.check_base_url(url)
    if problem:
        raise ArgumentError(f"base_url: {problem}; nothing was sent", reason="base_url")
    return url.rstrip("/")
