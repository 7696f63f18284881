"""The errors for replies: what the server says, by the names of this service, and without the credential.

An error has a copy of the response without its request. What is secret in a call (the credential that went along, and
the secrets of its body) shows nowhere, though the server may send it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import responses
from typing import Any

import requests

from polvo_adapters.redaction import mask_secret
from polvo_adapters.services.json_problems import describe_no_json
from polvo_adapters.services.taruvi.errors import (
    AuthenticationError,
    BillingError,
    ConfigurationError,
    ConnectionError,  # noqa: A004 - the name of the published client
    NetworkError,
    NotAuthenticatedError,
    RateLimitError,
    ResponseError,
    TaruviError,
    TimeoutError,  # noqa: A004 - as above
    error_for_status,
)
from polvo_adapters.services.taruvi.operations import Call, Reply

_LONGEST_MESSAGE, _LONGEST_EXCERPT = 500, 500
_MOST_EXAMINED = 1 << 20  # bytes of a body whose beginning is told
_MOST_DEPTH = 50
_NO_JSON: Any = object()
_HIDDEN = "[credential]"
_SIGN_IN = "sign in with client.auth.signInWithPassword() or client.auth.signInWithToken()"
_ENVELOPE = ("message", "detail", "error", "code", "module", "status", "success", "data")
_BILLING = {"account_suspended": False, "product_suspended": False, "gate_unavailable": True}
_FAILURES: dict[str, type[TaruviError]] = {
    "timeout": TimeoutError,
    "connection": ConnectionError,
    "response": ResponseError,
    "argument": ConfigurationError,
    "rate limit": RateLimitError,
}
_ADVICE = {
    401: "the credential is not accepted: sign in again",
    403: "the credential may not do this",
    404: "look at the app slug and the name",
    405: "the server knows no such call: look whether wire= is that of the server",
}


def make_error(call: Call, reply: Reply) -> TaruviError:
    """Return the error for a reply that is no success."""
    if reply.problem:
        return _make_failure(call, reply)
    value = _parse(reply.body)
    said = value if isinstance(value, dict) else {}
    code = said.get("code") if isinstance(said.get("code"), str) else None
    kind, advice = _choose(call, reply, code)
    error = kind(
        _find_message(said, reply),
        status_code=reply.status,
        details=_find_details(said, reply),
        code=None if code is None else _shorten(_hide(code, reply)),
        advice=advice,
        response=show_response(call, reply),
        retry_after=reply.retry_after,
        reason=f"status {reply.status}",
        **_locate(call, reply),
    )
    if isinstance(error, BillingError):
        error.module = said["module"] if isinstance(said.get("module"), str) else None
        error.retryable = _BILLING[str(code)]
    return error


def make_response_error(call: Call, reply: Reply, problem: str) -> ResponseError:
    """Return the error for a success whose body is not as promised."""
    return ResponseError(
        problem,
        status_code=reply.status,
        details={"status_code": reply.status, "content": _excerpt(reply)},
        advice="look whether api_url is that of Taruvi",
        response=show_response(call, reply),
        reason="not as promised",
        **_locate(call, reply),
    )


def parse(call: Call, reply: Reply) -> Any:
    """Return the JSON value in the body of a reply.

    Raises:
        ResponseError: It has none.
    """
    value = _parse(reply.body)
    if value is _NO_JSON:
        raise make_response_error(call, reply, f"the answer is {describe_no_json(reply.kind)}")
    return value


def show_response(call: Call, reply: Reply) -> requests.Response:
    """Return the response as an error may carry it: without request and credential, its body only if it is an error."""
    shown = requests.Response()
    shown.status_code, shown.reason = reply.status, responses.get(reply.status, "")
    shown.url = f"{reply.host}{call.path}"
    for name, value in reply.headers.items():
        if name.lower() not in ("set-cookie", "authorization"):
            shown.headers[name] = _hide(value, reply)
    body = reply.body if reply.status >= 400 else b""
    for secret in reply.secrets:
        body = mask_secret(body, secret, _HIDDEN)
    shown._content = body
    shown._content_consumed = True
    return shown


def _choose(call: Call, reply: Reply, code: str | None) -> tuple[type[TaruviError], str]:
    """Return the class of the error for a status, and what to do."""
    if code in _BILLING:
        return BillingError, "look at the plan of the site"
    if reply.status == 401 and not reply.is_authenticated:
        return (AuthenticationError, "") if call.anonymous else (NotAuthenticatedError, _SIGN_IN)
    advice = _ADVICE.get(reply.status, "")
    if reply.retry_after is not None:
        advice = f"call again after {reply.retry_after:g} s"
    elif 300 <= reply.status < 400:
        advice = "it is not followed, because the call would become another one: look at api_url"
    return error_for_status(reply.status), advice


def _make_failure(call: Call, reply: Reply) -> TaruviError:
    """Return the error for a reply without a response; the status is that of a login."""
    kind, place = _FAILURES.get(reply.reason, NetworkError), _locate(call, reply)
    if reply.reason == "login":
        kind = AuthenticationError if reply.status in (400, 401, 403) else error_for_status(reply.status)
    return kind(
        _hide(reply.problem, reply).removeprefix(f"{place['where']}: "),
        status_code=reply.status or None,
        retry_after=reply.retry_after,
        reason=reply.reason,
        **place,
    )


def _locate(call: Call, reply: Reply) -> dict[str, Any]:
    return {"where": f"{call.method} {reply.host}{call.path}", "host": reply.host, "attempts": reply.attempts}


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NO_JSON


def _find_message(said: Mapping[str, Any], reply: Reply) -> str:
    for name in ("message", "detail", "error", "errors", "non_field_errors"):
        text = _find_text(said.get(name))
        if text:
            return _shorten(_hide(text, reply))
    return responses.get(reply.status, f"status {reply.status}")


def _find_text(value: Any) -> str:
    """Return a text that stands for itself, in an object as its message, or at the beginning of a list."""
    if isinstance(value, list):
        value = next(iter(value), None)
    if isinstance(value, dict):
        value = value.get("message")
    return value if isinstance(value, str) and value.strip() else ""


def _find_details(said: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Return what the server says in detail: "details", "errors", or all that is no part of the envelope."""
    for name in ("details", "errors"):
        if said.get(name):
            value = _hide_in(said[name], reply)
            return value if isinstance(value, dict) else {name: value}
    if said:
        hidden: dict[str, Any] = _hide_in({name: said[name] for name in said if name not in _ENVELOPE}, reply)
        return hidden
    beginning = _excerpt(reply)
    return {"content": beginning} if beginning else {}


def _hide_in(value: Any, reply: Reply, depth: int = _MOST_DEPTH) -> Any:
    """Return a JSON value without what is secret in any of its texts, and without what is nested too deep to write."""
    if isinstance(value, str):
        return _hide(value, reply)
    if isinstance(value, (dict, list)) and depth == 0:
        return "…"
    if isinstance(value, dict):
        return {_hide(name, reply): _hide_in(each, reply, depth - 1) for name, each in value.items()}
    return [_hide_in(each, reply, depth - 1) for each in value] if isinstance(value, list) else value


def _excerpt(reply: Reply) -> str:
    """Return the beginning of the body of a reply, without what is secret."""
    return _hide(reply.body[:_MOST_EXAMINED].decode("utf-8", "replace"), reply)[:_LONGEST_EXCERPT]


def _hide(text: str, reply: Reply) -> str:
    for secret in reply.secrets:
        text = mask_secret(text, secret, _HIDDEN)
    return text


def _shorten(text: str) -> str:
    """Return text of the server as one line of bounded length."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"


__all__ = ["make_error", "make_response_error", "parse", "show_response"]
