"""Whether the garbage collector is at work on this thread.

The collector runs finalizers in the middle of whatever the thread is doing, at nearly any line, also within a `with` of
a lock. The end of a generator (`with session.get(url, stream=True)` in it closes the response) is such a finalizer, and
cannot be told from a call of `close`. What may run in one asks here, and blocks on nothing.
"""

from __future__ import annotations

import gc
from threading import get_ident

_thread = 0


def _note(phase: str, info: object, get_ident: object = get_ident) -> None:  # noqa: ARG001 - as the collector calls it
    """Remember the thread that collects; the default argument is still there when the interpreter ends."""
    global _thread  # noqa: PLW0603 - one collection at a time in a process
    _thread = get_ident() if phase == "start" else 0  # type: ignore[operator]


def is_collecting() -> bool:
    """Return whether this thread is running the finalizers of a garbage collection."""
    return _thread == get_ident()


if hasattr(gc, "callbacks"):  # not in PyPy
    gc.callbacks.append(_note)
