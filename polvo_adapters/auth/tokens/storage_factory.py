"""The storage of tokens that the user has chosen: a path, a store, or memory.

token_cache=               store of a tenant                      key for its encryption, unless one is given
-------------------------  -------------------------------------  -------------------------------------------
None                       the memory of the auth object          none: it does not leave the process
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
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from polvo_adapters.auth.tokens.sealing import NoEncryption, Sealer, make_sealer
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.core.setting_kinds import describe_class
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.shells.urls import TENANT_SLOT
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.auth.options import EncryptionKey
    from polvo_adapters.core.report import StateChange
    from polvo_adapters.stores.base import Store

_LONGEST = 160  # characters; file systems allow 255, and endings are added


class TokenStorageFactory:
    """The maker of the TokenStorage of each tenant.

    Args:
        token_cache: A path, a store, or None; see the table above.
        encrypted: Whether tokens are encrypted outside of this process.
        encryption_key: The key, or its source; see `polvo_adapters.auth.tokens.sealing`.
        clock: Source of time.
        listeners: Functions that are called with each StateChange.

    Raises:
        ConfigurationError: It is neither a path nor a store.
    """

    def __init__(
        self,
        token_cache: str | os.PathLike[str] | Store | None,
        encrypted: bool,
        encryption_key: EncryptionKey | Callable[[], EncryptionKey] | None,
        clock: Clock,
        listeners: Sequence[Callable[[StateChange], object]],
    ) -> None:
        self._cache: Any = os.fspath(token_cache) if isinstance(token_cache, os.PathLike) else token_cache
        if not (token_cache is None or isinstance(self._cache, str) or hasattr(token_cache, "decide")):
            found = describe_class(token_cache)
            raise ConfigurationError(
                f"token_cache={found}: token_cache must be a path, or a store such as SQLiteStore(path)"
            )
        if isinstance(self._cache, str) and TENANT_SLOT not in self._cache:
            _check_path(self._cache)
        self._encrypted = encrypted
        self._encryption_key = encryption_key
        self._clock = clock
        self._listeners = listeners

    @property
    def is_shared(self) -> bool:
        """Whether other objects and processes may use the same store."""
        return self._cache is not None

    def make_storage(self, tenant: str) -> TokenStorage:
        """Return the storage of a tenant's token.

        Raises:
            ConfigurationError: The path has a place for a tenant, and no tenant is set.
        """
        store = self._store(tenant)
        return TokenStorage(store, lambda: self._make_sealer(store), self._clock, self._listeners)

    def _store(self, tenant: str) -> Store | None:
        store: Any = self._cache
        if isinstance(store, str):
            from polvo_adapters.stores.token_cache import TokenCache

            if TENANT_SLOT in store and not tenant:
                raise ConfigurationError(f"token_cache={store!r}: no tenant is set, so that there is no such file")
            store = TokenCache(store.replace(TENANT_SLOT, _make_file_name(tenant)))
        present: list[object] | None = getattr(store, "listeners", None)
        if isinstance(present, list):
            present.extend(listener for listener in self._listeners if listener not in present)
        return cast("Store | None", store)

    def _make_sealer(self, store: Store | None) -> Sealer | NoEncryption:
        if not self._encrypted or store is None or isinstance(store, MemoryStore):
            return NoEncryption()
        checked = getattr(store, "check_files", True)
        sealer = make_sealer(self._encryption_key, getattr(store, "path", None), checked)
        for change in sealer.changes:
            notify(self._listeners, change)
        return sealer

    def __getstate__(self) -> dict[str, Any]:
        key = self._encryption_key
        return {**vars(self), "_encryption_key": key if callable(key) or key == "keyring" else None}


def _check_path(path: str) -> None:
    """Raise ConfigurationError now for a path that no token can be kept at."""
    if not path or "\0" in path or "://" in path:  # which is not shown, as a URL may have a password
        raise ConfigurationError(
            "token_cache must be the path of a file, such as 'tokens.json', and not a URL or nothing"
        )
    place = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(place):
        raise ConfigurationError(f"token_cache={path!r}: it is a directory; name a file in it, such as tokens.json")
    above = os.path.dirname(place)
    while not os.path.lexists(above):  # what is missing is made with the first token
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise ConfigurationError(f"token_cache={path!r}: {above} is no directory; name a file in another one")


def _make_file_name(tenant: str) -> str:
    """Return a part of a file name that is unique to the tenant, and cannot lead to another directory."""
    name = quote(tenant, safe="").replace(".", "%2E")
    if len(name) <= _LONGEST:
        return name
    digest = sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: _LONGEST - 65]}+{digest}"  # quoted names contain no plus sign
