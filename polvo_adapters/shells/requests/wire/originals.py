"""Whether a function is still the one of its library, or was replaced by a patch, a mock or a subclass.

By the file that its code comes from, and not by identity: whoever patched it may have done so before this package was
imported.
"""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

_GEVENT = "gevent"


def is_original(function: Any, module: ModuleType, name: str) -> bool:
    """Return whether a function, or the function of a method, is that of a name in a module."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and code.co_name == name and code.co_filename == module.__file__


def resolves_by_system() -> bool:
    """Return whether names are resolved by the standard library, or by gevent in its place, and by nobody else."""
    function = socket.getaddrinfo
    module: str = getattr(function, "__module__", None) or ""
    return is_original(function, socket, "getaddrinfo") or module.partition(".")[0] == _GEVENT
