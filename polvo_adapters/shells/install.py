"""`install` and `uninstall` for sessions of `requests` and for clients of httpx."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from polvo_adapters.core.effects import Policy
from polvo_adapters.shells.installation import describe
from polvo_adapters.shells.requests import install as sessions
from polvo_adapters.stores.base import Store

if TYPE_CHECKING:
    import httpx
    import requests

AnyClient = TypeVar("AnyClient", bound="requests.Session | httpx.Client | httpx.AsyncClient")


def install(
    session: AnyClient, *policies: Policy, prefix: str | None = None, store: Store | None = None, **keywords: Any
) -> AnyClient:
    """Make a session of `requests`, or a client of httpx, resilient, and return it.

    What it sends through is wrapped, and stays what it is: proxies, certificates, adapters and transports of other
    libraries. What is mounted later is wrapped as well, until `uninstall`.

    Args:
        session: Any `requests.Session`, `httpx.Client` or `httpx.AsyncClient`, in use or new.
        *policies: Policies, outermost first; by default the standard stack.
        prefix: Where to wrap, such as "https://api.example.com/", and below it; by default everywhere. For httpx it may
            be one of its patterns, such as `all://*.example.com`.
        store: Where state lives; by default one memory store for all that is wrapped.
        **keywords: Those of ResilientAdapter or ResilientTransport; of PolicyAdapter or PolicyTransport where policies
            are given.

    Returns:
        The same session or client. Installing again replaces what was installed before.

    Raises:
        requests.exceptions.InvalidSchema: No adapter serves the prefix.
        ConfigurationError: The prefix is none that a client of httpx can match.
        TypeError: It is neither a session nor a client.
    """
    if _is_of_httpx(session):
        from polvo_adapters.shells.httpx.install import install as install_in_client

        return install_in_client(session, *policies, prefix=prefix, store=store, **keywords)  # type: ignore[type-var]
    if not sessions.is_session(session):
        given = describe(session)
        raise TypeError(f"install: expected a requests.Session, not {given}; a client of httpx will do as well")
    return sessions.install(session, *policies, prefix=prefix, store=store, **keywords)  # type: ignore[type-var]


def uninstall(session: AnyClient) -> AnyClient:
    """Undo `install`: put everything that was wrapped, the very same object, back in its place.

    What was mounted since then stays, without policies.

    Args:
        session: The session or client; without an installation it is left as it is.

    Returns:
        The same session or client.
    """
    if _is_of_httpx(session):
        from polvo_adapters.shells.httpx.install import uninstall as uninstall_in_client

        return uninstall_in_client(session)  # type: ignore[type-var]
    return sessions.uninstall(session)  # type: ignore[type-var]


def _is_of_httpx(client: object) -> bool:
    httpx = sys.modules.get("httpx")  # without which there is no client
    return httpx is not None and isinstance(client, (httpx.Client, httpx.AsyncClient))
