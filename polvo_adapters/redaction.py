"""Texts that do not show, and what is left of a response and of a URL in a pickle or in a message.

Theory of operation. A response holds its request, and with that every credential and body; a URL may hold a password
and keys; a server sets cookies and may issue tokens in headers. So a pickled error keeps of its response what says how
the call went: status, body, URLs without user name, query and fragment, and the headers that name no secret.

A secret that is held, or passed on, is a `HiddenText`: tracebacks that show local variables, and debuggers that print
the attributes of an object, print its repr.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

LOST = "(a secret that was not pickled)"
"""What the pickle of a HiddenText has in its place."""

AnyType = TypeVar("AnyType", bound=type)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:(?://)?)(?:[^/?#]*@)?([^?#]*)", re.DOTALL)
_WORD = re.compile(r"[a-z0-9]+")
_SECRET_WORD = re.compile(
    "apikey|auth|authorization|cookie2?|credentials?|csrf|csrftoken|jwt|key|link|nonce|pass|passwd|password|proof"
    "|refresh|secret|session|sessionid|sid|signature|token|xsrf"
)
_SECRET_PART = re.compile("apikey|password|passwd|secret|token", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z]+(?:[-_.~:][A-Za-z]+)*")
_LONGEST_SEGMENT = 20
_SHORTEST_APART = 8
"""A secret of fewer characters is a word of a test, which may be within any other word."""
_ESCAPES = ("%[0-9A-Fa-f]{2}", "%25[0-9A-Fa-f]{2}", r"\\[abefnrtv]", r"\\x[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}")
_BEFORE = f"(?:(?<![A-Za-z0-9])|{'|'.join(f'(?<={escape})' for escape in _ESCAPES)})"
_BEHIND = "(?![A-Za-z0-9])"
"""What is around a word; an escape before it, such as %20 or the one of a line's end in JSON, is no part of it."""
_EDGE = re.compile("[A-Za-z0-9]")
_URL_HEADERS = frozenset({"content-location", "location"})


class HiddenText(str):
    """A secret text: the same as any other text, but its repr and its pickle do not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(a secret)'"

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (LOST,)

    def __copy__(self) -> HiddenText:
        return self

    def __deepcopy__(self, memo: object) -> HiddenText:
        return self


class HiddenBytes(bytes):
    """As HiddenText, for bytes: httpx keeps the values of headers encoded."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'(a secret)'"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (b"(a secret that was not pickled)",)

    def __copy__(self) -> HiddenBytes:
        return self

    def __deepcopy__(self, memo: object) -> HiddenBytes:
        return self


AnyText = TypeVar("AnyText", str, bytes)


def mask_secret(text: AnyText, secret: str, mark: str) -> AnyText:
    """Return a text, or a body, with a mark wherever a secret is in it.

    A key such as "k" or "test", as tests have it, is hidden where it stands by itself, and not within the words of a
    message or the name of a host.

    Args:
        text: The text.
        secret: The secret; an empty one is nowhere.
        mark: What stands in its place.
    """
    if isinstance(text, bytes):
        return mask_secret(text.decode("latin-1"), secret.encode().decode("latin-1"), mark).encode("latin-1")
    if len(secret) >= _SHORTEST_APART:
        return text.replace(secret, mark)
    before, behind = (_BEFORE if _EDGE.match(secret[:1]) else ""), (_BEHIND if _EDGE.match(secret[-1:]) else "")
    return re.sub(f"{before}{re.escape(secret)}{behind}", lambda _: mark, text) if secret else text


def hide(value: Any) -> Any:
    """Return a text as a HiddenText, and everything else, such as a function that fetches a secret, as it is."""
    return HiddenText(value) if type(value) is str else value


def hide_named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those hidden whose name is that of a secret, also within objects.

    Args:
        values: The values by name; of one that is an object the names in it count.
    """
    return {name: _hide_one(name, value) for name, value in values.items()}


def _hide_one(name: object, value: Any) -> Any:
    if isinstance(value, dict):
        return hide_named(value)
    words = _WORD.findall(re.sub("([a-z])([A-Z])", r"\1 \2", str(name)).lower())
    if not (any(map(_SECRET_WORD.fullmatch, words)) or _SECRET_PART.search(str(name))):
        return value
    return type(value)(map(hide, value)) if type(value) in (list, tuple) else hide(value)


def unpicklable(kind: AnyType) -> AnyType:
    """Refuse to pickle objects of a class that holds a secret, as a decorator."""

    def refuse(self: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a secret and is not pickled")

    kind.__reduce__ = refuse  # type: ignore[assignment]
    return kind


def strip_url(url: str) -> str:
    """Return a URL without user name, query and fragment."""
    found = _URL.match(url)
    return found[1] + found[2] if found else re.split("[?#]", url, maxsplit=1)[0].rpartition("@")[2]


def shorten_segment(segment: str) -> str:
    """Return a segment of a path as messages show it, cut if it is long: bots and webhooks have a credential in one."""
    return segment if len(segment) <= _LONGEST_SEGMENT or _WORDS.fullmatch(segment) else segment[:4] + "…"


def describe_url(url: str) -> str:
    """Return a URL as messages and logs show it: without user name, query and fragment, its long segments cut."""
    scheme, separator, rest = strip_url(url).partition("://")
    host, *path = rest.split("/")
    return "/".join([f"{scheme}{separator}{host}", *map(shorten_segment, path)])


def harmless_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the headers of a response that hold no credential, and the URLs among them without query."""
    for name, value in headers.items():
        lower = str(name).lower()
        if lower in _URL_HEADERS:
            yield name, strip_url(str(value))
        elif not any(map(_SECRET_WORD.fullmatch, _WORD.findall(lower))):
            yield name, value


def without_request(response: Any) -> Any:
    """Return a copy of a response of `requests` or httpx, with no request, and with bare ones in its history."""
    kept = _strip_response(response)
    history = getattr(response, "history", None)
    if isinstance(history, (list, tuple)):
        kept.history = [_strip_response(each) for each in history]
        for each, before in zip(kept.history, history, strict=True):
            if isinstance(vars(before).get("url"), str):  # of `requests`
                each.request = _bare_request(before.request)
    return kept


def _bare_request(request: Any) -> Any:
    """Return a copy of a prepared request that has only method and address, for code that walks through a history."""
    if request is None:
        return None
    bare = copy.copy(request)
    vars(bare).update(dict.fromkeys(vars(bare)), method=request.method, url=strip_url(request.url or ""))
    bare.headers, bare.hooks = type(request.headers)(), {"response": []}
    return bare


def _strip_response(response: Any) -> Any:
    kept = copy.copy(response)
    present = vars(kept)
    kept.request = None
    kept.history = []  # those of a history hold each other
    if isinstance(present.get("url"), str):
        kept.url = strip_url(kept.url)
    if isinstance(present.get("headers"), Mapping):
        kept.headers = type(kept.headers)(list(harmless_headers(kept.headers)))
    if "cookies" in present:  # of `requests`
        kept.cookies = type(kept.cookies)()
    present.pop("_cookies", None)  # of httpx
    if present.get("next_request") is not None:
        kept.next_request = None
    return kept
