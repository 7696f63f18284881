"""The keywords of an asynchronous session and of its calls, and the errors for unknown ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from polvo_adapters.core import setting_kinds, validate
from polvo_adapters.core.setting_kinds import SettingKind
from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.policies.unknown_keywords import unknown_keyword_error
from polvo_adapters.shells.httpx.verbs import AsyncSessionOptions, RequestOptions
from polvo_adapters.shells.session_calls import validate_base_url

OWN_KEYWORDS = ("base_url", "auth", "timeout", "tenancy", "store", "raise_for_status", "clock")
"""The keywords of a session that are neither policies nor those of httpx."""

HTTPX_KEYWORDS = frozenset(AsyncSessionOptions.__annotations__) - StackOptions.__annotations__.keys()
"""Those of httpx."""

CALL_OPTIONS = frozenset(CallOptions.__annotations__) - {"timeout", "idempotency_key"}  # which have a meaning already
"""The keywords of a call that say something for it alone, as `polvo_adapters.call` does."""

REQUEST_KEYWORDS = frozenset(RequestOptions.__annotations__) - CALL_OPTIONS
"""The other keywords of a call."""

KINDS: dict[str, SettingKind] = {
    "transport": setting_kinds.ASYNC_TRANSPORT | None,
    "mounts": setting_kinds.TRANSPORTS | None,
    "http1": setting_kinds.FLAG,
    "http2": setting_kinds.FLAG,
    "trust_env": setting_kinds.FLAG,
    "follow_redirects": setting_kinds.FLAG,
    "max_redirects": setting_kinds.whole(0),
    "limits": SettingKind("httpx.Limits(...)", lambda value: isinstance(value, httpx.Limits)),
    "proxy": SettingKind("a URL, or httpx.Proxy(...)", lambda value: isinstance(value, (str, httpx.URL, httpx.Proxy)))
    | None,
    "event_hooks": setting_kinds.EVENT_HOOKS | None,
    "default_encoding": SettingKind(
        "the name of an encoding, or a function", lambda value: isinstance(value, str) or callable(value)
    ),
}
"""What those of httpx have to be that it does not look at before the first call, or at all."""

OF_CONNECTIONS = frozenset({"verify", "http1", "http2", "proxy", "mounts", "limits", "trust_env"})
"""The keywords of httpx that make its transports."""

OF_SENDING = frozenset({"auth", "follow_redirects"})
"""The keywords of a call that are not of its request."""

DEFAULT: Any = httpx.USE_CLIENT_DEFAULT
"""What httpx has where a call names no timeout, no `auth` or nothing of redirects."""

_NAMES_OF_REQUESTS = {
    "allow_redirects": "follow_redirects=...",
    "stream": "async with session.stream(method, url) as response",
    "proxies": "proxy=... or mounts={...} of the session",
    "proxy": "proxy=... of the session",
    "verify": "verify=... of the session",
    "cert": "cert=... of the session",
    "hooks": "event_hooks={...} of the session",
    "body": "content=...",
    "pool_connections": "limits=httpx.Limits(...)",
    "pool_maxsize": "limits=httpx.Limits(max_connections=...)",
    "inner": "transport=...",
}
_PHASES = ("connect", "read", "write", "pool")


def refuse_names_of_requests(given: Mapping[str, Any], owner: str) -> None:
    """Raise TypeError for a keyword that only `requests` has, with the name that it has here."""
    for name in given:
        if name in _NAMES_OF_REQUESTS:
            raise TypeError(f"{owner}: there is no keyword {name}; use {_NAMES_OF_REQUESTS[name]}")


def refuse_unknown(keywords: Mapping[str, Any], owner: str) -> None:
    """Raise TypeError for an unknown keyword of a call, with the nearest known one."""
    refuse_names_of_requests(keywords, owner)
    known = {*REQUEST_KEYWORDS, *CALL_OPTIONS}
    for name in keywords.keys() - known:
        raise unknown_keyword_error(owner, name, known, {})


def as_timeout(value: Any) -> Any:
    """Return a timeout as httpx has it, for seconds, a (connect, read) tuple, one of httpx, or None.

    Raises:
        TypeError: It is none of these.
        ValueError: It is not more than 0.
    """
    if value is DEFAULT or isinstance(value, httpx.Timeout):
        return value
    if isinstance(value, tuple) and len(value) == len(_PHASES):
        return httpx.Timeout(value)
    parts = validate.timeout("timeout", value)
    if not isinstance(parts, tuple):
        return httpx.Timeout(parts)
    connect, read = parts
    return httpx.Timeout(connect=connect, read=read, write=read, pool=connect)


def find_longest(timeout: httpx.Timeout) -> float:
    """Return the longest time that one phase of an attempt may take, in seconds."""
    return find_longest_part((timeout.connect, timeout.read, timeout.write, timeout.pool))


def find_longest_part(parts: Iterable[float | None]) -> float:
    """Return the longest of some timeouts."""
    return max((math.inf if part is None else part for part in parts), default=math.inf)


def validate_base(url: Any) -> str | None:
    """Return the base URL of a session, or raise an error where it is none."""
    return validate_base_url((str(url) or None) if isinstance(url, httpx.URL) else url)
