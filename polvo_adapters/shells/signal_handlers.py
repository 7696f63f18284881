"""Exceptions that the handler of a signal has raised.

A handler runs in the middle of a wait, and what it raises, such as a TimeoutError, looks like the end of that wait. The
traceback tells: the interpreter hands the interrupted frame to the handler, and a function gets its caller's frame as
an argument in no other way that the transport knows.
"""

from __future__ import annotations

from types import FrameType, TracebackType
from typing import Any


def comes_from_signal_handler(error: BaseException) -> bool:
    """Return whether an exception was raised by the handler of a signal, or by what that called.

    Args:
        error: The exception itself, not one that was made of it.
    """
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if _was_interrupted(trace.tb_frame, trace.tb_next.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _was_interrupted(frame: FrameType, by: FrameType) -> bool:
    """Return whether the second frame is that of a function that was given the first one."""
    code, variables = by.f_code, by.f_locals
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4)  # 4: takes *arguments
    values: list[Any] = [variables.get(name) for name in code.co_varnames[:count]]
    return any(each is frame for value in values for each in (value if type(value) is tuple else (value,)))
