"""Whether the body of a request can be sent again."""

from __future__ import annotations

from typing import Any

from polvo_adapters.core.calls import Body

_NO_BODY: tuple[Body, int | None] = ("none", None)
_REPLAYABLE = (bytes, str, bytearray, memoryview, list, tuple)


def classify_body(body: Any) -> tuple[Body, int | None]:
    """Return whether the body of a request can be sent again, and from which position it has to be read then.

    Args:
        body: The body as `requests` has prepared it, or None.
    """
    if body is None:
        return _NO_BODY
    if isinstance(body, _REPLAYABLE):
        return "replayable", None
    try:
        if not getattr(body, "seekable", lambda: hasattr(body, "seek"))():
            return "once", None
        return "rewindable", body.tell()
    except (AttributeError, OSError, TypeError, ValueError):
        return "once", None
