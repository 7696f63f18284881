"""`polvo get URL` and the other verbs: one request through the standard stack, and an account of it.

Theory of operation. `send` makes the call and returns a CallOutcome, a value for every way in which a call can end;
`run` shows it and turns it into an exit code. A 429 is a response although the session raises it. Without `--body`
everything about a response goes to stdout; with it the bytes of the body go to stdout and the rest to stderr. A failure
without a response always goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import requests
from requests.structures import CaseInsensitiveDict
from rich.console import Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.text import Text

from polvo_adapters import headers
from polvo_adapters.cli import render
from polvo_adapters.core.calls import find_host, origin
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.redaction import strip_url
from polvo_adapters.shells.message_parts import describe_place
from polvo_adapters.shells.plain_words import describe_cause
from polvo_adapters.shells.requests.session import Session

MOST_LINES = 40
"""Lines of a body that are shown on a terminal."""

_SECRET = re.compile(r"authorization|cookie|token(?!s)|secret|password|signature|api-?key", re.IGNORECASE)
_URL_HEADERS = ("location", "content-location", "refresh")
_FORM, _JSON = b"application/x-www-form-urlencoded", b"application/json"

WHAT_HAPPENED = {
    "no connection": "No connection to {host}; nothing was sent.",
    "connect timeout": "{host} did not accept the connection in time; nothing was sent.",
    "read timeout": "{host} received the request and then sent nothing for too long.",
    "disconnected": "{host} closed the connection before its response was complete.",
    "truncated body": "{host} ended the body of its response early.",
    "deadline": "The time for the whole call is up.",
}
"""The event behind each failure, for the user."""
_TRY_LATER = "Try again later; if it stays like this, check the server and the proxies before it."
_WHAT_TO_DO = {
    "no connection": "Check the host, the port and the proxy settings, and that the server runs.",
    "connect timeout": "Check the host and the network, or allow more with --timeout.",
    "read timeout": "Allow more with --timeout, or bound the whole call with --deadline.",
    "disconnected": _TRY_LATER,
    "truncated body": _TRY_LATER,
    "deadline": "Allow more with --deadline.",
}
_IN_DOUBT = "The server may have processed the request: find out before you send it again."


class CallOutcome(NamedTuple):
    """The end of a call: a response, an error, or both where the error has a response.

    Attributes:
        response: The final response, or None.
        error: The exception, or None.
        report: Report of the last hop, or None where there is none.
    """

    response: requests.Response | None
    error: OSError | None
    report: Report | None

    @property
    def failure(self) -> str:
        """Name of the failure of the last attempt, or an empty string."""
        attempts = [] if self.report is None else self.report.attempts
        return attempts[-1].failure if attempts else ""


def run(options: argparse.Namespace) -> int:
    """Make a call, and show how it ends.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 for a status below 400, 1 for any other, 3 for no response.
    """
    out, err = render.open_screens()
    with render.make_spinner(err, f"{options.method} {origin(options.url)}"):
        outcome = send(options)
    account = err if options.body else out
    response = outcome.response
    if response is None:
        err.print(make_panel(outcome, options.method, err))
        return 3
    _show_head(response, account)
    if options.body:
        _write_body(response.content)
    else:
        _show_body(response, out)
    _show_account(response, outcome.report, account)
    return int(response.status_code >= 400)


def send(options: argparse.Namespace) -> CallOutcome:
    """Make a call, and return how it ends; an exception of `requests` is returned too.

    Args:
        options: The command line.
    """
    body = options.data if options.json is None else options.json
    fields = CaseInsensitiveDict(join_headers(options.headers))
    if body is not None:
        fields.setdefault("Content-Type", _FORM if options.json is None else _JSON)
    keywords = {"data": body, "headers": fields, "allow_redirects": options.method != "HEAD"}
    try:
        with Session(
            retry={"max_attempts": options.attempts}, timeout=options.timeout, deadline=options.deadline
        ) as session:
            response = session.request(options.method, options.url, **keywords)
    except StatusError as error:
        return CallOutcome(error.response, error, find_report(error.response) or find_report(error))
    except OSError as error:  # RequestException is one, and so is the error of a missing CA bundle
        return CallOutcome(None, error, find_report(error))
    return CallOutcome(response, None, find_report(response))


def join_headers(pairs: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """Join headers of one name, as RFC 9110 section 5.3 allows; bytes, since http.client would refuse UTF-8."""
    joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in pairs:
        separator = "; " if name.lower() == "cookie" else ", "
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return {name: value.encode("utf-8", "surrogateescape") for name, value in joined.items()}


def find_report(bearer: object) -> Report | None:
    """Return the report of a response or an error, or None where it has none."""
    report = getattr(bearer, "polvo", None)
    return report if isinstance(report, Report) else None


def _show_head(response: requests.Response, screen: render.Screen) -> None:
    request = response.request
    screen.say(f"{request.method} {strip_url(request.url or '')}", "dim")
    screen.print(render.format_status(response.status_code, response.reason), soft_wrap=True)
    for name, value in response.headers.items():
        shown = strip_url(value) if name.lower() in _URL_HEADERS else value
        screen.say(f"{name}: {'«…»' if _SECRET.search(name) else shown}", "dim")


def _write_body(content: bytes) -> None:
    sys.stdout.flush()
    left = memoryview(content)
    while left:
        # Under PYTHONUNBUFFERED this is the file itself, which may take a part only.
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.buffer.flush()


def _show_body(response: requests.Response, screen: render.Screen) -> None:
    if not response.content:
        return
    screen.print()
    text = format_body(response)
    if text is None:
        kind = response.headers.get("Content-Type", "no known type")
        screen.say(f"{len(response.content):,} bytes of {kind}; --body > FILE saves them", "dim")
        return
    shown, left_out = shorten(text, screen.width) if screen.file.isatty() else (text, "")
    is_json = text.startswith(("{", "["))
    screen.print(JSONHighlighter()(shown) if is_json else Text(shown), soft_wrap=True)
    if left_out:
        screen.say(f"({left_out} more; --body prints everything)", "dim")


def format_body(response: requests.Response) -> str | None:
    """Return a body as text to show, JSON indented, or None where it is binary."""
    try:
        text: str | None = json.dumps(json.loads(response.content), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = _decode(response)
    return None if text is None else render.escape_controls(text.rstrip("\n"))


def _decode(response: requests.Response) -> str | None:
    if b"\0" in response.content:
        return None
    kind = response.headers.get("Content-Type", "").lower()
    # The encoding that `requests` assumes for text without a charset would garble UTF-8.
    encoding = (response.encoding if "charset" in kind else None) or "utf-8"
    try:
        return response.content.decode(encoding)
    except (ValueError, LookupError):
        return response.content.decode("latin-1") if kind.startswith("text/") else None


def shorten(text: str, width: int) -> tuple[str, str]:
    """Return as much of a text as MOST_LINES lines of a terminal hold, and the size of the rest, in words."""
    lines = text.split("\n")
    shown = "\n".join(lines[:MOST_LINES])
    most = MOST_LINES * max(width, 1)
    if len(shown) > most:
        return shown[:most], f"{len(text) - most:,} characters"
    hidden = len(lines) - MOST_LINES
    return shown, f"{hidden:,} line{'' if hidden == 1 else 's'}" if hidden > 0 else ""


def _show_account(response: requests.Response, report: Report | None, screen: render.Screen) -> None:
    screen.print()
    for hop in response.history:
        before = find_report(hop)
        if before is not None:
            screen.print(Text(f"{before.method} {before.host}, redirected", style="dim"))
            screen.print(render.draw_timeline(before.entries, screen))
    if report is not None:
        if response.history:
            screen.print(Text(f"{report.method} {report.host}", style="dim"))
        screen.print(_draw_account(report, screen))
    delay = headers.retry_after(response.headers, time.time())
    if response.status_code >= 400 and delay is not None:
        screen.say(f"The server asks to be called again after {format_seconds(delay, 6)} s.", "yellow")


def _draw_account(report: Report, screen: render.Screen) -> Group:
    return Group(render.draw_timeline(report.entries, screen), Text(report.summary(), style="bold"))


def make_panel(outcome: CallOutcome, method: str, screen: render.Screen) -> Panel:
    """Return a panel with the error, the attempts and waits, and advice."""
    report = outcome.report
    parts: list[RenderableType] = [Text(line) for line in _explain(outcome)]
    if report is not None and report.entries:
        parts += [Text(), _draw_account(report, screen)]
    advice = _advise(outcome, method)
    if advice:
        parts += [Text(), *(Text(line, style="bold") for line in advice)]
    return Panel(Group(*parts), title=Text(type(outcome.error).__name__, style="bold red"), border_style="red")


def _explain(outcome: CallOutcome) -> list[str]:
    message = render.escape_controls(str(outcome.error)) or "no further message"
    if outcome.error is not None and not isinstance(outcome.error, PolvoError):
        place, cause, _ = explain_failure(outcome.error)
        host = "" if outcome.report is None else outcome.report.host
        event = WHAT_HAPPENED.get(outcome.failure, "").format(host=host)
        return [*filter(None, [event]), render.escape_controls(f"{place}: {cause}.")] if place else [event or message]
    last = getattr(outcome.error, "response", None)
    if last is None:
        return [message]
    status = f"{last.status_code} {last.reason or ''}".rstrip()
    return [message, render.escape_controls(f"The last response was {status}.")]


def explain_failure(error: BaseException) -> tuple[str, str, str]:
    """Return place, cause and advice for an exception of a call, in plain words; three empty texts where it is none."""
    request = getattr(error, "request", None)
    if not isinstance(request, requests.PreparedRequest):
        return "", "", ""
    return describe_place(request), *describe_cause(error, find_host(request.url or ""))


def _advise(outcome: CallOutcome, method: str) -> list[str]:
    shown = "deadline" if isinstance(outcome.error, DeadlineExceeded) else outcome.failure
    lines = [_WHAT_TO_DO[shown]] if shown in _WHAT_TO_DO else []
    if not lines and outcome.error is not None:
        advice = "" if isinstance(outcome.error, PolvoError) else explain_failure(outcome.error)[2]
        lines += [f"{advice[:1].upper()}{advice[1:]}."] if advice else []
    if method in {"POST", "PATCH"} and outcome.failure not in {"", "no connection", "connect timeout"}:
        lines.append(_IN_DOUBT)
    return lines
