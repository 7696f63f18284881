"""The error that says what a response with an error status means."""

from __future__ import annotations

import time

import requests

from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.verdict import Verdict
from polvo_adapters.errors import PolvoError, QuotaExceededError, RateLimitError, error_for_status


def find_verdict(response: requests.Response) -> Verdict:
    """Return the verdict on a response, from its report or, where no policy has asked, from the response itself."""
    report = getattr(response, "polvo", None)
    known: Verdict | None = getattr(report, "verdict", None)
    if known is not None:
        return known
    body = getattr(response, "_content", None)
    outcome = Outcome(
        status=response.status_code or 0,
        headers=response.headers,
        body=body if isinstance(body, bytes) else None,
        wall=time.time(),
    )
    return verdict_of(Call(response.request.method or "", response.url or ""), outcome)


def status_error(response: requests.Response, verdict: Verdict | None = None) -> Exception:
    """Return the error for a response with an error status.

    Args:
        response: The response.
        verdict: The verdict on it, where it is known.
    """
    verdict = find_verdict(response) if verdict is None else verdict
    status, reason = response.status_code, response.reason
    report = getattr(response, "polvo", None)
    host = (response.url or "").partition("://")[2].partition("/")[0].rpartition("@")[2]
    method = response.request.method
    attempts = len(report.attempts) if report is not None else 1
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    return _choose_class(status, verdict)(
        f"{method} {host}: {status} {reason or ''}".rstrip() + tries + _advise(verdict),
        request=response.request,
        response=response,
        host=host,
        attempts=attempts,
        retry_after=verdict.retry_after,
    )


def _choose_class(status: int, verdict: Verdict) -> type[PolvoError]:
    if verdict.kind == "exhausted":
        return QuotaExceededError
    return RateLimitError if verdict.is_about_pace else error_for_status(status)


def _advise(verdict: Verdict) -> str:
    """Return what the caller of a request can do about its error, if anything is known."""
    delay = verdict.retry_after
    again = "" if delay is None else f"; call again after {delay:g} s"
    if verdict.kind == "exhausted":
        ends = again or "; it does not say until when, and a repeat does not help"
        return f", the quota is used up ({verdict.reason}){ends}"
    named = verdict.is_about_pace and "," in verdict.reason
    return (f" ({verdict.reason.partition(', ')[2]})" if named else "") + again
