"""Checks of tokens, paths below a prefix, headers and base URLs: each returns what is wrong, or an empty string.

A path is checked as it is and percent-decoded again and again, because the servers on its way may decode it any number
of times. Whatever could leave the prefix in any reading is refused (`polvo_adapters.core.paths`), and with it empty
segments, backslashes, `?` and `#`, and encodings that are not UTF-8. (RFC 6750 section 2.1 for tokens; RFC 9110 section
5.1 for header names.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from polvo_adapters.core import paths
from polvo_adapters.core.http import HEADER_NAME

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_RESERVED = frozenset({"authorization", "content-length", "host", "proxy-authorization", "transfer-encoding"})


def check_token(value: object) -> str:
    """Return the reason that a bearer token cannot be sent, without the token."""
    if not isinstance(value, str) or not value:
        return "it must be a string that is not empty"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "it has a line break, a space, or a character that is not ASCII; look at where it was read from"
    return ""


def check_path(value: object) -> str:
    """Return the reason that a path cannot be appended to a prefix.

    Args:
        value: The path, without a slash at its beginning.
    """
    if not isinstance(value, str) or not value:
        return "it must be a string that is not empty"
    if _BROKEN_ESCAPE.search(value):
        return "it has a percent sign that begins no escape; write %25"
    for text in paths.decodings(value):
        problem = paths.TOO_DEEP if text is None else _check_reading(text)
        if problem:
            return problem
    return paths.find_climb(value)


def _check_reading(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "it has escapes that are not UTF-8"
    if not text.isprintable():
        return "it has a character that cannot be printed"
    for character in "?#\\":
        if character in text:
            return f"it has {character!r}, encoded or not; query parameters go into params="
    return "it has an empty segment" if "" in text.split("/")[:-1] else ""


def check_headers(values: object) -> str:
    """Return the reason that headers of the caller cannot be sent, without their values."""
    if not isinstance(values, Mapping):
        return "it must be a mapping of strings"
    for name, value in values.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            return "a name is no header name"
        if name.lower() in _RESERVED:
            return f"{name} cannot be set here; the client sets it"
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            return f"the value of {name} must be a string without line breaks"
    return ""


def check_base_url(value: object) -> str:
    """Return the reason that a URL cannot be the base of others, without the URL."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return "it must be a string without spaces"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme.lower() not in ("http", "https") or not host:
        return "it must begin with http:// or https:// and a host"
    if "@" in parts.netloc:
        return "it holds a name or password; the token is the credential"
    if "?" in value or "#" in value or "\\" in value:
        return "it has a query, a fragment or a backslash"
    return ""
