"""The route of a request, which is its method and its path without ids, and the first id in that path.

Where an API has one path for all its methods, the query names the method (Flickr, MediaWiki, AWS); that name is part of
the route.
"""

from __future__ import annotations

import re
from functools import lru_cache

from polvo_adapters.redaction import strip_url

_DEPTH = 6  # path segments that distinguish the resources of an API
_LONGEST_PART = 64
_METHOD_PARAMETER = re.compile(
    r"(?:^|&)(method|action|operation|operationName|function|op|cmd|module)=([A-Za-z_][A-Za-z0-9_.:-]{0,63})(?=&|$)",
    re.IGNORECASE,
)
"""Parameters whose value names a method of an API: a word, not an id."""


def find_route(method: str, url: str) -> tuple[str, str]:
    """Return what identifies a resource of an API, and the first id in its path.

    Args:
        method: The method of HTTP.
        url: The URL.
    """
    address, _, query = url.partition("?")  # a cache of the process keeps nothing that may be a credential
    route, part = _shorten_route(method, strip_url(address) if "@" in address else address)
    if "tion=" in query or "ethod=" in query or "onName=" in query or "cmd=" in query or "op=" in query:
        chosen = "&".join(map("=".join, _METHOD_PARAMETER.findall(query)[:2]))
        return f"{route} ?{chosen}" if chosen else route, part
    return route, part


@lru_cache(maxsize=4096)
def _shorten_route(method: str, url: str) -> tuple[str, str]:
    path = url.partition("://")[2].partition("/")[2].partition("#")[0]
    parts = path[:256].split("/", _DEPTH)[:_DEPTH]
    ids = [part for before, part in zip(("api", *parts), parts, strict=False) if _is_id(part, before)]
    route = "/".join("*" if part in ids else part for part in parts)
    return f"{method} {route}", ids[0][:_LONGEST_PART] if ids else ""


def _is_id(part: str, before: str) -> bool:
    if part.isdigit():
        return len(part) > 2 or before != "api"  # the version of an API stands at the beginning or behind "api"
    return len(part) > 7 and any(map(str.isdigit, part))
