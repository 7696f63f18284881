"""Double-O: secrets, environments and proxied API calls; in place of `oo`, the module of the published client.

    import polvo_adapters.services.double_o as oo

The functions and `Client` have the names, arguments and results of `double-o` 0.2. The page "Double-O" of the
documentation lists the differences; in each of them that client did harm.

The functions use one client per `base_url`, with the settings of `Client()`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from polvo_adapters.runtime.lazy import lazy_attributes
from polvo_adapters.services.double_o import settings as _settings
from polvo_adapters.services.double_o.cache import SecretCache
from polvo_adapters.services.double_o.client import Client
from polvo_adapters.services.double_o.errors import (
    ArgumentError,
    AuthenticationError,
    DoubleOError,
    EnvError,
    ProxyError,
    SecretError,
    TokenError,
)
from polvo_adapters.services.double_o.settings import BASE_URL

if TYPE_CHECKING:
    from polvo_adapters.services.double_o.async_client import AsyncClient

__all__ = [
    "BASE_URL",
    "ArgumentError",
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "DoubleOError",
    "EnvError",
    "ProxyError",
    "SecretCache",
    "SecretError",
    "TokenError",
    "chat",
    "chat_completion",
    "embed",
    "export_env",
    "get_env",
    "get_secret",
    "health",
    "image",
    "invalidate_cache",
    "load_env",
    "proxy",
]

_MOST_CLIENTS = 16

_HOMES = {"AsyncClient": "polvo_adapters.services.double_o.async_client"}  # which needs httpx
__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)


def _find_client(base_url: str | None) -> Client:
    return _make_client(_settings.BASE_URL if base_url is None else base_url)


@lru_cache(maxsize=_MOST_CLIENTS)
def _make_client(base_url: str) -> Client:
    return Client(base_url)  # the connections of one that drops out are closed with it


def get_secret(token: str, base_url: str | None = None, cache_ttl: float | None = None) -> Any:
    """Return the value of a secret; see `Client.get_secret`.

    Args:
        token: The token of the secret.
        base_url: Address of the server; None for `BASE_URL`.
        cache_ttl: Seconds for which a fetched value may be used again; None to fetch it, and keep nothing.
    """
    return _find_client(base_url).get_secret(token, cache_ttl)


def proxy(
    path: str,
    token: str,
    method: str = "POST",
    payload: Any = None,
    headers: Mapping[str, str] | None = None,
    base_url: str | None = None,
    *,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Return the response of an API behind the proxy; see `Client.proxy`."""
    return _find_client(base_url).proxy(path, token, method, payload, headers, params=params)


def chat(
    token: str, messages: Sequence[Any], model: str = "gpt-4o-mini", base_url: str | None = None, **keywords: Any
) -> Any:
    """Return the next message of a conversation; see `Client.chat_completion`."""
    return _find_client(base_url).chat_completion(token, messages, model, **keywords)


chat_completion = chat


def embed(
    token: str,
    texts: Sequence[str],
    model: str = "text-embedding-3-small",
    base_url: str | None = None,
    **keywords: Any,
) -> Any:
    """Return embeddings of texts; see `Client.embed`."""
    return _find_client(base_url).embed(token, texts, model, **keywords)


def image(
    token: str,
    prompt: str,
    model: str = "dall-e-3",
    n: int = 1,
    size: str = "1024x1024",
    base_url: str | None = None,
    **keywords: Any,
) -> Any:
    """Return images generated from a description; see `Client.image`."""
    return _find_client(base_url).image(token, prompt, model, n, size, **keywords)


def get_env(token: str, base_url: str | None = None, cache_ttl: float | None = None) -> dict[str, Any]:
    """Return the variables of an environment; see `Client.get_env`."""
    return _find_client(base_url).get_env(token, cache_ttl)


def load_env(token: str, base_url: str | None = None, cache_ttl: float | None = None) -> dict[str, str]:
    """Set the variables of an environment in `os.environ`, all of them or none; see `Client.load_env`."""
    return _find_client(base_url).load_env(token, cache_ttl)


def export_env(
    token: str,
    path: str | os.PathLike[str] = ".env",
    overwrite: bool = True,
    base_url: str | None = None,
    cache_ttl: float | None = None,
) -> dict[str, str]:
    """Write the variables of an environment to a file; see `Client.export_env`."""
    return _find_client(base_url).export_env(token, path, overwrite, cache_ttl)


def health(base_url: str | None = None) -> bool:
    """Return True if the server is well; see `Client.health`."""
    return _find_client(base_url).health()


def invalidate_cache(token: str | None = None) -> None:
    """Remove values of all servers from the cache.

    Args:
        token: Only the secret and the environment of this token; None for all.
    """
    _settings.CACHE.invalidate(token=token or None)
