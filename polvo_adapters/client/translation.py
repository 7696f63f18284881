"""From what httpx and the policies raise, and from answers with an error status, to the errors of the client.

Each message says which call it was, what happened, after how many attempts, and which setting there is for it. It shows
no query, no header and no body.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx

from polvo_adapters import errors, headers
from polvo_adapters.client.call_record import CallRecord
from polvo_adapters.client.exceptions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ClientConfigurationError,
    InvalidRequestError,
    MyAPIError,
    NotFoundError,
    PoolTimeoutError,
    ServerError,
    ServerTimeoutError,
    ServiceUnavailableError,
)
from polvo_adapters.core.outcomes import DISCONNECTED, TRUNCATED
from polvo_adapters.core.report import Report
from polvo_adapters.redaction import describe_url
from polvo_adapters.shells.plain_words import LATER, describe_cause

_TRANSLATED = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, errors.PolvoError, ssl.SSLError)
_BELOW = ("h11", "h2", "hpack", "hyperframe", "httpcore", "anyio", "socksio")
"""The packages that httpx is built on, some of whose exceptions it lets through."""

_GAVE_UP = re.compile(r"\Agave up after \d+ attempts(; )?")
_BY_STATUS: dict[int, type[MyAPIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    408: ServerTimeoutError,
    422: InvalidRequestError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServiceUnavailableError,
}
_ADVICE: dict[int, str] = {
    400: "correct the request",
    401: "check the credential",
    403: "the credential may not do this",
    404: "check the URL",
    408: "call again later",
    422: "correct the request",
    429: "send less, or call again later",
}
_ABOVE_TRANSPORTS = (httpx.DecodingError, httpx.TooManyRedirects)
"""What httpx raises of an answer that our transport has returned."""
_BAD_LOCATION = "Invalid URL in location header"
"""How httpx begins the text of an error that it has only this class for."""
_BAD_REDIRECT = "report it to the operator of the API, or set follow_redirects=False"
_TOO_LATE = "call again later, and check whether the service is healthy"


class _Finding(NamedTuple):
    """What an exception means: the class of error, what happened, and what to do."""

    kind: type[MyAPIError]
    what: str
    advice: str = ""
    tells_effort: bool = True


def name_call(error: MyAPIError, record: CallRecord) -> None:
    """Let an error of the client's own, such as that it is closed, say which call it has ended."""
    error.method = error.method or record.method
    error.url = error.url or record.url
    error.host = error.host or record.host
    error.request_id = error.request_id or record.request_id


def is_of_transport(error: Exception) -> bool:
    """Return whether an exception is made an error of the client; what the caller's own code raises is not."""
    return isinstance(error, _TRANSLATED) or type(error).__module__.partition(".")[0] in _BELOW


def error_for_status(status: int) -> type[MyAPIError]:
    """Return the class of error that stands for a status of 400 or above."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)


def translate_response(response: Any, record: CallRecord) -> MyAPIError:
    """Return the error for an answer with a status of 400 or above.

    Args:
        response: The answer; one that is not of httpx, as tests have it, is asked for its status alone.
        record: The call.
    """
    status = response.status_code
    is_answer = isinstance(response, httpx.Response)
    report = response.extensions.get("polvo") if is_answer else None
    delay = _find_delay(response, report) if is_answer else None
    again = f"call again after {delay:g} s" if delay else ""
    advice = again or _ADVICE.get(status, _TOO_LATE if status >= 500 else "see what the API says about this status")
    finding = _Finding(error_for_status(status), _describe_status(status), advice)
    request = getattr(response, "_request", None) if is_answer else None
    return _make(finding, record, report, response=response, request=request, retry_after=delay)


def _describe_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _find_delay(response: httpx.Response, report: Report | None) -> float | None:
    verdict = None if report is None else report.verdict
    if verdict is not None and verdict.retry_after is not None:
        return verdict.retry_after
    return headers.retry_after(response.headers, time.time())


def translate_error(error: BaseException, record: CallRecord) -> MyAPIError:
    """Return the error of the client for an exception of httpx or of a policy.

    Args:
        error: The exception; one of which `is_of_transport` is true.
        record: The call.
    """
    response = getattr(error, "response", None)
    if isinstance(error, httpx.HTTPStatusError) and response is not None and response.status_code >= 400:
        return translate_response(response, record)  # raised by a hook of the caller's
    finding = _find_meaning(error, record)
    report = getattr(error, "polvo", None)
    if report is None and isinstance(error, _ABOVE_TRANSPORTS):
        report = record.report
    known = {name: getattr(error, name, None) for name in ("retry_after", "reason")}
    request = getattr(error, "_request", None)
    return _make(finding, record, report, request=request, response=response, **known)


def find_cause(error: BaseException) -> BaseException | None:
    """Return the exception that tracebacks show above the error of the client: none that quotes a header's value."""
    return None if _breaks_rules(error) else error


