"""What the commands show: lines, tables, spinners and the timeline of a call.

Theory of operation. Everything shown is a rich `Text` or a table of them: no markup is parsed, and whatever came
from a server goes through `escape_controls` first, so that it can neither style nor steer the terminal. Colours, bars
and spinners are left to rich, which drops them where the output is no terminal or NO_COLOR is set.

The timeline is drawn to scale: an attempt or a wait starts where the one before it ended.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from polvo_adapters.core.report import Attempt, BodyBreak, Entry, StateChange, StoreFailure, Wait

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_BAR_CELLS = 26
_SPINNER_TEXT = 60
# Control codes, and the marks that reverse the reading direction.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Screen(Console):
    """A console that shows text as it is: no markup, no emoji names, no guessing at what to highlight."""

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a body may hold characters that the terminal cannot show
        super().__init__(file=stream, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Let the caller decide what a closed pipe means, instead of exiting here."""
        raise BrokenPipeError

    @property
    def supports_unicode(self) -> bool:
        """Whether bars can be drawn with more than ASCII."""
        return self.encoding.lower().startswith("utf")

    def say(self, text: str, style: str = "") -> None:
        """Print text without wrapping it: copied or piped lines hold only the line breaks of the text itself."""
        self.print(Text(escape_controls(text), style=style), soft_wrap=True)


def open_screens() -> tuple[Screen, Screen]:
    """Return the consoles for stdout and for stderr."""
    return Screen(sys.stdout), Screen(sys.stderr)


def make_progress(screen: Screen, *columns: ProgressColumn) -> Progress:
    """Return a context manager that shows progress while it is open, on a terminal only."""
    from rich.progress import Progress

    return Progress(*columns, console=screen, transient=True, disable=not screen.is_interactive)


def make_spinner(
    screen: Screen, text: str, time: ProgressColumn | None = None, seconds: float | None = None
) -> Progress:
    """Return a context manager that shows a spinner, on a terminal only.

    Args:
        screen: The console.
        text: The work under way.
        time: What to show of the time; by default the seconds that have passed.
        seconds: How long the work may take, for `time`.
    """
    from rich.progress import SpinnerColumn, TextColumn

    description = TextColumn("{task.description}", markup=False)
    time = TextColumn("{task.elapsed:.0f} s", style="dim") if time is None else time
    progress = make_progress(screen, SpinnerColumn(), description, time)
    # Where a line is too long for the terminal, rich leaves out the spinner.
    progress.add_task(escape_controls(text)[:_SPINNER_TEXT], total=seconds)
    return progress


def make_table(columns: Mapping[str, Sequence[str]], right: Collection[str]) -> Table:
    """Return a table without the columns that are empty.

    Args:
        columns: The cells by title, equally many for each.
        right: Titles of the columns of numbers, which are aligned to the right.
    """
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in shown:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*(Text(escape_controls(cell)) for cell in row))
    return table


def escape_controls(text: str) -> str:
    """Return text in which control codes are spelled out, except line breaks and tabs."""
    return _UNSEEN.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def format_seconds(value: float) -> str:
    """Return a duration as text, such as "0.213 s"."""
    return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"


def status_style(status: int) -> str:
    """Return the colour of a status, by its class."""
    styles = {1: "cyan", 2: "green", 3: "cyan", 4: "yellow"}
    return f"bold {styles.get(status // 100, 'red')}"


def format_status(status: int, reason: str | None = None) -> Text:
    """Return a status and its phrase, coloured by class."""
    phrase = reason or _PHRASES.get(status, "")
    return Text(escape_controls(f"{status} {phrase}".rstrip()), style=status_style(status))


def draw_timeline(entries: Sequence[Entry], screen: Screen) -> Table:
    """Return a table of attempts and waits: number, event, a bar to scale, and seconds.

    Args:
        entries: Attempts, waits and changes of state, in order.
        screen: The console that will show it.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", min_width=3)
    table.add_column(min_width=24)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    whole = sum(entry.seconds for entry in entries)
    number, at = 0, 0.0
    for entry in entries:
        number += isinstance(entry, Attempt)
        bar = _draw_bar(entry, at, whole, screen.supports_unicode)
        label = str(number) if isinstance(entry, Attempt) else ""
        table.add_row(label, _describe_entry(entry), bar, format_seconds(entry.seconds))
        at += entry.seconds
    return table


def _describe_entry(entry: Entry) -> Text:
    if isinstance(entry, Wait):
        return Text(f"wait: {entry.reason}", style="dim")
    if isinstance(entry, StateChange):
        return Text(f"{entry.what}: {entry.after}", style="yellow")
    if isinstance(entry, BodyBreak):
        return Text(str(entry), style="yellow")
    if isinstance(entry, StoreFailure):
        return Text(str(entry), style="bold red")
    return Text(entry.failure, style="bold red") if entry.failure else format_status(entry.status)


def _draw_bar(entry: Entry, at: float, whole: float, unicode: bool) -> Text:
    scale = _BAR_CELLS / whole if whole else 0.0
    first = min(round(at * scale), _BAR_CELLS - 1)
    last = max(first + 1, min(round((at + entry.seconds) * scale), _BAR_CELLS))
    attempted = isinstance(entry, Attempt)
    cell = ("█" if unicode else "#") if attempted else ("░" if unicode else ".")
    style = status_style(entry.status) if isinstance(entry, Attempt) else "dim"
    return Text(" " * first + cell * (last - first) + " " * (_BAR_CELLS - last), style=style)
