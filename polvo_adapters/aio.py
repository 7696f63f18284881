"""Verbs for asyncio: `await polvo.aio.get(url)`; needs the extra `httpx`."""

try:
    from polvo_adapters.shells.httpx.api import aclose, delete, get, head, options, patch, post, put, request
except ModuleNotFoundError as error:  # pragma: no cover - tested in an environment without httpx
    if error.name != "httpx":
        raise
    from polvo_adapters.runtime.extras import missing_text

    raise ImportError(missing_text("polvo_adapters.aio", "httpx", "httpx")) from error

__all__ = ["aclose", "delete", "get", "head", "options", "patch", "post", "put", "request"]
