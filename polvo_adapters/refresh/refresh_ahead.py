"""Values that are fetched once, held, and refreshed before they expire: tokens and secrets.

Theory of operation. A RefreshAhead holds in memory what calls need, and most calls get it from there at the price of a
look at the clock. When it is stale, the first call that finds out starts a refresh on another thread, and goes on with
the held value. Only if there is none, or it has expired, the call itself drives the flow of
`polvo_adapters.refresh.refresh_flow`: it refreshes, or waits for the call that does.

Threads, and the end of the process: see `polvo_adapters.refresh.background`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Generic, Protocol, TypeVar

from polvo_adapters.context.tenant import TenantScope
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.core.state_keys import without_paths
from polvo_adapters.errors import PolvoError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.lifecycle import NOT_REFRESHED, KnownToken, WantToken
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.runtime.workers import NoThreadError

_LOGS = {"token": logger("tokens"), "secret": logger("secrets")}


class HeldValue(Protocol):
    """A value that a RefreshAhead holds."""

    @property
    def known(self) -> KnownToken:
        """What the store said of it."""

    @property
    def known_at(self) -> float:
        """When the store said it."""

    @property
    def stale_at(self) -> float:
        """When to ask the store again."""

    @property
    def refused(self) -> bool:
        """Whether the server has refused it."""


HeldType = TypeVar("HeldType", bound=HeldValue)


class RefreshAhead(Generic[HeldType]):
    """The values of one or several tenants, which are refreshed ahead of time.

    Args:
        deadline: Seconds after which a refresh is given up, waiting for others included.
        background: Whether a stale value is refreshed on another thread. Otherwise the call that finds out waits.
        clock: Time and chance.
    """

    _what = "token"

    def __init__(self, *, deadline: float, background: bool, clock: Clock) -> None:
        self._deadline = deadline
        self._background = background
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._held: dict[str, HeldType] = {}
        self._refreshing: set[str] = set()
        forks.register(self)

    def _refresh(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> HeldType:
        """Drive the flow of a refresh to its end, and hold the result."""
        raise NotImplementedError

    def _obtain(self, tenant: str, want: WantToken, entries: list[Entry] | None = None) -> HeldType:
        """Refresh the value for a call that cannot go on without it."""
        return self._refresh(tenant, want, entries)

    def _is_single_use(self, tenant: str) -> bool:  # noqa: ARG002 - for values that depend on it
        """Return whether a refresh uses something that the server accepts only once, as far as is known here."""
        return False

    def _peek(self, tenant: str) -> HeldType | None:
        """Return the held value if no call has to wait for it, else None."""
        held = self._held.get(tenant)
        if held is None or self._clock.now() < held.stale_at:
            return held
        if not self._background or self._is_expired(held):
            return None
        self._start_refresh(tenant)
        return held

    def _get(self, tenant: str, entries: list[Entry] | None) -> HeldType:
        """Return the held value, refreshed if need be."""
        held = self._held.get(tenant)
        if held is None or self._is_expired(held):
            refused = held.known.generation if held is not None and held.refused else 0
            return self._obtain(tenant, WantToken(refused=refused), entries)
        if self._clock.now() < held.stale_at:
            return held  # another thread was faster
        if not self._background:
            return self._obtain(tenant, WantToken(refresh="stale"), entries)
        self._start_refresh(tenant)
        return held

    def _is_expired(self, held: HeldType) -> bool:
        return held.refused or self._clock.now() >= held.known_at + held.known.seconds_left

    def _start_refresh(self, tenant: str) -> None:
        """Refresh a stale value on another thread, unless one does already."""
        if tenant in self._refreshing:
            return
        self._refreshing.add(tenant)  # if two threads get here at once, the store lets one of them refresh
        work, name = partial(self._refresh_in_background, tenant), f"{self._what} refresh"
        try:
            background.start(work, name, delays_exit=self._is_single_use(tenant))
        except NoThreadError:
            self._refreshing.discard(tenant)  # the next call tries again

    def _refresh_in_background(self, tenant: str) -> None:
        try:
            entries: list[Entry] = []
            with TenantScope(tenant):
                self._refresh(tenant, WantToken(refresh="stale"), entries)
            for entry in entries:
                if type(entry) is StateChange and entry.after == NOT_REFRESHED:
                    shown = entry if self._what == "secret" else entry._replace(what=without_paths(entry.what))
                    self._say("%s; the %s that there is will be used until it expires", shown, self._what, entry.reason)
        except PolvoError as error:
            self.say_failure(error)
        finally:
            self._refreshing.discard(tenant)

    def say_failure(self, error: PolvoError) -> None:
        """Say in the log that the value was not refreshed ahead of time."""
        self._say("a %s was not refreshed in time: %s", self._what, error, error.reason or type(error).__name__)

    def _say(self, text: str, first: object, second: object, reason: str) -> None:
        log, event = _LOGS[self._what], f"{self._what}_refresh"
        say(log, logging.WARNING, event, text, first, second, what=self._what, reason=reason)

    def after_fork_in_child(self) -> None:
        """Forget the refreshes in progress: their threads are the parent's."""
        self._refreshing.clear()
