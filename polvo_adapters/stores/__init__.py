"""Where state lives that outlives a call.

    MemoryStore     this process
    SQLiteStore     a file, for all processes of this machine that name the same one

A store is shared by giving the same one to several adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.runtime.lazy import lazy_attributes
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore", "Store"]

_HOMES = {
    "SQLiteStore": "polvo_adapters.stores.sqlite",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
