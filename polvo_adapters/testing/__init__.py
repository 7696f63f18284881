"""Helpers for testing code that talks HTTP, shipped with the library.

`FailureServer` is a small web server on loopback that fails on request and counts the work it did, so that a test
sees whether a retry was safe. `VirtualClock` is a clock that no test has to wait for.

Each name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from polvo_adapters.testing.server.failure_server import FailureServer
    from polvo_adapters.testing.virtual_clock import VirtualClock

__all__ = ["FailureServer", "VirtualClock"]

_HOMES = {
    "FailureServer": "polvo_adapters.testing.server.failure_server",
    "VirtualClock": "polvo_adapters.testing.virtual_clock",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
