"""Stores of the state that outlives a call.

    MemoryStore     the memory of this process
    SQLiteStore     a file, for all processes of this machine that name the same one

Adapters that are given the same store share its state.
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
