"""What the library has logged, with the time of the world in which it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from polvo_adapters.runtime.logs import FIELDS, ROOT


class LogLine(NamedTuple):
    """A record, as far as worlds must agree on it."""

    at: float
    part: str
    level: str
    text: str
    fields: dict[str, Any]

    @property
    def kind(self) -> tuple[str, str, str]:
        return self.part, self.level, self.fields["event"]


class Lines(logging.Handler):
    """A handler that keeps what it is given.

    Attributes:
        records: The records.
        lines: The same, for comparison.
        times: When each was, not rounded.
        now: The time of the world, to be set by who knows it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[LogLine] = []
        self.times: list[float] = []
        self.now: Callable[[], float] = lambda: 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.times.append(self.now())
        fields = {name.removeprefix("polvo_"): getattr(record, name) for name in FIELDS}
        fields = {name: round(value, 6) if isinstance(value, float) else value for name, value in fields.items()}
        part = record.name.removeprefix(ROOT).removeprefix(".")
        self.lines.append(LogLine(round(self.now(), 6), part, record.levelname, record.getMessage(), fields))


@contextmanager
def log_lines(level: int = logging.DEBUG) -> Iterator[Lines]:
    """Keep all that the library logs meanwhile."""
    log, lines = logging.getLogger(ROOT), Lines()
    before, propagates = log.level, log.propagate
    log.addHandler(lines)
    log.setLevel(level)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(lines)
        log.setLevel(before)
        log.propagate = propagates
