"""Downloads to files by a session of `requests`; see `polvo_adapters.shells.downloads`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from polvo_adapters.shells.downloads import Download, DownloadJob, OnChange, Progress
from polvo_adapters.shells.error_notes import add_note
from polvo_adapters.shells.status_error import status_error

_PIECE = 1 << 16  # bytes


def download(
    get: Callable[..., requests.Response],
    url: str,
    path: str | os.PathLike[str],
    *,
    on_change: OnChange = "restart",
    progress: Progress | None = None,
    absolute_url: str = "",
    **keywords: Any,
) -> Download:
    """Download a URL to a file; see `polvo_adapters.Session.download`.

    Args:
        get: The `get` of a session.
        url: The URL, as that takes it.
        path: The file, or a directory to put it in.
        on_change: What to do where the entity changes while it is downloaded.
        progress: A function that is called with the bytes that are there, and those that there will be or None.
        absolute_url: The same URL, where the session completes it.
        **keywords: Further keywords of `get`.
    """
    job = DownloadJob(absolute_url or url, path, on_change, progress, status_error)
    try:
        return job.finish(_run(job, lambda **headers: get(url, **{**keywords, **headers}), keywords))
    except BaseException as error:
        job.keep_for_later(
            error, of_disk=isinstance(error, OSError) and not isinstance(error, requests.RequestException)
        )
        raise


def _run(job: DownloadJob, get: Callable[..., requests.Response], keywords: dict[str, Any]) -> requests.Response:
    """Download until the file is whole, and return the last response."""
    fixed = {"resume": keywords.get("resume", True), "stream": True}
    while True:
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(keywords.get("headers") or {})
        job.prepare(headers)
        response = get(**fixed, headers=headers)
        try:
            with closing(response):
                if job.take_up(response):
                    _write(job, response)
                    return response
        except requests.exceptions.ChunkedEncodingError as error:
            if not _goes_on(job, response, error):
                raise
        except requests.ConnectionError as error:  # a body that went silent
            if not _goes_on(job, response, error):
                raise


def _goes_on(job: DownloadJob, response: requests.Response, error: Exception) -> bool:
    return job.goes_on(response, error, getattr(getattr(response.raw, "_resuming", None), "unproved", None))


def _write(job: DownloadJob, response: requests.Response) -> None:
    """Write the body of a response to the file."""
    partial = job.partial
    job.report_progress()
    begin = partial.size
    try:
        for piece in response.iter_content(_PIECE):
            partial.write(piece)
            job.report_progress()
    except requests.RequestException as error:
        if job.writes_parts:
            partial.write(_salvage(response, partial.size - begin))
        for note in getattr(error.args[0] if error.args else None, "__notes__", ()):
            add_note(error, note)
        error.polvo = getattr(response, "polvo", None)  # type: ignore[attr-defined]
        raise


def _salvage(response: requests.Response, written: int) -> bytes:
    """Return what urllib3 had read of a body, and kept for a larger piece, before that broke off.

    Args:
        response: The response, without content encoding.
        written: How many bytes of its body were handed out.
    """
    raw: Any = response.raw
    with suppress(AttributeError, HTTPError, OSError, ValueError):
        kept = raw.tell() - written
        return bytes(raw.read(kept)) if kept > 0 else b""
    return b""
