"""`polvo demo`: the same calls to a failing server by three clients, side by side.

Theory of operation. `demo_plan` lists the calls, `demo_trial` makes them and counts, and this module shows: live bars
while stderr is a terminal, then the totals, the results of each kind of call, and notes. Nothing leaves the machine:
the server listens on loopback, in this process.
"""

from __future__ import annotations

import argparse
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from polvo_adapters.cli import demo_trial, render
from polvo_adapters.cli.demo_plan import PlannedCall, make_plan
from polvo_adapters.cli.demo_trial import Ending, Figures, Limits, TrialClient, TrialResult
from polvo_adapters.testing.server.failure_server import FailureServer

_YOUR_CODE = """\
  adapter = polvo.ResilientAdapter(deadline=10)
  session.mount("https://api.example.com/", adapter)  # or
  polvo.install(session, deadline=10)  # on all URLs, or
  import polvo_adapters.requests as requests
"""
_UNBOUNDED = 1000
_LONGEST_NAME = 16
"""Characters of a name of an exception that a table of 80 columns has room for."""


def run(options: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        options: The command line.

    Returns:
        The exit code: 0, or 2 where the port is not available.
    """
    out, err = render.open_screens()
    plan, limits = make_plan(options.calls, options.seed), Limits()
    server = FailureServer(port=options.port)
    try:
        server.start()
    except OSError as error:
        err.say(f"port {options.port} is not available: {error.strerror or error}")
        return 2
    try:
        figures = _run_with_bars(plan, server, limits, err)
    finally:
        server.stop()
    show(figures, limits, out)
    return 0


def _run_with_bars(
    plan: Sequence[PlannedCall], server: FailureServer, limits: Limits, screen: render.Screen
) -> list[Figures]:
    """Run the trial with a live bar for each client, on a terminal only."""
    progress = render.make_progress(
        screen,
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed", style="yellow"),
        TimeElapsedColumn(),
    )
    tasks = {client.name: progress.add_task(client.name, total=len(plan), failed=0) for client in demo_trial.CLIENTS}
    failed: Counter[str] = Counter()
    lock = threading.Lock()

    def show_progress(client: TrialClient, ending: Ending) -> None:
        with lock:
            failed[client.name] += ending != "success"
            progress.update(tasks[client.name], advance=1, failed=failed[client.name])

    with progress:
        return demo_trial.run_all(plan, server, limits, show_progress)


def show(figures: Sequence[Figures], limits: Limits, screen: render.Screen) -> None:
    """Show the figures of a trial.

    Args:
        figures: One per client, all about the same plan.
        limits: The times of the trial.
        screen: The console.
    """
    calls = len(figures[0].results)
    counted = "1 call" if calls == 1 else f"{calls} calls"
    screen.print(Text(f"{counted} to a failing server on this machine, by {len(figures)} clients", style="bold"))
    for part in (_totals(figures, screen), _by_scenario(figures, screen), _footnotes(limits)):
        screen.print()
        screen.print(part)
    screen.print()
    screen.print(Text("In your own code, after `import polvo_adapters as polvo`:", style="bold"))
    screen.print(Text(_YOUR_CODE), soft_wrap=True, end="")


def _table(*first: str, figures: Sequence[Figures], between: str = " ") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for title in first:
        table.add_column(title, no_wrap=True)
    for each in figures:
        table.add_column(each.client.replace(" ", between))
    return table


def _by_scenario(figures: Sequence[Figures], screen: render.Screen) -> Table:
    """Return the results of each kind of call, in a form in which no word is broken."""
    for longest in (None, _LONGEST_NAME):
        table = _make_wide_table(figures, longest)
        if _find_width(table, screen) <= screen.width:
            return table
    return _make_narrow_table(figures)


def _find_width(table: Table, screen: render.Screen) -> int:
    """Return how many characters wide a table is where nothing is wrapped."""
    return screen.measure(table, options=screen.options.update(width=_UNBOUNDED)).maximum


def _make_wide_table(figures: Sequence[Figures], longest: int | None) -> Table:
    table = _table("the trouble", "calls", figures=figures)
    for label, count, results in _group(figures):
        table.add_row(label, str(count), *(_cell(own, longest) for own in results))
    return table


def _make_narrow_table(figures: Sequence[Figures]) -> Table:
    """Return a table in which each client has a line of its own."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("the trouble (calls)")
    table.add_column("what became of it")
    for label, count, results in _group(figures):
        table.add_row(f"{label} ({count})", "")
        for own, client in zip(results, figures, strict=True):
            table.add_row(f"  {client.client}", _cell(own))
    return table


def _group(figures: Sequence[Figures]) -> Iterator[tuple[str, int, list[list[TrialResult]]]]:
    """Yield each kind of call: label, number of calls, and the results of each client."""
    labels = Counter(result.call.scenario.label for result in figures[0].results)
    for label, count in sorted(labels.items()):
        yield label, count, [[each for each in own.results if each.call.scenario.label == label] for own in figures]


def _cell(results: Sequence[TrialResult], longest: int | None = None) -> Text:
    """Return the results of calls of one kind in words, in the colour of the worst."""
    verdicts = Counter(describe_result(result, longest) for result in results)
    words = [text if len(verdicts) == 1 else f"{count} {text}" for text, count in verdicts.items()]
    if any(result.is_duplicated or result.arrived_empty for result in results):
        style = "bold red"
    else:
        style = "green" if all(result.ending == "success" for result in results) else "yellow"
    return Text(", ".join(words), style=style)


def describe_result(result: TrialResult, longest: int | None = None) -> str:
    """Return the end of a call, and its harm, in a few words.

    Args:
        result: The end of the call.
        longest: How many characters the name of an exception may have; a longer one is left out.
    """
    text = "ok" if result.ending == "success" else result.detail
    if longest is not None and len(text) > longest:
        text = "an exception"
    if result.is_duplicated:
        text += f", done {result.times_processed}x"
    if result.arrived_empty:
        text += ", but empty"
    return text


def _totals(figures: Sequence[Figures], screen: render.Screen) -> Table:
    table = _make_totals(figures, " ")
    return table if _find_width(table, screen) <= screen.width else _make_totals(figures, "\n")


def _make_totals(figures: Sequence[Figures], between: str) -> Table:
    """Return the totals; `between` separates the words of a client's name."""
    table = _table(f"of {len(figures[0].results)} calls", figures=figures, between=between)
    rows: list[tuple[str, str, Callable[[Figures], object] | None]] = [
        ("went right", "bold green", lambda each: each.right),
        ("looked right, and did harm", "bold red", lambda each: each.wrong_unnoticed),
        ("ended with an error status", "yellow", lambda each: each.count("error status")),
        ("ended with an exception", "yellow", lambda each: each.count("exception")),
        ("never ended", "bold red", lambda each: each.count("stuck")),
        ("seconds for all of them", "", lambda each: f"{each.seconds:.1f}"),
        ("", "", None),
        ("at the server", "", None),
        ("requests received", "", lambda each: each.requests_received),
        ("POSTs done more than once", "bold red", lambda each: each.duplicates),
        ("uploads taken empty", "bold red", lambda each: each.empty_uploads),
    ]
    for label, style, value in rows:
        cells = [str(value(each)) for each in figures] if value else []
        table.add_row(label, *(Text(cell, style=style if cell != "0" else "dim") for cell in cells))
    return table


def _footnotes(limits: Limits) -> Table:
    pasted = ", ".join(f"{name}={value}" for name, value in demo_trial.PASTED.items())
    table = Table.grid(padding=(0, 1))
    notes = {
        "limits": f"Every client has a timeout of {limits.timeout:g} s for each silence of the server. Those that "
        f"retry send at most {demo_trial.ATTEMPTS} times and wait from {demo_trial.BACKOFF:g} s. ResilientAdapter has "
        f"a deadline of {limits.deadline:g} s too.",
        "Retry": f"urllib3's Retry({pasted}).",
        "right": "The caller got what it asked for, and the server did it once, with the whole body.",
        "POST": "A POST that the server may have processed is not safe to send again: ResilientAdapter raises, or "
        "returns the error status. The pasted Retry sends it again, and it is done twice.",
        "empty": "A generator can be read once. The pasted Retry sends the rest of it, which is empty, and the server "
        "accepts that. ResilientAdapter returns the 503.",
        "stuck": f"Not over after {limits.patience:g} s, and abandoned by the demo. No timeout ends a body that "
        "keeps dripping; a deadline does, with DeadlineExceeded.",
    }
    for name, note in notes.items():
        table.add_row(Text(name, style="bold"), Text(note))
    return table
