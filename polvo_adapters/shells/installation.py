"""What is installed in a session of `requests` or in a client of httpx: the policies, and where they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class BaseInstallation:
    """What is installed at a prefix, and below it.

    Args:
        prefix: Where adapters or transports are wrapped; "" for everywhere.
        kind: The class of the wrapping ones.
        policies: The policies of each, outermost first.
        keywords: The keywords of each.
    """

    def __init__(self, prefix: str, kind: Callable[..., Any], policies: tuple[Any, ...], keywords: dict[str, Any]):
        self.prefix = prefix
        self._kind = kind
        self._policies = policies
        self._keywords = keywords

    def covers(self, prefix: str) -> bool:
        """Return whether what is mounted, or installed, at a prefix is within this one."""
        return prefix.lower().startswith(self.prefix.lower())

    def wrap(self, inner: Any) -> Any:
        """Return an adapter or transport that sends through the given one as the policies say."""
        wrapper = self._kind(*self._policies, inner=inner, **self._keywords)
        wrapper.installed = self
        return wrapper


def describe(value: object) -> str:
    """Return what a value is that nothing can be installed in, for messages."""
    return f"the class {value.__name__}; make a session of it" if isinstance(value, type) else type(value).__name__
