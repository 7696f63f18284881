"""`polvo probe URL`: one request, the quota that its response announces, and what a rate limit would do with it.

Theory of operation. The request goes through an adapter without policies: nothing is repeated, nothing waits, and a
redirect is not followed. The response is read as the rate limit reads it, and passed to the machine of
`AdaptiveRateLimit`, whose future `forecast` tries out: the output is computed by the machine itself.

The output holds no query, no credential and no header.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from rich.panel import Panel
from rich.text import Text

from polvo_adapters import headers
from polvo_adapters.cli import render
from polvo_adapters.cli.probe_forecast import MOST_AT_ONCE, ROUTE, Forecast, forecast
from polvo_adapters.cli.request import WHAT_HAPPENED, CallOutcome, explain_failure, find_report, join_headers
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.headers import CERTAIN, LIKELY, Quota, Throttled
from polvo_adapters.policies.ratelimit.turns import TurnResult
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter

_IN_URLS = re.compile(r"(?<=//)[^/?#\s]*(?=@)|(?<=\?)[^\s'\")]+")  # credentials and queries


class Finding(NamedTuple):
    """The result of a probe.

    Attributes:
        method: Method of the request.
        url: Its URL, without credentials and query.
        status: Status of the response.
        reason: Its phrase.
        seconds: How long it took.
        quotas: The quotas that it announces.
        refused: The refusal in it, or None.
        forecast: What the rate limit would do, or None where the response says nothing of a quota.
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
        """The line that adds the rate limit to existing code."""
        return f'session.mount("{origin(self.url)}/", polvo.RateLimitAdapter())'


def run(options: argparse.Namespace) -> int:
    """Send a request, and show the quotas of its response.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 for any response, 3 for none.
    """
    out, err = render.open_screens()
    with render.make_spinner(err, f"{options.method} {Call(options.method, options.url).host}"):
        outcome = send(options)
    if outcome.response is None:
        err.print(_make_error_panel(outcome))
        return 3
    found = read(outcome.response)
    if options.json:
        out.say(json.dumps(to_json(found), indent=2))
    else:
        show(found, out)
    return 0


def send(options: argparse.Namespace) -> CallOutcome:
    """Send one request without any policy; an exception of `requests` is returned.

    Args:
        options: The command line.
    """
    with requests.Session() as session:
        adapter = PolicyAdapter(timeout=options.timeout)
        for prefix in list(session.adapters):
            session.mount(prefix, adapter)
        try:
            fields = join_headers(options.headers)
            response = session.request(options.method, options.url, headers=fields, allow_redirects=False)
        except OSError as error:  # RequestException is one, and so is the error of a missing CA bundle
            return CallOutcome(None, error, find_report(error))
    return CallOutcome(response, None, find_report(response))


def read(response: requests.Response) -> Finding:
    """Return the quotas of a response, and what the rate limit would do with them.

    Args:
        response: The response, with the report of its adapter.
    """
    url, status, content, now = response.request.url or "", response.status_code, response.content, time.time()
    quotas = headers.parse(response.headers, status, now) + headers.parse_body(content, status)
    refused = headers.throttled(response.headers, status, content, now)
    report = find_report(response)
    seconds = response.elapsed.total_seconds() if report is None else report.elapsed
    return Finding(
        response.request.method or "",
        origin(url) + (urlsplit(url).path or "/"),
        status,
        response.reason or "",
        seconds,
        quotas,
        refused,
        forecast(TurnResult(ROUTE, "", 0, seconds, status, quotas, refused)),
    )


def to_json(found: Finding) -> dict[str, Any]:
    """Return a finding as a JSON object, times rounded to milliseconds.

    Args:
        found: The finding.
    """
    return {**_convert(found), "mount": found.mount}


