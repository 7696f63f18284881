"""The way of attempts through an adapter, and what it proves about an attempt that failed."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import requests
from requests import adapters
from requests.adapters import BaseAdapter
from urllib3 import connectionpool

from polvo_adapters.shells import overruns
from polvo_adapters.shells.requests.wire.originals import is_original
from polvo_adapters.shells.requests.wire.pools import KnownPools, PoolView, kind_of_view, sends_as_urllib3
from polvo_adapters.shells.requests.wire.transmission import Transmission

_LOOKUP = "get_connection_with_tls_context"


class Route:
    """The way of attempts through an adapter, which it does not keep: the adapter keeps its route.

    Args:
        adapter: The adapter.
        above: A class of the adapter that drives the attempts itself, so that its `send` is passed over; None where the
            adapter is another one.
    """

    __slots__ = ("_above", "_kind", "_known_pools")

    def __init__(self, adapter: BaseAdapter, above: type | None = None) -> None:
        self._above = above
        self._kind = kind_of_view(adapter)
        lookup = getattr(type(adapter), _LOOKUP, None)
        has_own_pools = lookup is not getattr(above, _LOOKUP, None) and not is_original(lookup, adapters, _LOOKUP)
        self._known_pools = None if has_own_pools else KnownPools()

    @property
    def is_watched(self) -> bool:
        """Whether the pools of the adapter can know the attempt that they serve."""
        return self._kind is not None

    def bind(self, adapter: BaseAdapter, transmission: Transmission) -> Callable[..., requests.Response]:
        """Return the `send` of the adapter for one attempt."""
        if self._kind is None:
            return adapter.send
        view: Any = object.__new__(self._kind)
        view.__dict__ = adapter.__dict__
        view._adapter, view._transmission, view._known_pools = adapter, transmission, self._known_pools
        # Looked up at every attempt: mock libraries patch it.
        bound: Any = view if self._above is None else super(self._above, view)
        send: Callable[..., requests.Response] = bound.send
        return send


def is_unsent(transmission: Transmission, send: Callable[..., Any], error: BaseException) -> bool:
    """Return whether it is proved that no byte of the request has left, for an attempt that ended with an error.

    The trace of the connections proves it, where the error is the very one that they ended with: an adapter that caught
    theirs, and went on in its own way, raises another. An adapter with a `send` of its own may have sent elsewhere
    before. Where there was no pool, the search for it must have failed.

    Args:
        transmission: The attempt.
        send: What was called to make it.
        error: What it raised.
    """
    if not transmission.is_unsent:
        return False
    if transmission.error is not None:
        return error is transmission.error
    if not is_original(send, adapters, "send"):
        return False  # it may have sent elsewhere
    pool = _find_pool(error, transmission)
    if pool is not None:
        return sends_as_urllib3(pool)
    return transmission.has_asked and not transmission.has_pool


def _find_pool(error: BaseException, transmission: Transmission) -> PoolView | None:
    """Return the view on a pool whose `urlopen` an error of an attempt has come out of, or None."""
    cause = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    trace: TracebackType | None = cause.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code.co_name == "urlopen" and frame.f_code.co_filename == connectionpool.__file__:
            pool = frame.f_locals.get("self")
            if isinstance(pool, PoolView) and pool._transmission is transmission:
                return pool
    return None


def report_overrun(transmission: Transmission, send: Callable[..., Any]) -> None:
    """Log, once for each class, that an adapter which opens sockets of its own has not kept the deadline.

    Args:
        transmission: The attempt, which has just ended.
        send: What was called to make it.
    """
    if transmission.deadline is None or transmission.lent:
        return
    adapter = type(getattr(send, "__self__", send)).__qualname__
    overruns.report_overrun(adapter, transmission.now() - transmission.deadline)
