"""Tracebacks that show the way from the caller to the transport, and little of this package.

Theory of operation. What a person looks for in a traceback is the own line, and that of the transport. So the frames of
this package that an exception came through on its way to a public function are taken out of the traceback, where that
function raises it again. Frames of other code, such as an auth object or a hook, stay, as do those of the public
function and of what calls it.
"""

from __future__ import annotations

import types

_PACKAGE = "polvo_adapters."


def drop_frames(error: BaseException, *, keeps_first: bool = False) -> None:
    """Take the frames of this package out of the traceback of an exception.

    Args:
        error: The exception, which was caught, and is about to be raised again.
        keeps_first: Whether the first frame stays, which is that of the function that has caught it.
    """
    try:
        first = error.__traceback__
        if keeps_first and first is not None:
            first.tb_next = _skip(first.tb_next)
            entry = first.tb_next
        else:
            entry = error.__traceback__ = _skip(first)
        while entry is not None:
            entry.tb_next = _skip(entry.tb_next)
            entry = entry.tb_next
    finally:
        del error  # see errors.py, "Errors and frames"


def _skip(entry: types.TracebackType | None) -> types.TracebackType | None:
    """Return the first entry from one on that is not of this package."""
    while entry is not None and str(entry.tb_frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        entry = entry.tb_next
    return entry
