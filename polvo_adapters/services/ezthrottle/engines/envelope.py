"""The calls of the hosted service, as operations: the one envelope on the wire, and what an answer means.

    POST {tracktags_url}/api/v1/proxy, with the API key as bearer token

    {"scope": "customer", "metric_name": "", "target_url": "{ezthrottle_url}/api/v1/jobs", "method": "POST",
     "headers": {"Content-Type": "application/json"}, "body": "the job, as JSON text"}

The answer has the answer of the target in it: {"status": "allowed", "forwarded_response": {"status_code": 201, "body":
"JSON text"}}. Both are taken from the network, and nothing of them is trusted: whatever has another form is an
EZThrottleError. `polvo_adapters.services.double_o.effects` says how operations work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.client import responses
from typing import Any

from polvo_adapters import headers
from polvo_adapters.core.answer import Answer
from polvo_adapters.redaction import mask_secret
from polvo_adapters.services.double_o.effects import NO_JSON, ServiceOperation, ServiceRequest, ServiceResponse
from polvo_adapters.services.ezthrottle.checks import EARLIEST_MILLISECONDS
from polvo_adapters.services.ezthrottle.errors import (
    AuthenticationError,
    DuplicateJobError,
    EZThrottleError,
    InDoubtError,
    QuotaExceededError,
    RateLimitError,
)

PATH = "/api/v1/proxy"
JOBS, SECRETS = "/api/v1/jobs", "/api/v1/webhook-secrets"
KEY_IN_DOUBT = "the job may have been accepted: submit it again with the same key, or the same URL, method and body"

_LONGEST_TEXT = 200
_LONGEST_ID = 512
_NEVER_SENT = frozenset({"no connection", "connect timeout", "not sent"})
_REPEATED = (429, 500, 502, 503, 504)
_ERRORS: dict[int, tuple[type[EZThrottleError], str]] = {
    401: (AuthenticationError, "the API key is not accepted; look at EZTHROTTLE_API_KEY, or api_key="),
    402: (QuotaExceededError, "the plan is used up"),
    403: (AuthenticationError, "the API key may not do this; look at EZTHROTTLE_API_KEY, or api_key="),
    409: (DuplicateJobError, "the service has a job with this key, or the same URL, method and body"),
    429: (RateLimitError, "the service accepts no more for the moment"),
}


class Envelope:
    """Makes the operations of one account.

    Args:
        api_key: The API key.
        ezthrottle_url: Address of the service behind the proxy, which goes into the envelope.
        now: Returns the Unix time, for a Retry-After that is a date.
    """

    def __init__(self, api_key: str, ezthrottle_url: str, now: Callable[[], float]) -> None:
        self._api_key, self._url, self._now = api_key, ezthrottle_url, now

    def submit(self, job: Mapping[str, Any]) -> ServiceOperation[dict[str, Any]]:
        """Submit a job, and return what the service says of it, with `job_id` and `status`."""
        answer, response = yield from self._relay("POST", JOBS, job)
        if not isinstance(answer, dict):
            raise _make_error(EZThrottleError, response, "the answer about the job is no JSON object")
        job_id = answer.get("job_id")
        if job_id is None and answer.get("status") == "duplicate":
            raise _make_status_error(response, 409, answer, None)
        if not isinstance(job_id, str) or not 0 < len(job_id) <= _LONGEST_ID:
            raise _make_error(EZThrottleError, response, f"the answer has no job_id; {KEY_IN_DOUBT}")
        status = answer.get("status", "queued")
        if not isinstance(status, str):
            raise _make_error(EZThrottleError, response, "the status of the job is no text")
        if status == "duplicate":  # as every engine tells it
            return {**answer, "job_id": job_id, "status": "queued", "duplicate": True}
        return {**answer, "job_id": job_id, "status": status}

    def create_secret(self, primary: str, secondary: str | None) -> ServiceOperation[dict[str, Any]]:
        """Set the secrets that webhooks are signed with."""
        body = {"primary_secret": primary}
        if secondary is not None:
            body["secondary_secret"] = secondary
        return (yield from self._relay_object("POST", SECRETS, body))

    def get_secret(self) -> ServiceOperation[dict[str, Any]]:
        """Return the secrets as the service shows them, which is without their middle."""
        return (yield from self._relay_object("GET", SECRETS, None))

    def delete_secret(self) -> ServiceOperation[dict[str, Any]]:
        """Remove the secrets; webhooks are not signed any more."""
        return (yield from self._relay_object("DELETE", SECRETS, None))

    def _relay_object(self, method: str, path: str, body: Any) -> ServiceOperation[dict[str, Any]]:
        answer, response = yield from self._relay(method, path, body)
        if not isinstance(answer, dict):
            raise _make_error(EZThrottleError, response, "the answer is no JSON object")
        return answer

    def _relay(self, method: str, path: str, body: Any) -> ServiceOperation[tuple[Any, ServiceResponse]]:
        """Send an envelope, and return the JSON value of the inner answer, with the outer one."""
        envelope = {
            "scope": "customer",
            "metric_name": "",
            "target_url": self._url + path,
            "method": method,
            "headers": {} if body is None else {"Content-Type": "application/json"},
            "body": "" if body is None else json.dumps(body),
        }
        fields = {"Content-Type": "application/json"}
        request = ServiceRequest("POST", PATH, self._api_key, fields, body=json.dumps(envelope).encode())
        response: ServiceResponse = yield request
        outer = _read_outer(response)
        if outer.get("status") != "allowed":
            reason = _quote(outer.get("error") or outer.get("message") or "no reason is given")
            raise _make_error(EZThrottleError, response, f"the request is denied: {reason}", reason="denied")
        return _read_inner(outer.get("forwarded_response"), response, self._now()), response


def _read_outer(response: ServiceResponse) -> dict[str, Any]:
    """Return the answer of the proxy, or raise the error that it is."""
    if response.problem:
        if response.reason in _NEVER_SENT:
            raise _make_error(EZThrottleError, response, response.problem, reason=response.reason)
        if response.attempts == 0:  # a policy of the caller's did not let it through
            raise _make_error(EZThrottleError, response, response.problem, reason="not sent")
        raise _make_error(InDoubtError, response, f"{response.problem}; {KEY_IN_DOUBT}", reason=response.reason)
    outer = response.json()
    if not response.is_success:
        raise _make_status_error(response, response.status, outer, response.retry_after)
    if not isinstance(outer, dict):
        what = "no JSON" if outer is NO_JSON else "no JSON object"
        raise _make_error(EZThrottleError, response, f"the response is {what}; look whether tracktags_url is right")
    return outer


def _read_inner(inner: Any, response: ServiceResponse, now: float) -> Any:
    """Return the JSON value of the answer in the answer, or raise the error that it is."""
    status = inner.get("status_code") if isinstance(inner, dict) else None
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        raise _make_error(EZThrottleError, response, "the answer holds no answer of EZThrottle")
    text, fields = inner.get("body"), inner.get("headers")
    value = _parse(text)
    if not 200 <= status < 300:
        wait = headers.retry_after(_plain_headers(fields), now) if isinstance(fields, dict) else None
        raise _make_status_error(response, status, value, wait)
    if value is NO_JSON:
        raise _make_error(EZThrottleError, response, "the answer of EZThrottle is empty, or no JSON")
    return value


def _parse(text: Any) -> Any:
    if isinstance(text, (dict, list)):
        return text
    try:
        return json.loads(text) if isinstance(text, str) else NO_JSON
    except (ValueError, RecursionError):
        return NO_JSON


def _plain_headers(fields: dict[Any, Any]) -> dict[str, str]:
    """Return headers as the rest of the library looks them up; JSON may have a number for Retry-After."""
    return {str(name).lower(): str(value) for name, value in fields.items() if isinstance(value, (str, int, float))}


def _make_status_error(
    response: ServiceResponse, status: int, value: Any, retry_after: float | None
) -> EZThrottleError:
    kind, advice = _ERRORS.get(status, (EZThrottleError, ""))
    retry_at = value.get("retry_at") if isinstance(value, dict) else None
    if isinstance(retry_at, bool) or not isinstance(retry_at, int) or not EARLIEST_MILLISECONDS <= retry_at < 1 << 53:
        retry_at = None
    phrase = f"{status} {responses.get(status, '')}".rstrip()
    if response.attempts > 1:
        phrase += f" after {response.attempts} attempts"
    detail = _find_detail(value)
    text = "; ".join(part for part in (phrase, advice, detail) if part)
    if 300 <= status < 400:
        text += "; it is not followed: give the address that it leads to as tracktags_url"
    error = _make_error(kind, response, text, reason=f"status {status}", retry_at=retry_at)
    error.retry_after = retry_after
    return error


def _find_detail(value: Any) -> str:
    found = value.get("error") or value.get("message") if isinstance(value, dict) else None
    return _quote(found) if isinstance(found, str) else ""


def _quote(value: Any) -> str:
    """Return text of the service as one short line; the API key is taken out where the error is made."""
    text = value if isinstance(value, str) else "no text"
    return "".join(character if character.isprintable() else " " for character in text)


def _make_error(
    kind: type[EZThrottleError],
    response: ServiceResponse,
    problem: str,
    *,
    reason: str = "not as promised",
    retry_at: int | None = None,
) -> EZThrottleError:
    return kind(
        f"{response.host}: {problem}",
        retry_at=retry_at,
        response=response.response,
        host=response.host,
        attempts=response.attempts,
        retry_after=response.retry_after,
        reason=reason,
    )


def wants_repeat(answer: Answer) -> bool | None:
    """Return True where the service behind the proxy has failed, or accepts nothing for the moment.

    Where it says how long, the caller is told instead: the wait may be longer than a submission may take.
    """
    outer = answer.json()
    inner = outer.get("forwarded_response") if isinstance(outer, dict) else None
    if not isinstance(inner, dict) or inner.get("status_code") not in _REPEATED:
        return None
    fields = inner.get("headers")
    is_told = isinstance(fields, dict) and any(str(name).lower() == "retry-after" for name in fields)
    return None if is_told else True


def hide(error: EZThrottleError, api_key: str) -> EZThrottleError:
    """Return the error without the API key in its text, which is shortened."""
    texts = []
    for text in error.args:
        shown = mask_secret(str(text), api_key, "[api key]")
        texts.append(shown if len(shown) <= 3 * _LONGEST_TEXT else shown[: 3 * _LONGEST_TEXT] + "…")
    error.args = tuple(texts)
    return error
