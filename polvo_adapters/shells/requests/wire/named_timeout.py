"""Which timeout an attempt has: the caller's, none on purpose, the wrapped adapter's own, or the default.

Theory of operation. `Session.request` hands its adapter a timeout of None for two callers: the one that names no
timeout, and the one that writes `timeout=None` to wait as long as it takes, as docker does for `wait` and consul for
blocking queries. Only the keywords of the verbs above it tell them apart, so they are looked at there, on the stack of
the call, where an adapter has a default to put in the place of None. The frames of the session and of `requests.get`
and the like are looked at, and no others: `session.request(..., timeout=None)`, called directly, cannot be told from a
call that names none.

An adapter with a `send` of its own may fill in a timeout where there is none. It is handed None, and the default holds
below it, at the pool.
"""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Any

import requests
from requests import adapters
from requests.adapters import BaseAdapter
from urllib3.util import Timeout

from polvo_adapters.shells.requests.wire.originals import is_original


class _Unset:
    def __repr__(self) -> str:
        return "the default"


UNSET: Any = _Unset()
"""The timeout of an adapter that was made without one."""

UNLIMITED: Any = object()
"""In the place of a default timeout: the caller wants none."""

DEFERRED: Any = object()
"""In the place of a default timeout: the adapter below may have its own."""

ASKED: Any = object()
"""In the place of a default timeout: the adapter is asked for it at every call."""

_MOST_FRAMES = 16
_MOST_BELOW = 5  # between an adapter and the session that it is mounted on
_VERBS = ("requests.", "polvo_adapters.")
_REQUEST = requests.Session.request.__code__
_SEND = requests.Session.send.__code__
_VARKEYWORDS = inspect.CO_VARKEYWORDS


def is_none_on_purpose(depth: int = 1) -> bool:
    """Return whether the caller has written `timeout=None`, for a call whose timeout is None.

    Args:
        depth: How many frames up the `send` of the adapter is.
    """
    frame = sys._getframe(depth).f_back
    sending, left = None, _MOST_BELOW
    while frame is not None and left:
        code = frame.f_code
        if code is _REQUEST:
            return _is_named_above(frame)
        if code is _SEND:
            sending, left = frame, _MOST_FRAMES
        frame, left = frame.f_back, left - 1
    return sending is not None and _names_timeout(sending)


def _is_named_above(frame: FrameType) -> bool:
    """Return whether a timeout is among the keywords of a verb that has called `Session.request`."""
    above = frame.f_back
    while above is not None:
        is_verb = str(above.f_globals.get("__name__")).startswith(_VERBS)
        if not is_verb and not _is_method_of_session(above, frame):
            return False
        if _names_timeout(above):
            return True
        above = above.f_back
    return False


def _is_method_of_session(frame: FrameType, request: FrameType) -> bool:
    """Return whether a frame is that of a method of the session whose `request` has the other frame."""
    code = frame.f_code
    if code.co_argcount == 0 or code.co_varnames[0] != "self":
        return False  # the locals of a frame take long to read, most of all those of `Session.request`
    owner = frame.f_locals.get("self")
    return issubclass(type(owner), requests.Session) and owner is request.f_locals.get("self")


def _names_timeout(frame: FrameType) -> bool:
    """Return whether a function was called with a timeout, which it takes as one of any keywords."""
    code = frame.f_code
    if not code.co_flags & _VARKEYWORDS:
        return False
    at = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    keywords = frame.f_locals.get(code.co_varnames[at])
    return isinstance(keywords, dict) and "timeout" in keywords


def choose_usable(value: Any, default: Any) -> Any:
    """Return a value where it is a timeout as `requests` takes it, and otherwise the default."""
    return value if isinstance(value, (int, float, tuple, Timeout)) else default


def as_timeout(value: Any) -> Timeout:
    """Return a timeout of urllib3 for one as `requests` takes it."""
    if isinstance(value, Timeout):
        return value.clone()
    connect, read = value if isinstance(value, tuple) else (value, value)
    return Timeout(connect=connect, read=read)


def sends_through_another(adapter: BaseAdapter) -> bool:
    """Return whether an adapter has a `send` of its own that calls another, such as that of its base class."""
    code = _code_of_own_send(adapter)
    return code is not None and "send" in code.co_names


def find_default_timeout(kind: Any, inner: BaseAdapter | None, ours: type) -> Any:
    """Return the timeout of calls that name none through an adapter that was given none, DEFERRED or ASKED.

    Args:
        kind: The class of the adapter.
        inner: The adapter that it wraps, if any.
        ours: The class of adapters that have default timeouts of this kind.
    """
    definer = next((base for base in kind.__mro__ if "timeout" in vars(base)), None)
    if definer is None or not definer.__module__.startswith("polvo_adapters."):
        return ASKED
    if inner is None:
        return kind.timeout
    if isinstance(inner, ours) or _may_have_timeout(inner):
        return DEFERRED
    return ASKED if hasattr(inner, "timeout") else kind._class_timeout


def _may_have_timeout(adapter: BaseAdapter) -> bool:
    """Return whether an adapter may fill in a timeout of its own where a call names none."""
    code = _code_of_own_send(adapter)
    if code is None:
        return False
    return "send" in code.co_names or any("timeout" in name.lower() for name in (*vars(type(adapter)), *vars(adapter)))


def _code_of_own_send(adapter: BaseAdapter) -> Any:
    """Return the code of an adapter's `send`, or None where it is that of `requests` or is not written in Python."""
    function = inspect.unwrap(getattr(type(adapter), "send", None))  # type: ignore[arg-type]
    if is_original(function, adapters, "send"):
        return None
    return getattr(function, "__code__", None)
