"""Helpers for testing code that talks HTTP, shipped with the library.

`FailureServer` is a small web server on loopback that fails on request and keeps count of the work it did, so
that a test can tell whether a retry was safe.

The server is imported at first use: that keeps this package light, and lets
`python -m polvo_adapters.testing.server` run its module only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polvo_adapters.testing.server import FailureServer

__all__ = ["FailureServer"]


def __getattr__(name: str) -> Any:
    if name == "FailureServer":
        from polvo_adapters.testing.server import FailureServer

        return FailureServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "FailureServer"])
