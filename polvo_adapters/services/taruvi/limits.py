"""How long calls and logins may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from polvo_adapters.context.call import LogicalCall, call_settings, current_call, separate_call
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.services.taruvi.operations import Call
from polvo_adapters.services.taruvi.settings import ClientSettings

_SHORTEST_TIME = 0.001  # seconds


class Limits:
    """How long calls may take: what the caller says counts, by `polvo_adapters.call` or the keyword `deadline`.

    Files have no deadline by default, because a large one may take any time; each attempt still ends where nothing
    comes for the time of its timeout.

    Args:
        settings: The settings of the client.
        options: Keywords of its session.
    """

    def __init__(self, settings: ClientSettings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._is_named = "deadline" in options
        self._named: Any = options.get("deadline")

    def bound(self, call: Call, left: float | None) -> dict[str, Any]:
        """Return the keywords for the limits of a call.

        Args:
            call: The call.
            left: Seconds that are left for the operations that it is one of, or None.
        """
        keywords: dict[str, Any] = {} if call.timeout is None else {"timeout": call.timeout}
        said = call_settings.get()
        if left is not None:
            keywords["deadline"] = max(_SHORTEST_TIME, left)
        elif not self._is_named and (said is None or "deadline" not in said.said):
            keywords["deadline"] = None if call.is_file else self._settings.longest(call.timeout)
        return keywords

    def together(self) -> float | None:
        """Return the seconds for several operations at the same time, or None for no limit."""
        seconds = getattr(self._named, "seconds", self._named) if self._is_named else self._settings.longest(None)
        said = call_settings.get()
        return seconds if said is None else said.seconds(seconds)


@contextmanager
def bound_login() -> Iterator[None]:
    """Let a login within a `with` block keep the deadline that is said by `polvo_adapters.call`."""
    said, outer = call_settings.get(), current_call()
    seconds = None if said is None else said.seconds(None)
    if seconds is None:
        yield
        return
    now = SYSTEM.now()
    ends = [now + seconds] + [each.deadline for each in (outer,) if each is not None and each.deadline is not None]
    with separate_call(LogicalCall(None, now, min(ends))):
        yield
