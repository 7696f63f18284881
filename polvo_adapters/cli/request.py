"""`polvo get URL` and the other verbs: one request through the standard stack, and an account of it.

Theory of operation. `send` makes the call and returns an Answer, whatever came of it, as a value; `run` shows it
and turns it into an exit code. A 429 is an answer although the session raises it. Without `--body` everything
about a response goes to stdout; with it stdout gets the bytes of the body and stderr the rest. What went wrong
without a response always goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import requests
from requests.structures import CaseInsensitiveDict
from rich.console import Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.text import Text

from polvo_adapters import headers
from polvo_adapters.cli import render
from polvo_adapters.core.calls import origin
from polvo_adapters.core.report import Report
from polvo_adapters.errors import DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.shells.requests.session import Session

MOST_LINES = 40
"""Lines of a body that are shown on a terminal."""

_SECRET = re.compile(r"authorization|cookie|token(?!s)|secret|password|signature|api-?key", re.IGNORECASE)
_CREDENTIALS_IN_URL = re.compile(r"//[^/?#]*@")
_FORM, _JSON = b"application/x-www-form-urlencoded", b"application/json"

_WHAT_HAPPENED = {
    "no connection": "No connection to {host} came about; nothing was sent.",
    "connect timeout": "{host} did not take the connection in time; nothing was sent.",
    "read timeout": "{host} took the request and then kept silent for too long.",
    "disconnected": "{host} broke the connection off before its answer was complete.",
    "truncated body": "{host} ended the body of its answer early.",
    "deadline": "The time for the whole call is up.",
}
_WHAT_TO_DO = {
    "no connection": "Check the host, the port and the proxy settings, and that the server runs.",
    "connect timeout": "Check the host and the network, or allow more with --timeout.",
    "read timeout": "Allow more with --timeout, or bound the whole call with --deadline.",
    "disconnected": "Try again later; if it stays like this, look at the server and the proxies before it.",
    "truncated body": "Try again later; if it stays like this, look at the server and the proxies before it.",
    "deadline": "Allow more with --deadline.",
}
_IN_DOUBT = "The server may have processed the request: find out before you send it again."


class CallOutcome(NamedTuple):
    """What came of a call: a response, an error, or both where the error is about a response worth showing.

    Attributes:
        response: The final response, or None.
        error: What was raised, or None.
        report: What was done for the last hop, or None where nothing was.
    """

    response: requests.Response | None
    error: OSError | None
    report: Report | None

    @property
    def exit_code(self) -> int:
        """0 for a status below 400, 1 for one above, 3 for no response."""
        if self.response is None:
            return 3
        return int(self.response.status_code >= 400)


def run(options: argparse.Namespace) -> int:
    """Make the call that the command line asks for and show what came of it.

    Returns:
        The exit code.
    """
    out, err = render.screens()
    with render.spinner(err, f"{options.method} {origin(options.url)}"):
        answer = send(options)
    account = err if options.body else out
    if answer.response is None:
        err.print(_panel(answer, options.method, err))
    else:
        _show_head(answer.response, account)
        if options.body:
            _write_body(answer.response.content)
        else:
            _show_body(answer.response, out)
        _show_account(answer, account)
    return answer.exit_code


def send(options: argparse.Namespace) -> CallOutcome:
    """Make the call that the command line asks for; what `requests` raises comes back as a value."""
    body = options.data if options.json is None else options.json
    sent = CaseInsensitiveDict(_headers(options.headers))
    if body is not None:
        sent.setdefault("Content-Type", _FORM if options.json is None else _JSON)
    try:
        with _session(options) as session:
            response = session.request(
                options.method, options.url, data=body, headers=sent, allow_redirects=options.method != "HEAD"
            )
    except StatusError as error:
        return CallOutcome(error.response, error, _report(error.response) or _report(error))
    except OSError as error:  # RequestException is one, and so is a CA bundle that is not there
        return CallOutcome(None, error, _report(error))
    return CallOutcome(response, None, _report(response))


def _session(options: argparse.Namespace) -> Session:
    return Session(retry={"max_attempts": options.attempts}, timeout=options.timeout, deadline=options.deadline)


def _headers(pairs: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """Join headers of one name, as RFC 9110 section 5.3 allows; bytes, since http.client would refuse UTF-8."""
    joined: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in pairs:
        separator = "; " if name.lower() == "cookie" else ", "
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return {name: value.encode("utf-8", "surrogateescape") for name, value in joined.items()}


def _report(bearer: object) -> Report | None:
    report = getattr(bearer, "polvo", None)
    return report if isinstance(report, Report) else None


# A response.


def _show_head(response: requests.Response, screen: render.Screen) -> None:
    request = response.request
    url = _CREDENTIALS_IN_URL.sub("//", request.url or "")
    _print(screen, Text(render.visible(f"{request.method} {url}"), style="dim"))
    _print(screen, render.status_text(response.status_code, response.reason))
    for name, value in _redacted(response.headers).items():
        _print(screen, Text(render.visible(f"{name}: {value}"), style="dim"))


def _redacted(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: "«…»" if _SECRET.search(name) else value for name, value in fields.items()}


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
    text = body_text(response)
    if text is None:
        kind = response.headers.get("Content-Type", "no known type")
        size = f"{len(response.content):,} bytes of {kind}; --body > FILE keeps them"
        _print(screen, Text(render.visible(size), style="dim"))
        return
    shown, left_out = cut(text, screen.width) if screen.file.isatty() else (text, "")
    is_json = text.startswith(("{", "["))
    _print(screen, JSONHighlighter()(shown) if is_json else Text(shown))
    if left_out:
        _print(screen, Text(f"({left_out} more; --body prints everything)", style="dim"))


def body_text(response: requests.Response) -> str | None:
    """Return a body as text to show, JSON set out in lines, or None where it is binary."""
    try:
        laid_out = json.dumps(json.loads(response.content), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        laid_out = ""
    text = laid_out or _decoded(response)
    return None if text is None else render.visible(text.rstrip("\n"))


def _decoded(response: requests.Response) -> str | None:
    if b"\0" in response.content:
        return None
    kind = response.headers.get("Content-Type", "").lower()
    # What `requests` assumes for text without a charset would turn UTF-8 into mojibake.
    text = _try(response.content, response.encoding if "charset" in kind else "utf-8")
    return response.content.decode("latin-1") if text is None and kind.startswith("text/") else text


def _try(content: bytes, encoding: str | None) -> str | None:
    try:
        return content.decode(encoding or "utf-8")
    except (ValueError, LookupError):
        return None


def cut(text: str, width: int) -> tuple[str, str]:
    """Return as much of a text as MOST_LINES lines of a terminal hold, and how much is left out, in words."""
    lines = text.split("\n")
    shown = "\n".join(lines[:MOST_LINES])
    most = MOST_LINES * max(width, 1)
    if len(shown) > most:
        return shown[:most], f"{len(text) - most:,} characters"
    hidden = len(lines) - MOST_LINES
    return shown, f"{hidden:,} line{'' if hidden == 1 else 's'}" if hidden > 0 else ""


# The account.


def _show_account(answer: CallOutcome, screen: render.Screen) -> None:
    response = answer.response
    if response is None:
        return
    screen.print()
    for hop in response.history:
        report = _report(hop)
        if report is not None:
            screen.print(Text(f"{report.method} {report.host}, redirected", style="dim"))
            screen.print(render.timeline(report.entries, screen))
    if answer.report is not None:
        if response.history:
            screen.print(Text(f"{answer.report.method} {answer.report.host}", style="dim"))
        screen.print(_account(answer.report, screen))
    for line in _advice_about(response):
        _print(screen, Text(line, style="yellow"))


def _account(report: Report, screen: render.Screen) -> Group:
    return Group(render.timeline(report.entries, screen), Text(report.summary(), style="bold"))


def _advice_about(response: requests.Response) -> list[str]:
    if response.status_code < 400:
        return []
    delay = headers.retry_after(response.headers, time.time())
    return [] if delay is None else [f"The server asks to be called again after {delay:g} s."]


def _panel(answer: CallOutcome, method: str, screen: render.Screen) -> Panel:
    """Return what happened, what was done about it and what the user can do."""
    error, report = answer.error, answer.report
    parts: list[RenderableType] = [Text(line) for line in _explanation(answer)]
    if report is not None and report.entries:
        parts += [Text(), _account(report, screen)]
    advice = _advice(error, report, method)
    if advice:
        parts += [Text(), *(Text(line, style="bold") for line in advice)]
    return Panel(Group(*parts), title=Text(type(error).__name__, style="bold red"), border_style="red")


def _explanation(answer: CallOutcome) -> list[str]:
    message = render.visible(str(answer.error)) or "no further message"
    last = _last_failure(answer.report)
    if isinstance(answer.error, PolvoError) or last not in _WHAT_HAPPENED:
        return [message, *_last_answer(answer.error)]
    host = answer.report.host if answer.report is not None else "the server"
    return [_WHAT_HAPPENED[last].format(host=host), f"({message})"]


def _last_answer(error: OSError | None) -> list[str]:
    response = getattr(error, "response", None)
    if response is None:
        return []
    return [render.visible(f"The last answer was {response.status_code} {response.reason or ''}".rstrip() + ".")]


def _last_failure(report: Report | None) -> str:
    attempts = [] if report is None else report.attempts
    return attempts[-1].failure if attempts else ""


def _advice(error: OSError | None, report: Report | None, method: str) -> list[str]:
    failure = _last_failure(report)
    shown = "deadline" if isinstance(error, DeadlineExceeded) else failure
    lines = [_WHAT_TO_DO[shown]] if shown in _WHAT_TO_DO else []
    if method in {"POST", "PATCH"} and failure not in {"", "no connection", "connect timeout"}:
        lines.append(_IN_DOUBT)
    return lines


def _print(screen: render.Screen, text: Text) -> None:
    """Print without wrapping: what is copied or piped must not hold line breaks that nobody sent."""
    screen.print(text, soft_wrap=True)
