"""The storage of one tenant's tokens, and its behaviour when the store fails.

    failure                                       behaviour
    --------------------------------------------  --------------------------------------------------------------------
    the store raises                              memory decides until the next refresh, which tries the store again
    it holds tokens of another key                they are left as they are, for those who have the key; tokens live in
                                                  memory
    its content is damaged                        the file is set aside, or the record cleared; the store starts empty
    again, in the same process                    tokens live in memory
    no key file can be made (full disk)           tokens live in memory
    a setting is wrong (ConfigurationError)       it is raised

Each is logged, and listeners are notified. The first event for a store that works again brings what memory knows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError, NoEncryption, NoKeyFile, OtherKeyError, Sealer
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.refresh.lifecycle import ClearToken, Lifecycle, LookAtToken
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

_log = logger("stores")
_OTHER_KEY = (
    "the token store holds tokens of another key, and is left as it is; tokens live in the memory of this process. "
    "Give it the former encryption_key, or encryption_key=[new, former] to change keys; to do without the former "
    "tokens, delete them"
)


class TokenStorage:
    """The store of a tenant's tokens, and the sealer of its records.

    Args:
        store: The store, or None for the memory of this process.
        make_sealer: Returns the sealer when it is first needed; that may create a key file.
        clock: Source of time, for the store in memory.
        listeners: Functions that are called with each StateChange.
    """

    def __init__(
        self,
        store: Store | None,
        make_sealer: Callable[[], Sealer | NoEncryption],
        clock: Clock,
        listeners: Sequence[Callable[[StateChange], object]],
    ) -> None:
        self.store: Store = MemoryStore(now=clock.now) if store is None else store
        self.memory = MemoryStore(now=clock.now)
        self._make_sealer = make_sealer
        self._sealer: Sealer | NoEncryption | None = None
        self._listeners = listeners
        self._failed = False
        self._discarded: set[str] = set()
        self._discarding = threading.Lock()
        forks.register(self)

    def seal(self, key: str, token: Token) -> str:
        """Return the text of a token for the store."""
        return self.load_sealer().seal(key, token.to_json())

    def unseal(self, key: str, sealed: str) -> Token:
        """Return the token of a text that `seal` has made.

        Raises:
            DecryptionError: The text was sealed with another key, or for another record, or is no token.
        """
        try:
            return Token.from_json(self.load_sealer().unseal(key, sealed))
        except DecryptionError:
            raise
        except ValueError:
            raise DecryptionError("what was sealed is no token") from None

    def load_sealer(self) -> Sealer | NoEncryption:
        """Return the sealer. Load it before a refresh: a token that cannot be sealed would be lost.

        Raises:
            ConfigurationError: There is no key.
        """
        if self._sealer is None:
            try:
                self._sealer = self._make_sealer()
            except NoKeyFile as error:  # where no key can be stored, no token can be stored either
                self._sealer, self.store = NoEncryption(), self.memory
                self._report_change("the store", "memory", str(error))
        return self._sealer

    def with_fallback(self) -> FallbackStore:
        """Return the store for one flow: once it has failed, memory decides to the end of the flow."""
        return FallbackStore(self)

    def discard_undecryptable(self, life: Lifecycle, key: str, sealed: str) -> None:
        """Discard what the store holds, because it cannot be unsealed.

        Args:
            life: The machine of the token.
            key: Key of the token in the store.
            sealed: Text that cannot be unsealed; one of the threads that find it discards it, the others wait.
        """
        with self._discarding:
            if sealed in self._discarded:
                return
            is_repeated = bool(self._discarded)
            self._discarded.add(sealed)
            if is_repeated or self._is_of_another_key(key, sealed):
                self.store = self.memory
                reason = "damaged tokens were found again" if is_repeated else _OTHER_KEY
                self._report_change("the store", "memory", reason)
                return
            try:
                self._discard(life, key, sealed)
            except ConfigurationError:
                raise
            except Exception as error:  # noqa: BLE001 - a store of the user's may raise anything
                self.mark_failed(error)

    def _is_of_another_key(self, key: str, sealed: str) -> bool:
        try:
            self.unseal(key, sealed)
        except OtherKeyError:
            return True
        except DecryptionError:
            pass
        return False

    def _discard(self, life: Lifecycle, key: str, sealed: str) -> None:
        set_aside = getattr(self.store, "set_aside", None)
        if set_aside is None:
            (change,) = self.store.decide((Event(life, key, ClearToken(sealed)),))
            if change is not None:
                self._report_change("the store", "cleared", "the token could not be decrypted with this key")
            return
        for _ in range(100):
            (state,) = self.store.decide((Event(life, key, LookAtToken()),))
            # Again if the state has changed: another process discarded the token, or got the right to refresh it.
            if state.token != sealed or set_aside("what it holds cannot be decrypted with this key", key, state):
                return

    def after_fork_in_child(self) -> None:
        """Replace the lock: a thread of the parent may have held it."""
        self._discarding = threading.Lock()

    def mark_working(self) -> None:
        """Remember that the store has decided."""
        if self._failed:
            self._failed = False
            self._report_change("memory", "the store", "it can be used again")

    def mark_failed(self, error: Exception) -> None:
        """Remember that the store has failed."""
        if not self._failed:
            self._failed = True
            # The text of an unknown exception may contain the credentials of the store.
            reason = str(error) if isinstance(error, PolvoError) else type(error).__name__
            self._report_change("the store", "memory", reason)

    def _report_change(self, before: str, after: str, reason: str) -> None:
        """Log a change of the place of tokens, and notify listeners."""
        change = StateChange("token storage", before, after, reason)
        say(_log, logging.WARNING, "store", "%s", change, **change._asdict())
        notify(self._listeners, change)


class FallbackStore:
    """A store that is replaced by memory when it fails; see `TokenStorage.with_fallback`."""

    def __init__(self, storage: TokenStorage) -> None:
        self._storage = storage
        self._store = storage.store
        self._has_decided = False
        self.defer = self._store.defer
        self.park = self._store.park
        self.unpark = self._store.unpark

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines; see `Store.decide`."""
        storage = self._storage
        if self._store is storage.memory:
            return self._store.decide(events)
        try:
            verdicts = self._store.decide(events)
        except Exception as error:
            if isinstance(error, ConfigurationError) and not self._has_decided:
                raise  # before the server was asked; what it has sent is not lost for a setting
            storage.mark_failed(error)
            self._store = storage.memory
            return self._store.decide(events)
        storage.mark_working()
        self._has_decided = True
        return verdicts