def _breaks_rules(error: BaseException) -> bool:
    """Return whether a request breaks the rules of HTTP; of its body, httpx lets the exception of h11 through."""
    return type(error).__name__ == "LocalProtocolError"


def _find_meaning(error: BaseException, record: CallRecord) -> _Finding:
    for kind, explain in _MEANINGS:
        if isinstance(error, kind):
            return explain(error, record)
    return (_explain_request if _breaks_rules(error) else _explain_broken)(error, record)


def _explain_circuit(error: errors.CircuitOpenError, _: CallRecord) -> _Finding:
    delay = "" if error.retry_after is None else f" after {error.retry_after:.3g} s"
    return _Finding(
        CircuitBreakerOpenError,
        "Circuit breaker is OPEN, nothing was sent",
        f"call again{delay}, check whether the service is healthy, or raise CircuitBreakerConfig.failure_threshold or "
        "recovery_timeout",
    )


def _explain_bulkhead(_: BaseException, record: CallRecord) -> _Finding:
    bulkhead = record.config.bulkhead
    return _Finding(
        PoolTimeoutError,
        f"not sent, all {bulkhead.max_concurrency} slots stayed in use for {bulkhead.acquisition_timeout:g} s",
        "raise bulkhead.max_concurrency (BulkheadConfig) or acquisition_timeout, or reduce the load",
    )


def _explain_pool(error: httpx.PoolTimeout, record: CallRecord) -> _Finding:
    seconds = _find_timeout(error, "pool", record)
    return _Finding(
        PoolTimeoutError,
        f"no connection of the pool became free{seconds}",
        "raise TimeoutConfig.pool or bulkhead.max_concurrency, or reduce the load",
    )


def _explain_timeout(error: httpx.TimeoutException, record: CallRecord) -> _Finding:
    phases: dict[type[BaseException], tuple[str, str]] = {
        httpx.ConnectTimeout: ("connect", "no connection"),
        httpx.WriteTimeout: ("write", "the server took nothing more of the request"),
    }
    phase, what = phases.get(type(error), ("read", "no answer"))
    seconds = _find_timeout(error, phase, record)
    return _Finding(
        APITimeoutError, what + seconds, f"raise TimeoutConfig.{phase} where that is too short, or check the service"
    )


def _find_timeout(error: BaseException, phase: str, record: CallRecord) -> str:
    """Return how long was waited, by the timeout of the request, or where it is not known that of the client."""
    timeouts = getattr(getattr(error, "_request", None), "extensions", {}).get("timeout") or {}
    seconds = timeouts.get(phase, getattr(record.config.timeout, phase))
    return "" if seconds is None else f" within {float(seconds):g} s"


def _explain_deadline(_: BaseException, __: CallRecord) -> _Finding:
    return _Finding(APITimeoutError, "the deadline of the call is over", "allow it a longer deadline, or ask for less")


def _explain_connect(error: BaseException, _: CallRecord) -> _Finding:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _Finding(
            APIConnectionError,
            f"the certificate of the server is not trusted ({text})",
            "give ClientConfig.verify_ssl an ssl.SSLContext that trusts its authority",
        )
    return _Finding(
        APIConnectionError,
        f"no connection ({text})" if text else "no connection",
        "check host and port, and the service",
    )


def _explain_broken(error: BaseException, _: CallRecord) -> _Finding:
    return _Finding(APIConnectionError, f"the connection broke ({type(error).__name__})", _TOO_LATE)


def _explain_proxy(_: BaseException, __: CallRecord) -> _Finding:
    return _Finding(APIConnectionError, "the proxy did not connect", "check the proxy, and the credential for it")


def _explain_answer(error: BaseException, record: CallRecord) -> _Finding:
    cause, advice = describe_cause(error, record.host)
    if str(error).startswith(_BAD_LOCATION):
        return _Finding(MyAPIError, cause, _BAD_REDIRECT)
    return _Finding(APIConnectionError, cause, _TOO_LATE if advice == LATER else advice)


