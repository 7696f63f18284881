"""`polvo probe URL`: one request, what quota the answer announces, and what a rate limit would make of it.

Theory of operation. The request goes through an adapter without policies: nothing is repeated, nothing waits, and a
redirect is not followed. What the answer says is read as the rate limit reads it, and told to the machine of
`Adaptive`, whose future `forecast` tries out. What is shown is therefore what the machine does, and not a second
account of it.

What is shown holds no query, no credential and no header.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from polvo_adapters import headers
from polvo_adapters.cli import render
from polvo_adapters.cli.probe_forecast import MOST_AT_ONCE, ROUTE, Forecast, forecast
from polvo_adapters.cli.request import _WHAT_HAPPENED, CallOutcome, _headers, _last_failure, _report
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.headers import CERTAIN, LIKELY, Quota, Throttled
from polvo_adapters.policies.ratelimit.turns import TurnResult
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter

_IN_URLS = re.compile(r"(?<=//)[^/?#\s]*(?=@)|(?<=\?)[^\s'\")]+")  # credentials and queries


class Finding(NamedTuple):
    """What came of a probe.

    Attributes:
        method: What was sent,
        url: and where to, without credentials and query.
        status: Status of the answer.
        reason: Its phrase.
        seconds: How long it took.
        quotas: What it announces.
        refused: How it refuses, or None.
        forecast: What the rate limit would do, or None where it has nothing to go by.
    """

    method: str
    url: str
    status: int
    reason: str
    seconds: float
    quotas: Sequence[Quota]
    refused: Throttled | None
    forecast: Forecast | None

    @property
    def mount(self) -> str:
        """The line that puts the rate limit into code that exists."""
        return f'session.mount("{origin(self.url)}/", polvo.RateLimitAdapter())'


def run(options: argparse.Namespace) -> int:
    """Send the request that the command line asks for, and show what its answer says.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 for an answer, whatever it says, 3 for none.
    """
    out, err = render.screens()
    with render.spinner(err, f"{options.method} {Call(options.method, options.url).host}"):
        answer = send(options)
    if answer.response is None:
        err.print(_failed(answer))
        return 3
    found = read(answer.response)
    if options.json:
        out.print(Text(json.dumps(plain(found), indent=2)), soft_wrap=True)
    else:
        show(found, out)
    return 0


def send(options: argparse.Namespace) -> CallOutcome:
    """Send one request without any policy; what `requests` raises comes back as a value.

    Args:
        options: The command line.
    """
    with requests.Session() as session:
        adapter = PolicyAdapter(timeout=options.timeout)
        for prefix in list(session.adapters):
            session.mount(prefix, adapter)
        try:
            response = session.request(
                options.method, options.url, headers=_headers(options.headers), allow_redirects=False
            )
        except OSError as error:  # RequestException is one, and so is a CA bundle that is not there
            return CallOutcome(None, error, _report(error))
    return CallOutcome(response, None, _report(response))


def read(response: requests.Response) -> Finding:
    """Return what a response says about quotas, and what the rate limit would make of it.

    Args:
        response: The response, with the report of its adapter.
    """
    status, content, now = response.status_code, response.content, time.time()
    quotas = headers.parse(response.headers, status, now) + headers.parse_body(content, status)
    refused = headers.throttled(response.headers, status, content, now)
    report = _report(response)
    seconds = response.elapsed.total_seconds() if report is None else report.elapsed
    return Finding(
        response.request.method or "",
        _without_secrets(response.request.url or ""),
        status,
        response.reason or "",
        seconds,
        quotas,
        refused,
        forecast(TurnResult(ROUTE, "", 0, seconds, status, quotas, refused)),
    )


def _without_secrets(url: str) -> str:
    return origin(url) + (urlsplit(url).path or "/")


# What would come of it.


def plain(found: Finding) -> dict[str, Any]:
    """Return a finding as what JSON can hold, times rounded to milliseconds.

    Args:
        found: The finding.
    """
    parts = {
        **found._asdict(),
        "quotas": [quota._asdict() for quota in found.quotas],
        "refused": None if found.refused is None else found.refused._asdict(),
        "forecast": None if found.forecast is None else found.forecast._asdict(),
        "mount": found.mount,
    }
    rounded: dict[str, Any] = _rounded(parts)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def show(found: Finding, screen: render.Screen) -> None:
    """Show a finding.

    Args:
        found: The finding.
        screen: Where to.
    """
    screen.print(Text(render.visible(f"{found.method} {found.url}"), style="dim"), soft_wrap=True)
    status = render.status_text(found.status, found.reason)
    screen.print(status.append(f" after {render.seconds(found.seconds)}", style="dim"), soft_wrap=True)
    screen.print()
    if found.quotas:
        screen.print(_table(found.quotas))
    else:
        screen.print(Text("no quota announced"))
    screen.print()
    for line in [*_about_answer(found), *about_limiter(found)]:
        screen.print(Text(render.visible(line)), soft_wrap=True)
    screen.print()
    screen.print(Text(found.mount, style="bold"), soft_wrap=True)


def _table(quotas: Sequence[Quota]) -> Table:
    """Return the quotas, without the columns in which there is nothing."""
    columns = {
        "name": [quota.name for quota in quotas],
        "limit": [_number(quota.limit) for quota in quotas],
        "left": [_number(quota.remaining) for quota in quotas],
        "unit": [quota.unit for quota in quotas],
        "window": [_seconds(quota.window) for quota in quotas],
        "reset in": [_seconds(quota.reset) for quota in quotas],
        "scope": [quota.scope for quota in quotas],
        "group": [quota.group for quota in quotas],
        "reading": [_certainty(quota.confidence) for quota in quotas],
        "dialect": [quota.dialect for quota in quotas],
    }
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in shown:
        right = title in ("limit", "left", "window", "reset in")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*(Text(render.visible(cell)) for cell in row))
    return table


def _about_answer(found: Finding) -> list[str]:
    lines = []
    if found.refused is not None:
        after = found.refused.retry_after
        again = "" if after is None else f", come back in {_seconds(after)}"
        lines.append(f"refused: {found.refused.reason}, kind {found.refused.kind}{again}")
    elif 300 <= found.status < 400 and found.status != 304:
        lines.append("redirected, and not followed: probe where it leads to")
    return lines


def about_limiter(found: Finding) -> list[str]:
    """Return what the rate limit would do, a line for each case.

    Args:
        found: The finding.
    """
    expected = found.forecast
    if expected is None:
        return ["the rate limit: sends freely, and finds the rate if it is refused"]
    lines = [f"next request: {_after(expected.wait, expected.max_wait)}"]
    if expected.at_once or expected.every is not None:
        lines.append(f"alone: {_alone(expected)}")
    if expected.used_up is not None:
        lines.append(f"used up: {_after(expected.used_up, expected.max_wait)}")
        if any(quota.unit not in ("requests", "concurrent-requests") for quota in found.quotas):
            lines.append("what a request takes of other units than requests is learned from the answers, and 1 before")
    if expected.most is not None:
        lines.append(f"under way: at most {expected.most} at once")
    elif expected.used_up is None:
        lines.append("then: one request asks whether it is over, and the rate is found from the refusals")
    return lines


def _after(wait: float, max_wait: float) -> str:
    if wait <= 0:
        return "at once"
    if wait <= max_wait:
        return f"waits {_seconds(wait)}"
    return f"RateLimitError with retry_after {_seconds(wait)}, which is beyond max_wait, {_seconds(max_wait)}"


def _alone(expected: Forecast) -> str:
    parts = []
    if expected.at_once:
        more = " or more" if expected.at_once >= MOST_AT_ONCE else ""
        parts.append(f"{expected.at_once:,}{more} request{'' if expected.at_once == 1 else 's'} at once")
    if expected.every is not None:
        parts.append(f"{'then ' if parts else ''}one every {_seconds(expected.every)}")
    if expected.reset is not None:
        parts.append(f"until the reset in {_seconds(expected.reset)}")
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.10g}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2g} s" if value < 10 else f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def _certainty(confidence: float) -> str:
    return "certain" if confidence >= CERTAIN else "likely" if confidence >= LIKELY else "guessed"


def _failed(answer: CallOutcome) -> Panel:
    """Return what happened where no answer came."""
    failure = _last_failure(answer.report)
    if answer.report is not None and failure in _WHAT_HAPPENED:
        text = _WHAT_HAPPENED[failure].format(host=answer.report.host)
    else:
        text = _IN_URLS.sub("…", str(answer.error))
    title = Text(type(answer.error).__name__, style="bold red")
    return Panel(Text(render.visible(text)), title=title, border_style="red")
