"""Notification of listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from polvo_adapters.runtime.logs import logger, say

_log = logger("listeners")


class News(Protocol):
    """What listeners are called with, such as a StateChange or a Retrying."""

    @property
    def what(self) -> str:
        """Name of what the news is about."""


NewsType = TypeVar("NewsType", bound=News)


def notify(listeners: Iterable[Callable[[NewsType], object]], news: NewsType) -> None:
    """Call listeners with news, and log their exceptions: they must not break the call that is the cause."""
    for listener in listeners:
        try:
            listener(news)
        except Exception:  # noqa: BLE001, PERF203 - listeners may raise anything
            what = news.what
            say(_log, logging.ERROR, "listener_failed", "a listener of %s failed", what, what=what, exc_info=True)
