"""The error that says what a response with an error status means."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from polvo_adapters.core.calls import Call, find_host
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.verdict import Verdict
from polvo_adapters.errors import PolvoError, QuotaExceededError, RateLimitError, error_for_status
from polvo_adapters.shells.message_parts import describe_place, list_secrets, quote_reason, quote_server

if TYPE_CHECKING:
    from polvo_adapters.core.report import Report


def find_verdict(response: Any) -> Verdict:
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


def raises(status: int, verdict: Verdict, *, raise_for_status: bool) -> bool:
    """Return whether a session raises the error of a response with an error status.

    Args:
        status: The status.
        verdict: The verdict on the response.
        raise_for_status: Whether the caller wants the errors of all statuses.
    """
    return raise_for_status or status == 429 or verdict.is_about_pace


def status_error(response: Any, verdict: Verdict | None = None) -> Exception:
    """Return the error for a response with an error status.

    Args:
        response: The response.
        verdict: The verdict on it, where it is known.
    """
    verdict = find_verdict(response) if verdict is None else verdict
    report = getattr(response, "polvo", None)
    secrets = list_secrets(response, response.request)
    said = quote_server(response, secrets)
    status = f"{response.status_code} {quote_reason(response, secrets)}".rstrip()
    error = _choose_class(response.status_code, verdict)(
        f"{describe_place(response.request, secrets)}: {status}"
        + _describe_effort(report)
        + (f'; the server says "{said}"' if said else "")
        + _explain_end(report, verdict)
        + _advise(response, verdict),
        request=response.request,
        response=response,
        host=find_host(response.url or ""),
        attempts=1 if report is None else len(report.attempts),
        retry_after=verdict.retry_after,
    )
    error.polvo = report  # type: ignore[attr-defined]
    return error


def _describe_effort(report: Report | None) -> str:
    if report is None:
        return ""
    count = len(report.attempts)
    return f" after {count} attempt{'' if count == 1 else 's'} in {format_seconds(report.elapsed)} s"


def _explain_end(report: Report | None, verdict: Verdict) -> str:
    """Return why the call was not repeated, or not once more, unless the count of attempts or the advice says it."""
    note = "" if report is None else _GAVE_UP.sub("", report.note)
    return "" if not note or verdict.kind == "exhausted" else f"; {note}"


def _choose_class(status: int, verdict: Verdict) -> type[PolvoError]:
    if verdict.kind == "exhausted":
        return QuotaExceededError
    return RateLimitError if verdict.is_about_pace else error_for_status(status)


def _advise(response: Any, verdict: Verdict) -> str:
    """Return what the caller of a request can do about its error."""
    delay = verdict.retry_after
    again = "" if delay is None else f"; call again after {format_seconds(delay, 6)} s"
    if verdict.kind == "exhausted":
        ends = again or "; it does not say until when, and a repeat does not help"
        return f", the quota is used up ({verdict.reason}){ends}"
    named = verdict.is_about_pace and "," in verdict.reason
    told = f" ({verdict.reason.partition(', ')[2]})" if named else ""
    if verdict.is_about_pace:
        return told + (again or "; send less, or pace the calls with rate_limit='adaptive'")
    return again or f"; {_choose_advice(response)}"


def _choose_advice(response: Any) -> str:
    status, request = response.status_code, response.request
    if status == 401 and not {"authorization", "cookie"} & {str(name).lower() for name in request.headers}:
        return "no credential was sent in Authorization; give the call or the session an auth"
    if status == 405 and _METHODS.fullmatch(response.headers.get("allow") or ""):
        return f"use one of the methods {response.headers['allow']}"
    if status >= 500 and request.method not in IDEMPOTENT_METHODS:
        return "find out whether it was processed before you send it again"
    return _ADVICE.get(status) or (
        "report it to the operator of the API" if status >= 500 else "see what the API says about this status"
    )


_GAVE_UP = re.compile(r"\Agave up after \d+ attempts(; )?")
_METHODS = re.compile(r"[A-Z]{1,12}(?:, ?[A-Z]{1,12}){0,12}")
_ADVICE = {
    400: "correct the request; a repeat cannot help",
    401: "check the credential",
    402: "see what the API wants to be paid",
    403: "the credential may not do this; ask for the permission or scope",
    404: "check the URL",
    405: "use another method",
    406: "correct the header Accept",
    408: "call again",
    409: "read the state of the resource, and decide what to send",
    410: "it is gone for good; remove the reference to it",
    412: "read the resource again, as it has changed",
    413: "send less at a time",
    414: "send the parameters in the body",
    415: "correct the header Content-Type",
    422: "correct the request; a repeat cannot help",
    431: "send fewer or shorter headers",
    501: "use another method",
    502: "call again later",
    503: "call again later",
    504: "call again later",
}
