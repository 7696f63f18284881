"""The report of a call on the exception that it ends with, and no credential in its text.

An auth object that puts a key into the query makes urllib3 name it in messages: "Max retries exceeded with url:
/?api_key=...". The exception stays the same object; the value of the parameter in its texts, and in those of the
exceptions that it was made of, becomes "***".
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import unquote_plus

import requests

from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import INTERRUPTED, TRUNCATED
from polvo_adapters.core.report import Report
from polvo_adapters.core.trace import CONNECT, TLS
from polvo_adapters.errors import PolvoError
from polvo_adapters.shells.credential_owners import credential_parameters
from polvo_adapters.shells.message_parts import describe_place
from polvo_adapters.shells.plain_words import BROKEN_OFF, CLOSED, PROXY_FAILED, SILENT_IN_TLS, describe_cause
from polvo_adapters.shells.tracebacks import drop_frames

_MOST_CAUSES = 50
_OF_TRANSPORTS = (requests.RequestException, ConnectionError, TimeoutError)
_UNCONNECTED = 3  # marks of an attempt that got no connection: queue, connect, end
_TAIL = re.compile("[?#].+", re.DOTALL)
_URL_TAIL = re.compile(r"""((?:[A-Za-z][A-Za-z0-9+.-]*:/)?/[^\s?#'"]*)[?#][^\s'"]+""")
_USER = re.compile(r"""://[^\s/?#'"]*@""")


def attach_report(error: BaseException, report: Report, request: Any = None) -> BaseException:
    """Return the exception with the report attached, and with a note that says what it means.

    Args:
        error: The exception that is about to be raised.
        report: The report of the call.
        request: The request of `requests` or httpx; an error that has none yet is given that of `requests`.
    """
    is_of_requests = isinstance(request, requests.PreparedRequest)
    names = credential_parameters(request) if is_of_requests else ()
    if names:
        _hide_parameters(error, str(request.url), names)
    if isinstance(error, PolvoError):
        error.attempts = error.attempts or len(report.attempts)
        error.host = error.host or report.host
        _name_place(error, request, report)
    else:
        drop_frames(error)
        _add_report(error, request, report)
    if isinstance(error, requests.RequestException) and error.request is None and is_of_requests:
        error.request = request
    with contextlib.suppress(AttributeError):  # an exception class with slots
        error.polvo = report  # type: ignore[attr-defined]
    return error


def _name_place(error: PolvoError, request: Any, report: Report) -> None:
    """Put the path beside the host at the beginning of the text of an error of this package."""
    place = f"{report.method} {report.host}"
    text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
    if request is not None and text.startswith(f"{place}: "):
        error.args = (describe_place(request) + text[len(place) :], *error.args[1:])


def _add_report(error: BaseException, request: Any, report: Report) -> None:
    """Add the note to an exception from below, in the place of that of an adapter further inside."""
    try:
        is_of_transport = isinstance(error, _OF_TRANSPORTS) or type(error).__module__.startswith("httpx")
        last = report.attempts[-1].failure if report.attempts else ""
        with contextlib.suppress(AttributeError, TypeError):  # a class of exceptions that is not to be changed
            if is_of_transport and request is not None and last != INTERRUPTED.name:
                explain_error(error, request, report)
            elif len(report.attempts) > 1 or report.note:
                replace_note(error, find_note(error), f"polvo: {report.summary()}")
    finally:
        del error  # see errors.py, "Errors and frames"


def explain_error(error: BaseException, request: Any, report: Any, *, reading: bool = False) -> str:
    """Add the note to an exception of a transport: place, cause, effort, and what to do. Return the note.

    Args:
        error: The exception.
        request: Its request, of `requests` or httpx.
        report: The report of the call; where there is none, anything else.
        reading: Whether the body of the answer was being read.
    """
    try:
        host = find_host(str(request.url or ""))
        cause, advice = describe_cause(error, host)
        if _went_elsewhere(error, host, report):
            cause, advice = PROXY_FAILED
        elif _is_silent_in_tls(error, report):
            cause, advice = SILENT_IN_TLS
        elif (cause, advice) == CLOSED and (reading or _is_truncated(report)):
            cause, advice = BROKEN_OFF
        parts = [f"polvo: {describe_place(request)}: {cause}"]
        if isinstance(report, Report):
            parts.append(report.summary())
        if request.method not in IDEMPOTENT_METHODS and getattr(report, "sent", False):
            advice = "find out whether it was processed before you send it again"
        note = "; ".join([*parts, advice])
        replace_note(error, find_note(error), note)
        return note
    finally:
        del error


def _went_elsewhere(error: BaseException, host: str, report: Any) -> bool:
    """Return whether the last attempt connected to another name than that of the URL, which httpx tells: a proxy."""
    try:
        if not type(error).__module__.startswith("httpx") or not isinstance(report, Report) or not report.attempts:
            return False
        marks = report.attempts[-1].marks
        names = [name[len(CONNECT) :].strip() for name, _ in marks if name.startswith(CONNECT)]
        return bool(names) and "/" not in names[-1] and names[-1] not in host and len(marks) == _UNCONNECTED
    finally:
        del error


def _is_truncated(report: Any) -> bool:
    return isinstance(report, Report) and bool(report.attempts) and report.attempts[-1].failure == TRUNCATED.name


def _is_silent_in_tls(error: BaseException, report: Any) -> bool:
    """Return whether the last attempt ran into its timeout in the TLS handshake."""
    try:
        if "Timeout" not in type(error).__name__ or not isinstance(report, Report) or not report.attempts:
            return False
        marks = report.attempts[-1].marks
        return len(marks) > 1 and marks[-2][0] == TLS
    finally:
        del error


def find_note(error: BaseException) -> str:
    """Return the note of this package on an exception, or an empty string."""
    notes = getattr(error, "__notes__", ())
    return next((note for note in notes if isinstance(note, str) and note.startswith("polvo: ")), "")


def _hide_parameters(error: BaseException, url: str, names: Collection[str]) -> None:
    """Replace the values of query parameters in the texts of an exception and of those that it was made of."""
    pairs = [pair.partition("=") for pair in url.partition("#")[0].partition("?")[2].split("&")]
    shown = {f"{name}={value}": f"{name}=***" for name, _, value in pairs if value and unquote_plus(name) in names}
    try:
        _replace_texts(error, lambda text: _replace_all(text, shown))
    finally:
        del error  # see errors.py, "Errors and frames"


def _replace_all(text: str, replacements: Mapping[str, str]) -> str:
    for before, after in replacements.items():
        text = text.replace(before, after)
    return text


def hide_queries(error: BaseException, *urls: object) -> None:
    """Remove user names, queries and fragments of URLs from the texts of an exception and of those it was made of.

    The exception stays the same object, of the same class and with as many arguments.

    Args:
        error: The exception.
        *urls: URLs that its texts may show although they are not well-formed.
    """
    tails = [match[0] for url in urls if isinstance(url, str) and (match := _TAIL.search(url))]
    try:
        _replace_texts(error, lambda text: _strip_urls(_replace_all(text, dict.fromkeys(tails, ""))))
    finally:
        del error


def _strip_urls(text: str) -> str:
    return _URL_TAIL.sub(r"\1", _USER.sub("://", text)) if "?" in text or "#" in text or "@" in text else text


def _replace_texts(error: BaseException, replace: Callable[[str], str]) -> None:
    """Replace the texts that are arguments or attributes of an exception and of those that it was made of."""
    left, seen = [error], [error]
    while left and len(seen) < _MOST_CAUSES:
        each = left.pop()
        values = [*each.args, *vars(each).values(), each.__cause__, each.__context__]
        causes = [value for value in values if isinstance(value, BaseException) and value not in seen]
        left += causes
        seen += causes
        with contextlib.suppress(AttributeError, TypeError):  # a class of exceptions that is not to be changed
            each.args = tuple([replace(value) if type(value) is str else value for value in each.args])
            texts = {name: replace(value) for name, value in vars(each).items() if type(value) is str}
            vars(each).update(texts)
    del error, each, left, seen, values, causes  # see errors.py, "Errors and frames"


def replace_note(error: BaseException, before: str, after: str) -> None:
    """Put a note in the place of another one of an exception, or add it where that is missing."""
    notes: list[str] | None = getattr(error, "__notes__", None)
    if notes and before in notes:
        notes[notes.index(before)] = after
    elif not notes or after not in notes:
        add_note(error, after)


def append_to_text(error: BaseException, note: str) -> None:
    """Put a note at the end of the text of an exception, for a Python whose tracebacks show no notes (before 3.11).

    The text may be that of the exception that it was made of, which is its argument: both stay, as do their classes and
    the number of their arguments.
    """
    try:
        for _ in range(_MOST_CAUSES):
            first = error.args[0] if error.args else None
            if isinstance(first, str):
                if note not in first:
                    error.args = (f"{first} ({note})", *error.args[1:])
                return
            if not isinstance(first, BaseException):
                return
            error = first
    finally:
        del error


def shows_notes() -> bool:
    """Return whether tracebacks of this Python show notes."""
    return sys.version_info >= (3, 11)


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception, as PEP 678 says, under every Python."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        notes = [*getattr(error, "__notes__", ()), note]
        setattr(error, "__notes__", notes)  # noqa: B010 - tools that know PEP 678 show it
