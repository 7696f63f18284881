"""Where tokens are to live, as the user says: a path, a store, or nowhere but in memory.

token_cache=               store of a tenant                      key for its encryption, unless one is given
-------------------------  -------------------------------------  -------------------------------------------
None                       the memory of the auth object          none: it never leaves the process
a path                     the TokenCache at that path            `<path>.key`
a path with {tenant}       one TokenCache for each tenant         one for each
a store with a path        that store                             `<path>.key`
any other store            that store                             has to be given
a MemoryStore              that store                             none
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from polvo_adapters.auth.tokens.sealing import NoEncryption, Sealer, key_source
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.auth.tokens.sealing import Key
    from polvo_adapters.core.report import StateChange
    from polvo_adapters.stores.base import Store

_MARK = "{tenant}"
_LONGEST = 160  # characters; file systems take 255, and endings come to it


class TokenStorageFactory:
    """Makes the Storage of each tenant.

    Args:
        token_cache: A path, a store, or None; see the table above.
        encrypted: Whether what leaves this process is encrypted.
        encryption_key: The key, or where it comes from; see `polvo_adapters.auth.tokens.sealing`.
        clock: Time.
        listeners: Called with each Change.

    Raises:
        ConfigurationError: It is neither a path nor a store.
    """

    def __init__(
        self,
        token_cache: str | os.PathLike[str] | Store | None,
        encrypted: bool,
        encryption_key: Key | Callable[[], Key] | None,
        clock: Clock,
        listeners: Sequence[Callable[[StateChange], object]],
    ) -> None:
        if token_cache is not None and not isinstance(token_cache, (str, os.PathLike)):
            if not hasattr(token_cache, "decide"):
                raise ConfigurationError(f"token_cache={type(token_cache).__name__}: expected a path or a store")
            self._cache: Any = token_cache
        else:
            self._cache = None if token_cache is None else os.fspath(token_cache)
        self._encrypted = encrypted
        self._encryption_key = encryption_key
        self._clock = clock
        self._listeners = listeners

    @property
    def shared(self) -> bool:
        """Whether others may use the same store."""
        return self._cache is not None

    def storage(self, tenant: str) -> TokenStorage:
        """Return where the token of a tenant lives.

        Raises:
            ConfigurationError: The path has a place for a tenant, and there is none.
        """
        store = self._store(tenant)
        return TokenStorage(store, lambda: self._sealer(store), self._clock, self._listeners)

    def _store(self, tenant: str) -> Store | None:
        if not isinstance(self._cache, str):
            store: Store | None = self._cache
            self._listen(store)
            return store
        from polvo_adapters.stores.token_cache import TokenCache

        path = self._cache
        if _MARK in path:
            if not tenant:
                raise ConfigurationError(f"token_cache={path!r}: no tenant is set, so that there is no such file")
            path = path.replace(_MARK, _file_name(tenant))
        cache = TokenCache(path)
        self._listen(cache)
        return cache

    def _listen(self, store: object) -> None:
        heard: list[object] | None = getattr(store, "listeners", None)
        if isinstance(heard, list):
            heard.extend(listener for listener in self._listeners if listener not in heard)

    def _sealer(self, store: Store | None) -> Sealer | NoEncryption:
        if not self._encrypted or store is None or isinstance(store, MemoryStore):
            return NoEncryption()
        sealer = key_source(self._encryption_key, getattr(store, "path", None))
        for change in sealer.changes:
            notify(self._listeners, change)
        return sealer

    def __getstate__(self) -> dict[str, Any]:
        key = self._encryption_key
        return {**vars(self), "_encryption_key": key if callable(key) or key == "keyring" else None}


def _file_name(tenant: str) -> str:
    """Return a part of a file name that no other tenant has, and that leads out of no directory."""
    name = quote(tenant, safe="").replace(".", "%2E")
    if len(name) <= _LONGEST:
        return name
    digest = sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: _LONGEST - 65]}+{digest}"  # no name has a plus sign otherwise
