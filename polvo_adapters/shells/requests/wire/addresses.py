"""Name resolution and connecting, within the deadline of an attempt.

As urllib3 does it, except that the name is resolved on another thread where there is a deadline, that each address gets
a fair part of the time left, and that each phase is marked. Where the caller has replaced functions of urllib3 or of
the standard library (to pin addresses, or to leave out IPv6), the caller's functions are the ones that are called.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util import connection as urllib3_connection

from polvo_adapters.core.trace import CONNECT, RESOLVE
from polvo_adapters.runtime.resolution import resolve
from polvo_adapters.shells.requests.wire.originals import is_original
from polvo_adapters.shells.requests.wire.transmission import Transmission


def open_socket(connection: Any, transmission: Transmission) -> Any:
    """Return a connected socket for a urllib3 connection; the errors are those of urllib3.

    Args:
        connection: The connection, whose host, port, timeout and socket options are used.
        transmission: The attempt.
    """
    try:
        sock = _connect(connection, transmission)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except OSError as error:
        raise explain_connect_error(connection, error) from error
    sys.audit("http.client.connect", connection, connection.host, connection.port)
    return sock


def explain_connect_error(connection: Any, error: OSError) -> ConnectTimeoutError:
    """Return the error of urllib3 for a connection that could not be made; NewConnectionError is one of its class."""
    if isinstance(error, TimeoutError):
        message = f"Connection to {connection.host} timed out. (connect timeout={connection.timeout})"
        return ConnectTimeoutError(connection, message)
    return NewConnectionError(connection, f"Failed to establish a new connection: {error}")


def _connect(connection: Any, transmission: Transmission) -> Any:
    host = connection._dns_host
    if not is_original(urllib3_connection.create_connection, urllib3_connection, "create_connection"):
        transmission.mark(CONNECT)
        return urllib3_connection.create_connection(
            (host, connection.port),
            transmission.limit(connection.timeout),
            source_address=connection.source_address,
            socket_options=connection.socket_options,
        )
    transmission.mark(RESOLVE)
    addresses = _resolve(host.strip("[]"), connection.port, transmission)
    failure: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        transmission.mark(f"{CONNECT} {address[0]}")
        try:
            return _connect_to(connection, transmission, (family, kind, protocol), address, len(addresses) - number)
        except OSError as error:
            failure = error
    try:
        raise failure or OSError("getaddrinfo returns an empty list")
    finally:
        del failure  # see errors.py, "Errors and frames"


def _connect_to(
    connection: Any, transmission: Transmission, kind: tuple[int, int, int], address: Any, candidates: int
) -> socket.socket:
    """Return a socket that is connected to one address, of so many that are left to be tried."""
    sock = socket.socket(*kind)
    try:
        urllib3_connection._set_socket_options(sock, connection.socket_options)
        sock.settimeout(_share(transmission, connection.timeout, candidates))
        if connection.source_address:
            sock.bind(connection.source_address)
        if transmission.sockets is not None:
            transmission.sockets.add(sock)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    finally:
        if transmission.sockets is not None:
            transmission.sockets.remove(sock)
    return sock


def _share(transmission: Transmission, timeout: float | None, candidates: int) -> float | None:
    """Return the time for one address: a silent one must leave some of the deadline to those after it."""
    if transmission.deadline is None:
        return timeout
    left = transmission.limit(None)
    part = None if left is None else left / candidates
    return part if timeout is None or part is None else min(timeout, part)


def _resolve(host: str, port: int, transmission: Transmission) -> list[Any]:
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"{host!r}, label empty or too long") from None
    family = urllib3_connection.allowed_gai_family()
    return resolve(host, port, family, transmission.limit(None), transmission.clock)
