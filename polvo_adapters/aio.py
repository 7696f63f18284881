"""Verbs for asyncio: `await polvo.aio.get(url)`; needs the extra `httpx`."""

from polvo_adapters.shells.httpx.api import aclose, delete, get, head, options, patch, post, put, request

__all__ = ["aclose", "delete", "get", "head", "options", "patch", "post", "put", "request"]
