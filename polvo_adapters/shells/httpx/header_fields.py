"""One field of the headers of httpx, found without decoding the others, as `headers.get` does each time."""

from __future__ import annotations

import httpx


def find_field(headers: httpx.Headers, name: bytes) -> str | None:
    """Return the value of a field, as `headers.get` does, or None.

    Args:
        headers: The headers.
        name: Name of the field, in lower case.
    """
    fields = getattr(headers, "_list", None)  # (name, name in lower case, value); not public
    if fields is not None:
        for _, key, _ in fields:
            if key == name:
                break
        else:
            return None
    value: str | None = headers.get(name.decode("ascii"))
    return value
