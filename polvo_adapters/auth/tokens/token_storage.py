"""Where the tokens of one tenant live, and what is done when that fails.

    what                                          what is done
    --------------------------------------------  --------------------------------------------------------------------
    the store raises                              memory decides until the next refresh, which tries the store again
    what it holds cannot be unsealed, once        the file is set aside, or the record cleared; tokens are begun anew
    again, in the same process                    tokens live in memory: somebody else uses another key
    no key file can be made (full disk)           tokens live in memory
    a setting is wrong (ConfigurationError)       it is raised

Each is logged and told to the listeners. What memory knows goes to the store with the first question after it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError, NoEncryption, NoKeyFile, Sealer
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.refresh.lifecycle import ClearToken, Lifecycle, LookAtToken
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

_log = logging.getLogger("polvo_adapters")

Listener = Callable[[StateChange], object]


class TokenStorage:
    """The store of a tenant's tokens, and the key that they are sealed with.

    Args:
        store: The store, or None for the memory of this process.
        sealer: Makes the sealer when it is first needed: that may create a key file.
        clock: Time, for the store in memory.
        listeners: Called with each Change.
    """

    def __init__(
        self,
        store: Store | None,
        sealer: Callable[[], Sealer | NoEncryption],
        clock: Clock,
        listeners: Sequence[Listener],
    ) -> None:
        self.store: Store = MemoryStore(now=clock.now) if store is None else store
        self.spare = MemoryStore(now=clock.now)
        self._make_sealer = sealer
        self._sealer: Sealer | NoEncryption | None = None
        self._listeners = listeners
        self._failed = False
        self._given_up: set[str] = set()
        self._giving_up = threading.Lock()

    def seal(self, key: str, token: Token) -> str:
        """Return the text of a token as the store may keep it."""
        return self._key().seal(key, token.to_json())

    def unseal(self, key: str, sealed: str) -> Token:
        """Return the token of a text that `seal` has made.

        Raises:
            Unsealable: It was sealed with another key, or for another owner, or is no token.
        """
        try:
            return Token.from_json(self._key().unseal(key, sealed))
        except DecryptionError:
            raise
        except ValueError:
            raise DecryptionError("what was sealed is no token") from None

    def _key(self) -> Sealer | NoEncryption:
        if self._sealer is None:
            try:
                self._sealer = self._make_sealer()
            except NoKeyFile as error:  # where no key can be kept, no token can
                self._sealer, self.store = NoEncryption(), self.spare
                self.tell("the store", "memory", str(error))
        return self._sealer

    def resort(self) -> FallbackStore:
        """Return the store for one flow: once it has failed, memory decides to the end."""
        return FallbackStore(self)

    def prepare(self) -> None:
        """Get the key now: a token that was obtained and cannot be sealed would be lost.

        Raises:
            ConfigurationError: There is none.
        """
        self._key()

    def give_up(self, life: Lifecycle, key: str, sealed: str) -> None:
        """Begin anew, because what the store holds cannot be unsealed.

        Args:
            life: The machine.
            key: Key in the store.
            sealed: What cannot be unsealed; of the threads that find out, one begins anew, and the others wait for it.
        """
        with self._giving_up:
            if sealed in self._given_up:
                return
            again = bool(self._given_up)
            self._given_up.add(sealed)
            if again:
                self.store = self.spare
                self.tell("the store", "memory", "tokens of another key were found again; this process keeps its own")
                return
            try:
                self._begin_anew(life, key, sealed)
            except ConfigurationError:
                raise
            except Exception as error:  # noqa: BLE001 - a store that somebody else wrote may raise anything
                self.fails(error)

    def _begin_anew(self, life: Lifecycle, key: str, sealed: str) -> None:
        set_aside = getattr(self.store, "set_aside", None)
        if set_aside is None:
            (change,) = self.store.decide((Event(life, key, ClearToken(sealed)),))
            if change is not None:
                self.tell("the store", "cleared", "the token could not be decrypted with this key")
            return
        for _ in range(100):
            (state,) = self.store.decide((Event(life, key, LookAtToken()),))
            # Another process may have been faster. Or a right to refresh was granted meanwhile, which moves the state.
            if state.token != sealed or set_aside("what it holds cannot be decrypted with this key", key, state):
                return

    def after_fork(self) -> None:
        """Have a lock of its own in the child: a thread of the parent may have held the old one."""
        self._giving_up = threading.Lock()

    def works(self) -> None:
        """Take note that the store has decided."""
        if self._failed:
            self._failed = False
            self.tell("memory", "the store", "it can be used again")

    def fails(self, error: Exception) -> None:
        """Take note that it has not."""
        if not self._failed:
            self._failed = True
            # The text of an unknown exception may hold the credentials of the store.
            self.tell("the store", "memory", str(error) if isinstance(error, PolvoError) else type(error).__name__)

    def tell(self, before: str, after: str, reason: str) -> None:
        """Tell of a change in where tokens live."""
        change = StateChange("token storage", before, after, reason)
        _log.warning("%s", change)
        notify(self._listeners, change)


class FallbackStore:
    """A store that is memory from when the real one fails on; see `Storage.resort`."""

    def __init__(self, storage: TokenStorage) -> None:
        self._storage = storage
        self._store = storage.store
        self.defer = self._store.defer
        self.park = self._store.park
        self.unpark = self._store.unpark

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines; see `Store.decide`."""
        storage = self._storage
        if self._store is storage.spare:
            return self._store.decide(events)
        try:
            verdicts = self._store.decide(events)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - a store that somebody else wrote may raise anything
            storage.fails(error)
            self._store = storage.spare
            return self._store.decide(events)
        storage.works()
        return verdicts
