"""What an exception means, in a note, and no query in its texts, for all that a `polvo.Session` raises."""

from __future__ import annotations

from contextlib import suppress

import requests

from polvo_adapters.errors import PolvoError
from polvo_adapters.shells.error_notes import (
    append_to_text,
    explain_error,
    find_note,
    hide_queries,
    replace_note,
    shows_notes,
)
from polvo_adapters.shells.tracebacks import drop_frames

_BAD_URLS: tuple[tuple[type[Exception], str], ...] = (
    (
        requests.exceptions.MissingSchema,
        "the URL is not absolute; begin it with https://, or give the session a base_url, which is not None",
    ),
    (
        requests.exceptions.InvalidSchema,
        "the URL, or the one that a redirect leads to, is neither http:// nor https://; nothing was sent there",
    ),
    (
        requests.exceptions.InvalidURL,
        "the URL, or the one that a redirect leads to, cannot be used; correct it; nothing was sent there",
    ),
)


def complete_error(error: requests.RequestException, *urls: object) -> None:
    """Remove the query from the texts of an exception that is about to be raised, and say in a note what it means.

    Args:
        error: The exception, which stays the same object, of the same class.
        *urls: The URL that the caller gave.
    """
    try:
        request = error.request
        hide_queries(error, *urls, getattr(request, "url", None))
        if not isinstance(error, PolvoError):
            drop_frames(error, keeps_first=True)
        advice = next((advice for kind, advice in _BAD_URLS if isinstance(error, kind)), "")
        if advice:
            replace_note(error, find_note(error), f"polvo: {advice}")
            if not shows_notes():
                append_to_text(error, f"polvo: {advice}")
        elif not isinstance(error, PolvoError) and isinstance(request, requests.PreparedRequest):
            with suppress(AttributeError, TypeError):  # a class of exceptions that is not to be changed
                note = find_note(error) or explain_error(error, request, getattr(error, "polvo", None))
                if not shows_notes():
                    append_to_text(error, note)
    finally:
        del error  # see errors.py, "Errors and frames"
