"""The loopback addresses that the failure server listens on, and their sockets.

`localhost` is both 127.0.0.1 and ::1 where the machine has both: which of them a client tries first depends on the
machine, and another program must not answer on the other one.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_BACKLOG = 1024
_TRIES = 20
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def find_addresses(host: str) -> tuple[Address, ...]:
    """Return the addresses of a host, the one that is shown first.

    Args:
        host: A loopback address, or `localhost`.

    Raises:
        ValueError: The host is not a loopback address.
    """
    if host == "localhost":
        return ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is not a loopback address") from None
    if not address.is_loopback:
        raise ValueError(f"{host!r} is not a loopback address; this server must not be reachable from outside")
    return (address,)


def listen(addresses: tuple[Address, ...], port: int) -> list[socket.socket]:
    """Return a socket for each address, all on the same port; an IPv6 address is left out where there is no IPv6.

    Args:
        addresses: Loopback addresses.
        port: The port; 0 picks one that is free on all of them.

    Raises:
        OSError: The port is not available.
    """
    for attempt in range(1, _TRIES + 1):
        listeners: list[socket.socket] = []
        try:
            for address in addresses:
                taken = listeners[0].getsockname()[1] if listeners else port
                with suppress(_MissingFamilyError):
                    listeners.append(_open(address, taken, optional=bool(listeners)))
        except OSError:
            for listener in listeners:
                listener.close()
            # The port that was free on the first address is taken on the second: another one may be free on both.
            if port or not listeners or attempt == _TRIES:
                raise
        else:
            return listeners
    raise AssertionError("the last try returns or raises")


class _MissingFamilyError(Exception):
    """The machine has no such address."""


def _open(address: Address, port: int, *, optional: bool) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        listener = socket.create_server((str(address), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if optional and error.errno in _NO_IPV6:
            raise _MissingFamilyError from None
        raise
    listener.setblocking(False)
    return listener
