"""How to make an existing session resilient, and how to undo it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, TypeVar

import requests
from requests.adapters import BaseAdapter

from polvo_adapters.core.effects import Policy
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.shells.installation import describe
from polvo_adapters.shells.requests.installed_adapters import Installation, InstalledAdapters, restore
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

AnySession = TypeVar("AnySession", bound=requests.Session)


def install(
    session: AnySession, *policies: Policy, prefix: str | None = None, store: Store | None = None, **keywords: Any
) -> AnySession:
    """Make a session resilient by wrapping its adapters, of any kind, and return it.

    What is mounted later is wrapped as well, by `session.mount` or by an assignment to `session.adapters[...]`, until
    `uninstall`. For that, `session.adapters` becomes a mapping that wraps what is put into it; the class of the session
    and its methods stay as they are.

    Args:
        session: Any `requests.Session`, in use or new.
        *policies: Policies, outermost first; by default the standard stack.
        prefix: Where to wrap, such as "https://api.example.com/", and below it; by default everywhere. A prefix that is
            not mounted is mounted over the adapter that serves it, now or later.
        store: Where state lives; by default one memory store for all wrapped adapters.
        **keywords: Those of ResilientAdapter, or of PolicyAdapter where policies are given.

    Returns:
        The same session. Installing again replaces what was installed before.

    Raises:
        requests.exceptions.InvalidSchema: No adapter serves the prefix.
        TypeError: It is no session.
    """
    if not is_session(session):
        raise TypeError(f"install: expected a requests.Session, not {describe(session)}")
    if prefix is not None and prefix not in session.adapters:
        session.get_adapter(prefix)
    store = MemoryStore(now=keywords.get("clock", SYSTEM).now) if store is None else store
    kind = PolicyAdapter if policies else ResilientAdapter
    installation = Installation(prefix or "", kind, policies, {**keywords, "store": store})
    installation.session = weakref.ref(session)
    adapters: Any = session.adapters
    if not isinstance(adapters, InstalledAdapters):
        adapters = InstalledAdapters(adapters)
    adapters.install(installation)
    session.adapters = adapters
    if type(session).get_adapter is not requests.Session.get_adapter:
        _wrap_lookup(session)
    return session


def is_session(value: object) -> bool:
    """Return whether a value is a session, or what has adapters as one."""
    return isinstance(getattr(value, "adapters", None), Mapping) and not isinstance(value, type)


def uninstall(session: AnySession) -> AnySession:
    """Undo `install`: put every wrapped adapter, the very same object, back in its place.

    Adapters that were mounted since then stay, without policies.

    Args:
        session: The session; without an installation it is left as it is.

    Returns:
        The same session.
    """
    session.adapters = restore(session.adapters)
    if isinstance(vars(session).get("get_adapter"), _Lookup):
        del session.get_adapter
    return session


def _wrap_lookup(session: requests.Session) -> None:
    """Wrap also what a session of another class finds in a way of its own, and not among its adapters."""
    before = vars(session).get("get_adapter")
    if before is None:
        session.get_adapter = _Lookup(session)  # type: ignore[method-assign]


class _Lookup:
    """The `get_adapter` of a session whose class looks up adapters in a way of its own.

    Args:
        session: The session, which keeps this object.
    """

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def __call__(self, url: str) -> BaseAdapter:
        session = self._session
        adapter = type(session).get_adapter(session, url)
        return session.adapters.find(url, adapter) if isinstance(session.adapters, InstalledAdapters) else adapter
