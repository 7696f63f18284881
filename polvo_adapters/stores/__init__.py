"""Where state lives that outlives a call.

`MemoryStore` keeps it in this process. A store is shared by giving the same one to several adapters.
"""

from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

__all__ = ["MemoryStore", "Store"]
