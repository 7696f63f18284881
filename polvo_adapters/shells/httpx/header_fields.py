"""One field of the headers of httpx, found without decoding the others, as `headers.get` does each time."""

from __future__ import annotations

from operator import itemgetter

import httpx

_NAME = itemgetter(1)


def find_field(headers: httpx.Headers, name: bytes) -> str | None:
    """Return the value of a field, as `headers.get` does, or None.

    Args:
        headers: The headers.
        name: Name of the field, in lower case.
    """
    fields = getattr(headers, "_list", None)  # (name, name in lower case, value); not public
    if fields is not None and name not in map(_NAME, fields):
        return None
    value: str | None = headers.get(name.decode("ascii"))
    return value
