"""The report of a call on the exception that it ends with."""

from __future__ import annotations

import contextlib
import sys

import requests

from polvo_adapters.core.report import Report
from polvo_adapters.errors import PolvoError


def attach_report(
    error: BaseException, report: Report, request: requests.PreparedRequest | None = None
) -> BaseException:
    """Return the exception with the report attached, and with a note where there were retries or a reason is known.

    Args:
        error: The exception that is about to be raised.
        report: The report of the call.
        request: The request, for an error that has none yet.
    """
    count = len(report.attempts)
    if isinstance(error, PolvoError):
        error.attempts = error.attempts or count
        error.host = error.host or report.host
    elif count > 1 or report.note:
        _add_note(error, f"polvo: {report.summary()}")
    if isinstance(error, requests.RequestException) and error.request is None:
        error.request = request
    with contextlib.suppress(AttributeError):  # an exception class with slots
        error.polvo = report  # type: ignore[attr-defined]
    return error


def _add_note(error: BaseException, note: str) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        notes = [*getattr(error, "__notes__", ()), note]
        setattr(error, "__notes__", notes)  # noqa: B010 - tools that know PEP 678 show it
