"""URLs as httpx reads them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import httpx
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from polvo_adapters.core.calls import find_place
from polvo_adapters.core.tuples import new_tuple


def parse_as_httpx(url: str) -> Url:
    """Return the parts of a URL as httpx sends it, which removes plain dot segments.

    Raises:
        httpx.InvalidURL: The URL cannot be read.
    """
    try:
        return parse_url(str(httpx.URL(url)))  # what httpx has written has one reading only
    except LocationParseError:
        raise httpx.InvalidURL("the host of the URL cannot be read; nothing was sent") from None


_PLAIN = re.compile(
    r"(https?://[a-z0-9.-]+(?::[0-9]{1,5})?)((?:/(?!\.)[A-Za-z0-9._~-]*)+)(?:\?([A-Za-z0-9._~=&-]*))?", re.ASCII
)
_PARTS = ("scheme", "userinfo", "host", "port", "path", "query", "fragment")
_IS_KNOWN = getattr(getattr(httpx.URL("http://a/"), "_uri_reference", None), "_fields", None) == _PARTS


def read_url(text: str) -> httpx.URL:
    """Return the URL that httpx reads in a text; most have nothing to be encoded, and a known origin."""
    found = _PLAIN.fullmatch(text) if _IS_KNOWN else None
    if found is None:
        return httpx.URL(text)
    origin, path, query = found.groups()
    url = httpx.URL.__new__(httpx.URL)
    parts = _read_origin(origin)
    url._uri_reference = new_tuple(type(parts), (*parts[:4], path, query, None))
    return url


def write_place(url: httpx.URL) -> tuple[str, str, str]:
    """Return a URL as text, as `str` does, with its origin and host; see `Call.place`."""
    if _IS_KNOWN:
        scheme, user, host, port, path, query, fragment = url._uri_reference
        if scheme and host and not user and fragment is None:  # nearly always
            prefix, origin, host = _write_origin(scheme, host, port)
            return (prefix + path if query is None else f"{prefix}{path}?{query}"), origin, host
    return find_place(str(url))


@lru_cache(maxsize=1024)
def _write_origin(scheme: str, host: str, port: int | None) -> tuple[str, str, str]:
    host = f"[{host}]" if ":" in host else host
    return find_place(f"{scheme}://{host}" if port is None else f"{scheme}://{host}:{port}")


@lru_cache(maxsize=64)
def _read_origin(origin: str) -> Any:
    return httpx.URL(origin)._uri_reference
