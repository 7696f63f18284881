"""Name resolution within a time limit, which the operating system does not offer."""

from __future__ import annotations

import ipaddress
import socket
from contextvars import copy_context
from functools import partial
from typing import Any

from polvo_adapters.runtime.bounded import BOUNDED
from polvo_adapters.runtime.clock import Clock


def resolve(host: str, port: int, family: int, seconds: float | None, clock: Clock) -> list[Any]:
    """Return what `socket.getaddrinfo` returns for a TCP connection, or raise what it raises.

    The function is looked up at every call, so that code that replaces it is heard. With a time limit it runs on
    another thread, in the context of the call: what it keeps in a ContextVar it finds there, what it keeps in a
    thread-local it does not.

    Args:
        host: Name or address.
        port: Port.
        family: Family of addresses; 0 for any.
        seconds: Time limit, within which a name is resolved on another thread; None for no limit.
        clock: Time and threads.

    Raises:
        TimeoutError: The time is up.
    """
    if seconds is None or _is_address(host):
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    function = socket.getaddrinfo
    work = partial(copy_context().run, function, host, port, family, socket.SOCK_STREAM)
    is_shared = getattr(function, "__module__", "") in ("socket", "gevent._socketcommon", "gevent.socket")
    return BOUNDED.call(clock, seconds, work, key=(host, port, family) if is_shared else None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
