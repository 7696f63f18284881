"""How to make an existing session resilient, and how to undo it."""

from __future__ import annotations

from typing import Any, TypeVar

import requests

from polvo_adapters.core.effects import Policy
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

AnySession = TypeVar("AnySession", bound=requests.Session)


def install(
    session: AnySession, *policies: Policy, prefix: str | None = None, store: Store | None = None, **keywords: Any
) -> AnySession:
    """Make a session resilient by wrapping its adapters, of any kind, and return it.

    Args:
        session: Any `requests.Session`, in use or new.
        *policies: Policies, outermost first; by default the standard stack.
        prefix: Where to wrap, such as "https://api.example.com/"; by default everything that is mounted. A prefix that
            is not mounted is mounted over the adapter that serves it now.
        store: Where state lives; by default one memory store for all wrapped adapters.
        **keywords: Those of ResilientAdapter, or of PolicyAdapter where policies are given.

    Returns:
        The same session. Installing again replaces what was installed before.

    Raises:
        requests.exceptions.InvalidSchema: No adapter serves the prefix.
    """
    store = MemoryStore(now=keywords.get("clock", SYSTEM).now) if store is None else store
    wrapped: dict[str, PolicyAdapter] = {}
    for place in list(session.adapters) if prefix is None else [prefix]:
        mounted = session.adapters.get(place)
        below = session.get_adapter(place) if mounted is None else mounted
        before = mounted.installed if isinstance(mounted, PolicyAdapter) else None
        while isinstance(below, PolicyAdapter) and below.installed is not None and below.inner is not None:
            below = below.inner
        if policies:
            wrapped[place] = PolicyAdapter(*policies, inner=below, store=store, **keywords)
        else:
            wrapped[place] = ResilientAdapter(inner=below, store=store, **keywords)
        wrapped[place].installed = before or ("beside" if mounted is None else "around")
        wrapped[place].serve(session)
    for place, adapter in wrapped.items():
        if place in session.adapters:
            session.adapters[place] = adapter
        else:
            session.mount(place, adapter)
    return session


def uninstall(session: AnySession) -> AnySession:
    """Undo `install`: put every wrapped adapter, the very same object, back in its place.

    Args:
        session: The session; without an installation it is left as it is.

    Returns:
        The same session.
    """
    for place, adapter in list(session.adapters.items()):
        if not isinstance(adapter, PolicyAdapter) or adapter.installed is None or adapter.inner is None:
            continue
        if adapter.installed == "around":
            session.adapters[place] = adapter.inner
        else:
            del session.adapters[place]
    return session
