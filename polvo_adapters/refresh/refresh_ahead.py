"""What is obtained once, kept, and refreshed ahead of its end while it is in use: tokens and secrets.

Theory of operation. A Keeper holds in memory what calls are given, and most calls get it from there at the price of a
look at the clock. When it is stale, the first call that finds out has it refreshed on another thread, and goes on with
what there is. Only where there is none, or it is over, the call itself drives the flow of
`polvo_adapters.refresh.refresh_flow`, and is the one who refreshes or one of those who wait.

**The end of the process** waits for a refresh that is under way: what the server answers may be the only thing that it
still accepts.
"""

from __future__ import annotations

import logging
import os
import weakref
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.errors import PolvoError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.lifecycle import NOT_REFRESHED, OVERDUE, KnownToken, WantToken
from polvo_adapters.runtime.clock import Clock

_log = logging.getLogger("polvo_adapters")
_keepers: weakref.WeakSet[RefreshAhead[Any]] = weakref.WeakSet()


class HeldValue(Protocol):
    """What a Keeper holds."""

    @property
    def known(self) -> KnownToken:
        """What the store said of it."""

    @property
    def at(self) -> float:
        """When that was."""

    @property
    def stale(self) -> float:
        """When to ask again."""

    @property
    def refused(self) -> bool:
        """Whether whoever it is for has refused it."""


K = TypeVar("K", bound=HeldValue)


class RefreshAhead(Generic[K]):
    """Holds what calls are given, under one name or several, and has it refreshed.

    Args:
        deadline: Seconds after which a refresh is given up, waiting for others included.
        background: Whether what is stale is refreshed on another thread. Otherwise the call that finds out waits.
        clock: Time and chance.
    """

    _what = "token"

    def __init__(self, *, deadline: float, background: bool, clock: Clock) -> None:
        self._deadline = deadline
        self._background = background
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._held: dict[str, K] = {}
        self._refreshing: set[str] = set()
        _keepers.add(self)

    def _driven(self, who: str, want: WantToken, entries: list[Entry] | None = None) -> K:
        """Drive the flow of a refresh to its end, and hold what comes of it."""
        raise NotImplementedError

    def _obtain(self, who: str, want: WantToken, entries: list[Entry] | None = None) -> K:
        """Obtain it for a call that needs it."""
        return self._driven(who, want, entries)

    def _on_behalf_of(self, who: str) -> AbstractContextManager[object]:
        """Return the context that a refresh on another thread runs in."""
        return nullcontext(who)

    def _ready(self, who: str) -> K | None:
        """Return what is held as long as nobody has to wait for it, else None."""
        held = self._held.get(who)
        now = self._clock.now()
        if held is None or now < held.stale:
            return held
        if held.refused or not self._background or now >= held.at + held.known.left:
            return None
        self._refresh_aside(who)
        return held

    def _current(self, who: str, entries: list[Entry] | None) -> K:
        """Return what is held, or what can be had."""
        held = self._held.get(who)
        now = self._clock.now()
        if held is None or held.refused or now >= held.at + held.known.left:
            refused = held.known.generation if held is not None and held.refused else 0
            return self._obtain(who, WantToken(refused=refused), entries)
        if now < held.stale:
            return held  # another thread was faster
        if not self._background:
            return self._obtain(who, WantToken(refresh="stale"), entries)
        self._refresh_aside(who)
        return held

    def _refresh_aside(self, who: str) -> None:
        """Have what is stale refreshed on another thread, unless one is at it."""
        if who in self._refreshing:
            return
        self._refreshing.add(who)  # where two threads get here at once, the store lets one of them refresh
        if not background.start(partial(self._refreshed_aside, who), f"{self._what} refresh"):
            self._refreshing.discard(who)

    def _refreshed_aside(self, who: str) -> None:
        try:
            entries: list[Entry] = []
            with self._on_behalf_of(who):
                self._driven(who, WantToken(refresh="stale"), entries)
            for entry in entries:
                if type(entry) is StateChange and entry.after == NOT_REFRESHED:
                    _log.warning("%s; the %s that there is will be used until it expires", entry, self._what)
        except PolvoError as error:
            _log.warning("a %s was not refreshed in time: %s", self._what, error)
        finally:
            self._refreshing.discard(who)

    def _after_fork(self) -> None:
        self._refreshing.clear()  # its threads are the parent's


def overdue(entries: list[Entry]) -> list[StateChange]:
    """Return what was told of something that is used past its time."""
    return [entry for entry in entries if type(entry) is StateChange and entry.after == OVERDUE]


def _after_fork_in_child() -> None:
    for keeper in _keepers:
        keeper._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