def _explain_request(error: BaseException, record: CallRecord) -> _Finding:
    report = getattr(error, "polvo", None)
    if report is not None and report.attempts and report.attempts[-1].failure in (TRUNCATED.name, DISCONNECTED.name):
        return _explain_answer(error, record)  # in HTTP/2, what the server has sent
    if _find_hop(getattr(error, "_request", None), record):
        return _Finding(MyAPIError, f"it is redirected to what cannot be asked ({type(error).__name__})", _BAD_REDIRECT)
    return _Finding(ClientConfigurationError, f"it cannot be sent ({type(error).__name__})", "check URL and headers")


def _explain_setting(error: BaseException, _: CallRecord) -> _Finding:
    return _Finding(ClientConfigurationError, str(error))


def _explain_body(_: BaseException, __: CallRecord) -> _Finding:
    return _Finding(MyAPIError, "its body can be read only once, and was needed again", "pass bytes")


def _explain_decoding(_: BaseException, __: CallRecord) -> _Finding:
    return _Finding(MyAPIError, "the answer cannot be decoded", "report it to the operator of the API")


def _explain_redirects(_: BaseException, __: CallRecord) -> _Finding:
    return _Finding(MyAPIError, "too many redirects", "check the URL, or set follow_redirects=False", False)


def _explain_other(error: BaseException, _: CallRecord) -> _Finding:
    return _Finding(MyAPIError, str(error))


_MEANINGS: tuple[tuple[type[BaseException], Callable[[Any, CallRecord], _Finding]], ...] = (
    (errors.CircuitOpenError, _explain_circuit),
    (errors.PoolTimeoutError, _explain_bulkhead),
    (errors.DeadlineExceeded, _explain_deadline),
    (errors.ConfigurationError, _explain_setting),
    (errors.PolvoError, _explain_other),
    (httpx.PoolTimeout, _explain_pool),
    (httpx.TimeoutException, _explain_timeout),
    (httpx.ConnectError, _explain_connect),
    (httpx.ProxyError, _explain_proxy),
    (httpx.UnsupportedProtocol, _explain_request),
    (httpx.LocalProtocolError, _explain_request),
    (httpx.InvalidURL, _explain_request),
    (httpx.RemoteProtocolError, _explain_answer),
    (httpx.TransportError, _explain_broken),
    (httpx.StreamError, _explain_body),
    (httpx.DecodingError, _explain_decoding),
    (httpx.TooManyRedirects, _explain_redirects),
)


def _make(finding: _Finding, record: CallRecord, report: Report | None, **data: Any) -> MyAPIError:
    attempts = 0 if report is None else len(report.attempts)
    end = _explain_end(record, report)
    effort = _describe_effort(finding.kind, record, report, attempts) if finding.tells_effort else ""
    text = f"{record.method} {record.url}{_find_hop(data['request'], record)}: {finding.what}{effort}"
    text += "".join(f"; {part}" for part in (end, finding.advice) if part)
    return finding.kind(
        text,
        method=record.method,
        url=record.url,
        request_id=record.request_id,
        host=record.host,
        attempts=attempts,
        report=report,
        **data,
    )


def _find_hop(request: httpx.Request | None, record: CallRecord) -> str:
    """Return where the call has ended, with an arrow, if not where it began: redirects and auth objects lead away."""
    try:
        place = "" if request is None else describe_url(str(request.url))
        return "" if place in ("", describe_url(str(httpx.URL(record.target)))) else f" → {place}"
    except httpx.InvalidURL:
        return ""


def _describe_effort(kind: type[MyAPIError], record: CallRecord, report: Report | None, attempts: int) -> str:
    if report is None or not attempts:
        return ""
    most = record.config.retry.max_attempts
    is_used_up = attempts >= most and (issubclass(kind, APIConnectionError) or _GAVE_UP.match(report.note))
    limit = f" (RetryConfig.max_attempts={most})" if is_used_up else ""
    return f" after {attempts} attempt{'' if attempts == 1 else 's'} in {report.elapsed:.3g} s{limit}"


def _explain_end(record: CallRecord, report: Report | None) -> str:
    """Return why the call was not repeated, in the words of the settings of the client."""
    note = "" if report is None else _GAVE_UP.sub("", report.note)
    if note.startswith(f"{record.method} is not repeated: the server may"):
        return "not sent again, as the server may have processed it, and RetryConfig.retry_non_idempotent is False"
    note = note.replace("pass bytes or a seekable file", "pass bytes")  # httpx does not say whether a stream can seek
    return note.replace("retry_after_cap", "RetryConfig.max_wait_seconds")