def _convert(value: Any) -> Any:
    """Return a value as JSON can hold it: named tuples as objects, floats rounded."""
    if hasattr(value, "_asdict"):
        return {name: _convert(each) for name, each in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_convert(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def show(found: Finding, screen: render.Screen) -> None:
    """Show a finding.

    Args:
        found: The finding.
        screen: The console.
    """
    screen.say(f"{found.method} {found.url}", "dim")
    status = render.format_status(found.status, found.reason)
    screen.print(status.append(f" after {render.format_seconds(found.seconds)}", style="dim"), soft_wrap=True)
    screen.print()
    if found.quotas:
        screen.print(render.make_table(_list_columns(found.quotas), right=("limit", "left", "window", "reset in")))
    else:
        screen.say("no quota announced")
    screen.print()
    for line in [*_describe_response(found), *describe_limiter(found)]:
        screen.say(line)
    screen.print()
    screen.say(found.mount, "bold")


def _list_columns(quotas: Sequence[Quota]) -> dict[str, list[str]]:
    return {
        "name": [quota.name for quota in quotas],
        "limit": [_format_number(quota.limit) for quota in quotas],
        "left": [_format_number(quota.remaining) for quota in quotas],
        "unit": [quota.unit for quota in quotas],
        "window": [_format_seconds(quota.window) for quota in quotas],
        "reset in": [_format_seconds(quota.reset) for quota in quotas],
        "scope": [quota.scope for quota in quotas],
        "group": [quota.group for quota in quotas],
        "reading": [_describe_confidence(quota.confidence) for quota in quotas],
        "dialect": [quota.dialect for quota in quotas],
    }


def _describe_response(found: Finding) -> list[str]:
    if found.refused is not None:
        after = found.refused.retry_after
        again = "" if after is None else f", come back in {_format_seconds(after)}"
        return [f"refused: {found.refused.reason}, kind {found.refused.kind}{again}"]
    if 300 <= found.status < 400 and found.status != 304:
        return ["redirected, and not followed: probe the URL that it leads to"]
    return []


def describe_limiter(found: Finding) -> list[str]:
    """Return what the rate limit would do, a line for each case.

    Args:
        found: The finding.
    """
    expected = found.forecast
    if expected is None:
        return ["the rate limit: sends freely, and finds the rate if it is refused"]
    lines = [f"next request: {_describe_wait(expected.wait, expected.max_wait)}"]
    if expected.at_once or expected.every is not None:
        lines.append(f"alone: {_describe_pace(expected)}")
    if expected.used_up is not None:
        lines.append(f"used up: {_describe_wait(expected.used_up, expected.max_wait)}")
        if any(quota.unit not in ("requests", "concurrent-requests") for quota in found.quotas):
            lines.append(
                "the cost of a request in other units than requests is learned from the responses, and 1 before"
            )
    if expected.most is not None:
        lines.append(f"under way: at most {expected.most} at once")
    elif expected.used_up is None:
        lines.append("then: one request finds out whether it is over, and the refusals give the rate")
    return lines


def _describe_wait(wait: float, max_wait: float) -> str:
    if wait <= 0:
        return "at once"
    if wait <= max_wait:
        return f"waits {_format_seconds(wait)}"
    return f"RateLimitError with retry_after {_format_seconds(wait)}, beyond max_wait, {_format_seconds(max_wait)}"


def _describe_pace(expected: Forecast) -> str:
    parts = []
    if expected.at_once:
        more = " or more" if expected.at_once >= MOST_AT_ONCE else ""
        parts.append(f"{expected.at_once:,}{more} request{'' if expected.at_once == 1 else 's'} at once")
    if expected.every is not None:
        parts.append(f"{'then ' if parts else ''}one every {_format_seconds(expected.every)}")
    if expected.reset is not None:
        parts.append(f"until the reset in {_format_seconds(expected.reset)}")
    return ", ".join(parts)


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:,.10g}"


def _format_seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2g} s" if value < 10 else f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def _describe_confidence(confidence: float) -> str:
    return "certain" if confidence >= CERTAIN else "likely" if confidence >= LIKELY else "guessed"


def _make_error_panel(outcome: CallOutcome) -> Panel:
    """Return a panel with the reason that there is no response."""
    place, cause, advice = ("", "", "") if outcome.error is None else explain_failure(outcome.error)
    if outcome.report is not None and place:
        event = WHAT_HAPPENED.get(outcome.failure, "").format(host=outcome.report.host)
        text = "\n".join(filter(None, [event, f"{place}: {cause}; {advice}."]))
    else:
        text = _IN_URLS.sub("…", str(outcome.error))
    title = Text(type(outcome.error).__name__, style="bold red")
    return Panel(Text(render.escape_controls(text)), title=title, border_style="red")
