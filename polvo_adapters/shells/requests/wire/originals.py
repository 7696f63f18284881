"""Whether a function is still the one of its library, or was replaced by a patch, a mock or a subclass.

By the file that its code comes from, and not by identity: the caller may have patched it before this package was
imported.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def is_original(function: Any, module: ModuleType, name: str) -> bool:
    """Return whether a function, or the function of a method, is that of a name in a module."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and code.co_name == name and code.co_filename == module.__file__
