"""`polvo download URL`: a file, whole or not at all, with a bar of its progress.

The bar is on stderr, and only where that is a terminal. At the end one line says where the file is; where the body
broke off, the timeline says how it went on. What has come of a download that fails is kept beside the target, so that
the same command goes on from there.
"""

from __future__ import annotations

import argparse

import requests
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from polvo_adapters.cli import render
from polvo_adapters.cli.request import CallOutcome, find_report, join_headers, make_panel
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError, StatusError
from polvo_adapters.shells.downloads import Download, choose_target
from polvo_adapters.shells.requests.download import download
from polvo_adapters.shells.requests.session import Session

_FAILED, _NO_RESPONSE = 1, 3


def run(options: argparse.Namespace) -> int:
    """Download a file, and show how that goes and ends.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 for a file, 1 for an error status, or a file that cannot be written, 3 for no response.
    """
    out, err = render.open_screens()
    try:
        choose_target(options.output, options.url)
        done = _download(options, err)
    except requests.RequestException as error:
        is_told = isinstance(error, (StatusError, ConfigurationError))
        if is_told:
            err.say(str(error), "bold red")
        else:
            err.print(make_panel(CallOutcome(None, error, find_report(error)), "GET", err))
        for note in getattr(error, "__notes__", ()):
            err.say(note.removeprefix("polvo: "), "dim")
        return _FAILED if is_told else _NO_RESPONSE
    except OSError as error:
        err.say(f"{options.output}: {error.strerror or error}", "bold red")
        return _FAILED
    report = find_report(done.response)
    if report is not None and report.breaks:
        err.print(render.draw_timeline(report.entries, err))
    before = f", {done.continued_from:,} of them from an earlier run" if done.continued_from else ""
    out.say(f"{done.path}: {done.size:,} bytes{before}")
    return 0


def _download(options: argparse.Namespace, screen: render.Screen) -> Download:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with (
        render.make_progress(screen, *columns) as progress,
        Session(
            retry={"max_attempts": options.attempts}, timeout=options.timeout, deadline=options.deadline
        ) as session,
    ):
        task = progress.add_task(origin(options.url), total=None)

        def show(size: int, total: int | None) -> None:
            progress.update(task, completed=size, total=total)

        return download(
            session.get,
            options.url,
            options.output,
            on_change=options.on_change,
            progress=show,
            headers=join_headers(options.headers),
        )
