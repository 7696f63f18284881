"""What `polvo_adapters.requests` has in the place of names of `requests`: the session, and the verbs.

They look up what they call where the functions of `requests` do: `get` calls `api.request`, which calls
`sessions.Session`, which is called `Session.request`, and so on. So what a test has replaced on the way is reached,
whether it names the module of `requests` or ours; see `polvo_adapters.shells.requests.mirror`.
"""

from __future__ import annotations

from abc import ABCMeta
from types import ModuleType
from typing import Any

import requests
import requests.api
import requests.sessions
from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.shells.requests.api import SharedConnections
from polvo_adapters.shells.requests.mirror import Mirror, Replacement, add_submodules, show
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.timeouts import DEFAULT_TIMEOUT
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.tracebacks import drop_frames

_NAME = "polvo_adapters.requests"
_connections = SharedConnections(timeout=DEFAULT_TIMEOUT)
_PlainSession = requests.sessions.Session


class Session(_PlainSession, metaclass=ABCMeta):
    """A `requests.Session` with the standard stack mounted; see `polvo_adapters.ResilientAdapter`.

    Every `requests.Session` is an instance of it for `isinstance`, as code says `isinstance(session, requests.Session)`
    whose import has been changed to the drop-in.
    """

    __module__ = _NAME

    def __init__(self) -> None:
        super().__init__()
        _add_stack(self)

    @classmethod
    def __subclasshook__(cls, subclass: type) -> bool:
        return True if cls is Session and issubclass(subclass, _PlainSession) else NotImplemented


class OneCallSession(Session):
    """The session of a verb, which shares its connections with all others, but neither cookies nor credentials."""

    def __init__(self) -> None:
        _PlainSession.__init__(self)
        self._owner: ConnectionOwner | None = None
        if all(type(adapter) is HTTPAdapter for adapter in self.adapters.values()):
            self._owner = _connections.lend(self)
        else:
            _add_stack(self)

    def close(self) -> None:
        """Give up what belongs to this call; the shared connections stay open."""
        if self._owner is None:
            super().close()
        else:
            self._owner.close()


def _add_stack(session: requests.Session) -> None:
    """Put the standard stack in the place of the adapters of a new session, or around those of other code.

    A test may have replaced `requests.sessions.HTTPAdapter`. What it has put there, and is no adapter, stays.
    """
    for prefix, adapter in session.adapters.items():
        if isinstance(adapter, BaseAdapter):
            is_plain = type(adapter) is HTTPAdapter
            made = session.adapters[prefix] = ResilientAdapter() if is_plain else ResilientAdapter(inner=adapter)
            made.serve(session)


def session() -> Session:
    """Return a new Session."""
    made: Session = sessions.Session()
    return made


def request(method: str, url: str, **kwargs: Any) -> requests.Response:
    """Send a request; see `requests.request`."""
    kind = sessions.Session
    try:
        with (OneCallSession if kind is Session else kind)() as session:
            response: requests.Response = session.request(method=method, url=url, **kwargs)
            return response
    except requests.RequestException as error:
        drop_frames(error, keeps_first=True)
        raise


def get(url: str, params: Any = None, **kwargs: Any) -> requests.Response:
    """Send a GET request; see `requests.get`."""
    response: requests.Response = api.request("get", url, params=params, **kwargs)
    return response


def options(url: str, **kwargs: Any) -> requests.Response:
    """Send an OPTIONS request; see `requests.options`."""
    response: requests.Response = api.request("options", url, **kwargs)
    return response


def head(url: str, **kwargs: Any) -> requests.Response:
    """Send a HEAD request; see `requests.head`."""
    kwargs.setdefault("allow_redirects", False)
    response: requests.Response = api.request("head", url, **kwargs)
    return response


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
    """Send a POST request; see `requests.post`."""
    response: requests.Response = api.request("post", url, data=data, json=json, **kwargs)
    return response


def put(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PUT request; see `requests.put`."""
    response: requests.Response = api.request("put", url, data=data, **kwargs)
    return response


def patch(url: str, data: Any = None, **kwargs: Any) -> requests.Response:
    """Send a PATCH request; see `requests.patch`."""
    response: requests.Response = api.request("patch", url, data=data, **kwargs)
    return response


def delete(url: str, **kwargs: Any) -> requests.Response:
    """Send a DELETE request; see `requests.delete`."""
    response: requests.Response = api.request("delete", url, **kwargs)
    return response


_OF_SESSIONS = {each.__name__: Replacement(each, requests.sessions) for each in (Session, session)}
sessions: Any = Mirror(f"{_NAME}.sessions", requests.sessions, _OF_SESSIONS)
"""`requests.sessions`, with our Session."""

_SESSIONS = Replacement(sessions, requests.sessions)
_VERBS = {
    each.__name__: Replacement(each, requests.api) for each in (request, get, options, head, post, put, patch, delete)
}
api: Any = Mirror(f"{_NAME}.api", requests.api, {**_VERBS, "sessions": _SESSIONS})
"""`requests.api`, with our verbs."""


def show_requests(module: ModuleType) -> None:
    """Make a module the drop-in: `requests`, with our Session and our verbs."""
    submodules = {"sessions": _SESSIONS, "api": Replacement(api, requests.api)}
    add_submodules(module.__name__, "requests", {"sessions": sessions, "api": api})
    show(module, requests, {**_OF_SESSIONS, **_VERBS, **submodules})
