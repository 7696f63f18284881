"""What goes into URLs: segments of paths, ids, paths of objects, the URL of the API and the label of a site."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit
from uuid import UUID

from polvo_adapters.core import paths
from polvo_adapters.services.taruvi.checks import refuse, require_text

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_MOST_BITS = 256  # of an id that is a number


def segment(name: str, value: object) -> str:
    """Return a string as one segment of a path: a slug, a key, the name of a table, a user or a bucket.

    Args:
        name: The argument, for the error.
        value: A string that is not empty.
    """
    text = require_text(name, value)
    problem = _find_unfit(text) or paths.find_climb(text)
    if problem:
        raise refuse(name, problem)
    return quote(text, safe="@:+,~")


def identifier(name: str, value: object) -> str:
    """Return an id as one segment of a path: as `segment`, or a whole number, or a UUID."""
    return segment(name, plain_id(name, value))


def plain_id(name: str, value: object) -> str:
    """Return an id as text, not quoted."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _MOST_BITS:
        return str(value)
    if not isinstance(value, str) or not value:
        raise refuse(name, "it must be a string that is not empty, or a whole number")
    return value


def object_path(name: str, value: object) -> str:
    """Return the path of an object in a bucket, each of its segments quoted.

    Args:
        name: The argument, for the error.
        value: The path, without a slash at its beginning.
    """
    text = require_text(name, value)
    problem = paths.find_climb(text) if text.isprintable() else "it has a character that cannot be printed"
    if not problem and any(not part for part in text.split("/")):
        problem = "it has an empty segment"
    if problem:
        raise refuse(name, problem)
    return quote(text, safe="/")


def require_site(value: object) -> str | None:
    """Return the slug of a site, which becomes the first label of a host."""
    if value is None or (isinstance(value, str) and _LABEL.fullmatch(value)):
        return value
    raise refuse("site_slug", "it must be one DNS label: letters, digits and inner hyphens, at most 63")


def require_base_url(value: object) -> str:
    """Return the URL of the API without a slash at its end."""
    text = require_text("api_url", value)
    problem = ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        problem = "it is no URL"
    else:
        if not text.isprintable() or " " in text or "\\" in text:
            problem = "it has a space, a backslash or a character that cannot be printed"
        elif parts.scheme.lower() not in ("http", "https") or not host:
            problem = "it must begin with http:// or https:// and a host"
        elif "@" in parts.netloc:
            problem = "it holds a name or password; sign in by client.auth"
        elif "?" in text or "#" in text:
            problem = "it has a query or a fragment"
    if problem:
        raise refuse("api_url", problem)
    return text.rstrip("/")


def _find_unfit(value: str) -> str:
    if not value.isprintable():
        return "it has a character that cannot be printed"
    for character in "/\\?#":
        if character in value:
            return f"it has {character!r}, which would lead to another path"
    return ""
