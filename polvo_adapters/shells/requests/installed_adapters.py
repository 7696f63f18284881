"""The adapters of a session in which policies are installed: whatever is mounted later is wrapped too.

Theory of operation. `requests.Session` keeps its adapters in a mapping, and every way to mount one ends there: `mount`,
an override of it, an assignment to `session.adapters[...]`. So the installation is a mapping in the place of that one.
The class of the session and its methods stay as they are, and a pickled session keeps the installation.

What was given for a prefix is the `inner` of what stands there. So nothing else has to be kept to undo it all.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import BaseAdapter

from polvo_adapters.shells.installation import BaseInstallation
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter

_MOST_ELSEWHERE = 64


class Installation(BaseInstallation):
    """What is installed in a session at a prefix; arguments as for BaseInstallation.

    Attributes:
        session: The session that the adapters serve, where it is known.
    """

    session: weakref.ref[requests.Session] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "session": None}

    def wrap(self, inner: BaseAdapter) -> PolicyAdapter:
        """Return an adapter that sends through the given one as the policies say."""
        wrapper: PolicyAdapter = super().wrap(inner)
        session = None if self.session is None else self.session()
        if session is not None:
            wrapper.serve(session)
        return wrapper


class InstalledAdapters(OrderedDict[str, BaseAdapter]):
    """A mapping of prefixes to adapters, in which each adapter that an installation covers is wrapped.

    Args:
        adapters: The mapping in whose place it stands.

    Attributes:
        original: That mapping, without what has been mounted since.
        installations: What is installed; of those that cover a prefix the one with the longest prefix counts.
        added: The prefixes at which the caller has mounted nothing: what serves them without the installation is
            wrapped there.
    """

    def __init__(self, adapters: MutableMapping[str, BaseAdapter]) -> None:
        self.original = adapters
        self.installations: list[Installation] = []
        self.added: set[str] = set()
        self._elsewhere: dict[int, PolicyAdapter] = {}
        super().__init__()
        for prefix, adapter in adapters.items():
            super().__setitem__(prefix, _unwrap(adapter))

    def __setitem__(self, prefix: str, adapter: BaseAdapter) -> None:
        """Mount an adapter, wrapped where an installation covers the prefix."""
        if not self._is_ours(adapter):
            self.added.discard(prefix)
        super().__setitem__(prefix, self._wrap(prefix, adapter))
        self._follow()

    def __delitem__(self, prefix: str) -> None:
        """Take away what is mounted at a prefix."""
        super().__delitem__(prefix)
        self._follow()

    def copy(self) -> InstalledAdapters:
        """Return a mapping with the same adapters and the same installations, as libraries keep one to restore it."""
        other = _empty()
        state = (OrderedDict(self.original), list(self.installations), set(self.added), list(self.items()))
        other.__setstate__(state)
        return other

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.original, self.installations, self.added, list(self.items()))
        return _empty, (), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over what a pickle has kept."""
        self.original, self.installations, self.added, items = state
        for prefix, adapter in items:
            super().__setitem__(prefix, adapter)

    def install(self, installation: Installation) -> None:
        """Wrap all that an installation covers, in the place of what was installed there before."""
        installations = [each for each in self.installations if not installation.covers(each.prefix)]
        installations.append(installation)
        given = {prefix: self._given(prefix) for prefix in self if installation.covers(prefix)}
        new = []
        if installation.prefix and installation.prefix not in self:
            with suppress(KeyError):  # a session that looks up its adapters in a way of its own
                given[installation.prefix] = self.serving(installation.prefix)
                new.append(installation.prefix)
        wrapped = {prefix: installation.wrap(adapter) for prefix, adapter in given.items()}
        self.installations = installations
        for prefix, adapter in wrapped.items():
            super().__setitem__(prefix, adapter)
        for prefix in new:
            self.added.add(prefix)
            for key in [key for key in self if len(key) < len(prefix)]:  # the order of `requests`: longest first
                self.move_to_end(key)

    def restore(self) -> MutableMapping[str, BaseAdapter]:
        """Return the original mapping, with what has been mounted since, and without the installation."""
        given = {prefix: self._given(prefix) for prefix in self if prefix not in self.added}
        self.original.clear()
        self.original.update(given)
        return self.original

    def serving(self, url: str) -> BaseAdapter:
        """Return what would serve a URL without the installation.

        Raises:
            KeyError: Nothing would.
        """
        for prefix in self:
            if prefix not in self.added and url.lower().startswith(prefix.lower()):
                return self._given(prefix)
        raise KeyError(url)

    def _given(self, prefix: str) -> BaseAdapter:
        """Return what the caller has mounted at a prefix."""
        adapter = self[prefix]
        return adapter.__dict__["inner"] if self._is_ours(adapter) else adapter

    def _is_ours(self, adapter: BaseAdapter | None) -> bool:
        installed = adapter.installed if isinstance(adapter, PolicyAdapter) else None
        return installed is not None and installed in self.installations

    def _wrap(self, prefix: str, adapter: BaseAdapter) -> BaseAdapter:
        """Return what is to stand at a prefix where the caller mounts an adapter."""
        covering = [each for each in self.installations if each.covers(prefix)]
        installation = max(covering, key=lambda each: len(each.prefix), default=None)
        if installation is None or (isinstance(adapter, PolicyAdapter) and adapter.installed is installation):
            return adapter
        before = self.get(prefix)
        if isinstance(before, PolicyAdapter) and before.installed is installation and before.inner is adapter:
            return before  # mounted once more
        return installation.wrap(adapter)

    def _follow(self) -> None:
        """Wrap what serves the added prefixes now."""
        for prefix in self.added:
            standing = self.get(prefix)
            if not isinstance(standing, PolicyAdapter) or standing.installed is None:
                continue
            try:
                given = self.serving(prefix)
            except KeyError:
                continue  # in the middle of a mount, which takes away prefixes to put them back at the end
            if standing.inner is not given:
                super().__setitem__(prefix, standing.installed.wrap(given))

    def find(self, url: str, adapter: BaseAdapter) -> BaseAdapter:
        """Return the adapter that sends to a URL, where a session looks up its adapters in a way of its own.

        Args:
            url: The URL.
            adapter: What the session has found.
        """
        if self._is_ours(adapter) or any(each is adapter for each in self.values()):
            return adapter
        known = self._elsewhere.get(id(adapter))
        wrapper = self._wrap(url, adapter) if known is None or known.inner is not adapter else known
        if isinstance(wrapper, PolicyAdapter):
            if len(self._elsewhere) >= _MOST_ELSEWHERE:
                self._elsewhere.clear()
            self._elsewhere[id(adapter)] = wrapper
        return wrapper


def restore(adapters: MutableMapping[str, BaseAdapter]) -> MutableMapping[str, BaseAdapter]:
    """Return the mapping that a session is to have without an installation."""
    if isinstance(adapters, InstalledAdapters):
        return adapters.restore()
    for prefix, adapter in adapters.items():  # taken over from another session, in a mapping that is none of ours
        given = _unwrap(adapter)
        if given is not adapter:
            adapters[prefix] = given
    return adapters


def _unwrap(adapter: BaseAdapter) -> BaseAdapter:
    """Return what an adapter wraps that an installation has made, or the adapter itself."""
    while isinstance(adapter, PolicyAdapter) and adapter.installed is not None and adapter.inner is not None:
        adapter = adapter.inner
    return adapter


def _empty() -> InstalledAdapters:
    return InstalledAdapters(OrderedDict())
