"""One-call functions that share connections.

`requests.get` opens a connection for each call and throws it away. Here each call has a session of its own, so that no
cookie, header or credential outlives it, and all sessions send through one adapter, so that connections are kept.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import requests

from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.defaults import SESSION_DEFAULTS
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.workers import WORKERS
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.session import Session
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.pools import shared_view
from polvo_adapters.shells.tracebacks import drop_frames

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.policies.options import StackOptions


class _SharedView(PolicyAdapter):
    """The shared adapter, as one of the sessions that send through it sees it."""

    __slots__ = ("_owner",)


class SharedConnections:
    """One adapter that many short-lived sessions send through, made on first use.

    Args:
        timeout: Timeout of an attempt where the session names none, in seconds; None for no limit.
        **options: Keywords of the standard stack.

    Attributes:
        adapter: The adapter, or None before the first use.
    """

    def __init__(self, timeout: float | None, **options: Unpack[StackOptions]) -> None:
        self._timeout, self._options = timeout, options
        self._lock = threading.Lock()
        self.adapter: ResilientAdapter | None = None
        _all_shared.add(self)
        forks.register(self)

    def lend(self, session: requests.Session) -> ConnectionOwner:
        """Mount the shared adapter on a session, which must not be closed.

        Returns:
            The owner of connections that authenticate this session; close it when the call is over.
        """
        if self.adapter is None:
            with self._lock:
                self.adapter = self.adapter or ResilientAdapter(
                    timeout=self._timeout, pool_connections=32, pool_maxsize=32, **self._options
                )
        owner = ConnectionOwner()
        view = shared_view(self.adapter, _SharedView, owner)
        for prefix in session.adapters:
            session.adapters[prefix] = view
        return owner

    def close(self) -> None:
        """Close the connections, without a lock: a signal handler may call this at any moment."""
        adapter = self.adapter
        if adapter is not None:
            adapter.close()

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()


_all_shared: weakref.WeakSet[SharedConnections] = weakref.WeakSet()
_connections = SharedConnections(timeout=None, **SESSION_DEFAULTS)


def close() -> None:
    """Close the connections that the verbs share, and end the worker threads that are idle.

    That holds for the verbs of `polvo_adapters` and of `polvo_adapters.requests`; your own sessions and adapters have a
    `close` of their own. Responses that are being read are not affected, nor are calls in progress. The verbs can be
    used afterwards: they open new connections, and what they have learned of servers is kept.

    It may be called from any thread, more than once, after a fork, and at exit: `atexit.register(polvo.close)`.
    """
    for shared in tuple(_all_shared):
        shared.close()
    WORKERS.end_idle()


class _OneCall(Session):
    def _mount(self, **_: Any) -> None:
        self.owner = _connections.lend(self)


def request(method: str, url: str, **keywords: Any) -> requests.Response:
    """Send one request through the standard stack.

    Args:
        method: HTTP method.
        url: Absolute URL.
        **keywords: Those of `requests.request`. `timeout` is 30 seconds where it is not given.

    Returns:
        The response; its `polvo` is the report of the call.

    Raises:
        requests.RequestException: As `requests` does.
        RateLimitError: 429 or another error for want of quota, after all retries.
    """
    session = _OneCall()
    try:
        return session.request(method, url, **keywords)
    except requests.RequestException as error:
        if not isinstance(error, PolvoError):
            drop_frames(error, keeps_first=True)
        raise
    finally:
        session.owner.close()


def get(url: str, params: Any = None, **keywords: Any) -> requests.Response:
    """Send a GET request; see `request`."""
    return request("GET", url, params=params, **keywords)


def options(url: str, **keywords: Any) -> requests.Response:
    """Send an OPTIONS request; see `request`."""
    return request("OPTIONS", url, **keywords)


def head(url: str, **keywords: Any) -> requests.Response:
    """Send a HEAD request, redirects not followed as in `requests`; see `request`."""
    keywords.setdefault("allow_redirects", False)
    return request("HEAD", url, **keywords)


def post(url: str, data: Any = None, json: Any = None, **keywords: Any) -> requests.Response:
    """Send a POST request; see `request`."""
    return request("POST", url, data=data, json=json, **keywords)


def put(url: str, data: Any = None, **keywords: Any) -> requests.Response:
    """Send a PUT request; see `request`."""
    return request("PUT", url, data=data, **keywords)


def patch(url: str, data: Any = None, **keywords: Any) -> requests.Response:
    """Send a PATCH request; see `request`."""
    return request("PATCH", url, data=data, **keywords)


def delete(url: str, **keywords: Any) -> requests.Response:
    """Send a DELETE request; see `request`."""
    return request("DELETE", url, **keywords)
