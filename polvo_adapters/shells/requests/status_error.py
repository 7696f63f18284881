"""The error that says what a response with an error status means."""

from __future__ import annotations

import time

import requests

from polvo_adapters import headers
from polvo_adapters.errors import error_for_status


def status_error(response: requests.Response) -> Exception:
    """Return the error for a response with an error status."""
    status, reason = response.status_code, response.reason
    delay = headers.retry_after(response.headers, time.time())
    report = getattr(response, "polvo", None)
    host = (response.url or "").partition("://")[2].partition("/")[0].rpartition("@")[2]
    method = response.request.method
    attempts = len(report.attempts) if report is not None else 1
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    advice = "" if delay is None else f"; call again after {delay:g} s"
    return error_for_status(status)(
        f"{method} {host}: {status} {reason or ''}".rstrip() + tries + advice,
        request=response.request,
        response=response,
        host=host,
        attempts=attempts,
        retry_after=delay,
    )
