"""How to make an existing client of httpx resilient, and how to undo it.

Theory of operation. A client asks its method `_transport_for_url` for the transport of each request: the one of a
mount, such as a proxy from the environment, or its own. The installation answers in its place, by what the client
itself would answer, wrapped. So the client's own transports and mounts stay where they are, what is mounted later is
wrapped as well, and nothing has to be put back.

A client says at each call whether it streams, which a transport cannot see. So its `send` is wrapped too, to say so in
the extension `polvo_stream` of the request.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any, TypeVar

import httpx

from polvo_adapters.core.effects import Policy
from polvo_adapters.drivers import aio
from polvo_adapters.errors import ConfigurationError, SessionClosedError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.httpx.resilient import AsyncResilientTransport, ResilientTransport
from polvo_adapters.shells.httpx.streaming import mark_as_streamed, unmark
from polvo_adapters.shells.httpx.transports import AsyncPolicyTransport, PolicyTransport
from polvo_adapters.shells.httpx.url_prefix import URLPrefix
from polvo_adapters.shells.installation import BaseInstallation
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

AnyClient = TypeVar("AnyClient", bound=httpx.Client | httpx.AsyncClient)

_LOOKUP, _SEND = "_transport_for_url", "send"
_MOST_WRAPPED = 64


class Installation(BaseInstallation):
    """What is installed in a client at a prefix; see `BaseInstallation`."""

    def __init__(self, prefix: str, kind: Any, policies: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        super().__init__(prefix, kind, policies, keywords)
        self._matches = URLPrefix(prefix).matches

    def serves(self, url: httpx.URL) -> bool:
        """Return whether it is for a URL."""
        return self._matches(url)


class _InClient:
    """Mixin of the transport of an installation, which is closed when its client is: nothing else tells it."""

    _client: Any

    @property
    def is_closed(self) -> bool:
        """Whether calls make no further attempt, as nothing would close the connections that they open."""
        client = self._client()
        return client is not None and client.is_closed

    @is_closed.setter
    def is_closed(self, value: bool) -> None:
        """Leave it to the client."""

    def make_closed_error(self) -> SessionClosedError:
        """Return the error that stops further attempts of a call."""
        return SessionClosedError("the client was closed meanwhile; make another one, or close it after its last call")


@lru_cache(maxsize=64)
def _extended(kind: Any) -> Any:
    return extend(kind, _InClient)


class InstalledLookup:
    """What stands in the place of a client's `_transport_for_url`.

    Args:
        client: The client.

    Attributes:
        installations: What is installed; of those for a URL the one with the longest prefix counts.
    """

    def __init__(self, client: Any) -> None:
        self._client = weakref.ref(client)
        self.installations: tuple[Installation, ...] = ()
        self._wrapped: dict[tuple[int, int], Any] = {}

    def install(self, installation: Installation) -> None:
        """Install, in the place of what was installed there before."""
        kept = [each for each in self.installations if not installation.covers(each.prefix)]
        self.installations = tuple(sorted([*kept, installation], key=lambda each: -len(each.prefix)))
        self._wrapped = {}

    def __call__(self, url: httpx.URL) -> Any:
        """Return the transport for a URL, wrapped where an installation is for it."""
        client: Any = self._client()
        transport = type(client)._transport_for_url(client, url)
        installation = next((each for each in self.installations if each.serves(url)), None)
        return transport if installation is None else self._wrap(installation, transport)

    def _wrap(self, installation: Installation, transport: Any) -> Any:
        key = (id(installation), id(transport))
        wrapper = self._wrapped.get(key)
        if wrapper is None or wrapper.inner is not transport:
            wrapper = installation.wrap(transport)
            kind: Any = type(wrapper)
            wrapper._client = self._client
            wrapper.__class__ = _extended(kind)
            if len(self._wrapped) >= _MOST_WRAPPED:
                self._wrapped = {}
            self._wrapped[key] = wrapper
        return wrapper


class _InstalledSend:
    """What stands in the place of a client's `send`, to tell the transports which responses are streamed."""

    def __init__(self, client: Any) -> None:
        self._client = weakref.ref(client)

    def __call__(self, request: httpx.Request, *, stream: bool = False, **keywords: Any) -> Any:
        """Send a request as the client does; a coroutine, where it is asynchronous."""
        client: Any = self._client()
        if stream:
            mark_as_streamed(request)
        else:
            unmark(request)
        return type(client).send(client, request, stream=stream, **keywords)


def install(
    client: AnyClient, *policies: Policy, prefix: str | None = None, store: Store | None = None, **keywords: Any
) -> AnyClient:
    """Make a client resilient by wrapping its transports, of any kind, and return it; see `polvo.install`.

    Args:
        client: The client.
        *policies: Policies, outermost first; by default the standard stack.
        prefix: Where to wrap; by default everywhere.
        store: Where state lives; by default one memory store for all wrapped transports.
        **keywords: Those of ResilientTransport, or of PolicyTransport where policies are given.
    """
    if not callable(getattr(client, _LOOKUP, None)):
        raise ConfigurationError("this release of httpx cannot be installed into; give the client a PolicyTransport")
    is_async = isinstance(client, httpx.AsyncClient)
    clock = keywords.get("clock", aio.ASYNC_SYSTEM if is_async else SYSTEM)
    store = MemoryStore(now=clock.now) if store is None else store
    kind: Any
    if policies:
        kind = AsyncPolicyTransport if is_async else PolicyTransport
    else:
        kind = AsyncResilientTransport if is_async else ResilientTransport
    installation = Installation(prefix or "", kind, policies, {**keywords, "store": store})
    installation.wrap(client._transport)  # so that what cannot work is said now
    lookup = vars(client).get(_LOOKUP)
    if not isinstance(lookup, InstalledLookup):
        lookup = InstalledLookup(client)
    lookup.install(installation)
    vars(client)[_LOOKUP] = lookup
    vars(client).setdefault(_SEND, _InstalledSend(client))
    return client


def uninstall(client: AnyClient) -> AnyClient:
    """Undo `install`; see `polvo.uninstall`.

    Args:
        client: The client; without an installation it is left as it is.
    """
    for name, kind in ((_LOOKUP, InstalledLookup), (_SEND, _InstalledSend)):
        if isinstance(vars(client).get(name), kind):
            del vars(client)[name]
    return client
