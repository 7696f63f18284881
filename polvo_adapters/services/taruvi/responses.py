"""What the answers of Taruvi mean: JSON of the promised form, or an error with what the server says.

Answers are envelopes: {"status", "message", "data", "total"}. Errors are {"message" or "detail", "details" or "errors",
"code", "module"}. Nothing that a server sends raises anything but an error of this service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import responses
from typing import Any

import requests

from polvo_adapters.services.taruvi.errors import (
    AuthenticationError,
    BillingError,
    ConfigurationError,
    ConnectionError,  # noqa: A004 - the name of the published client
    NetworkError,
    NotAuthenticatedError,
    ResponseError,
    TaruviError,
    TimeoutError,  # noqa: A004 - as above
    error_for_status,
)
from polvo_adapters.services.taruvi.operations import Call, Operation, Reply

_LONGEST_MESSAGE, _LONGEST_EXCERPT = 500, 500
_MOST_MOVES = 5
_NO_JSON: Any = object()
_HIDDEN = "[credential]"
_SIGN_IN = "sign in with client.auth.signInWithPassword() or client.auth.signInWithToken()"
_ENVELOPE = ("message", "detail", "error", "code", "module", "status", "success", "data")
_BILLING = {"account_suspended": False, "product_suspended": False, "gate_unavailable": True}
_NETWORK: dict[str, type[NetworkError]] = {"timeout": TimeoutError, "connection": ConnectionError}
_ADVICE = {
    401: "the credential is not accepted: sign in again",
    403: "the credential may not do this",
    404: "look at the app slug and the name",
    405: "the server knows no such call: look whether wire= is that of the server",
}


def fetch(call: Call) -> Operation[Reply]:
    """Return the reply to a call that was a success.

    Raises:
        TaruviError: It was none.
    """
    reply: Reply = yield call
    for _ in range(_MOST_MOVES):
        if not reply.moved:
            break
        call = call._replace(path=reply.moved, params=())
        reply = yield call
    if not reply.is_success:
        raise make_error(call, reply)
    return reply


def fetch_json(call: Call) -> Operation[Any]:
    """Return the JSON value of the answer to a call; an empty dict where the answer is empty, as with status 204.

    Raises:
        TaruviError: There was no success, or the answer is no JSON.
    """
    reply = yield from fetch(call)
    value = _parse(reply.body) if reply.body.strip() else {}
    if value is _NO_JSON:
        raise _unreadable(call, reply, f"the answer is no JSON, but {reply.kind or 'of no named type'}")
    return value


def fetch_envelope(call: Call) -> Operation[dict[str, Any]]:
    """Return the answer to a call, which is an object; raises as `fetch_json`."""
    value = yield from fetch_json(call)
    if isinstance(value, list):
        return {"data": value, "total": len(value)}
    if not isinstance(value, dict):
        raise ResponseError(
            f"the answer is {type(value).__name__}, and not an object", where=_locate(call, ""), reason="form"
        )
    return value


def fetch_list(call: Call) -> Operation[dict[str, Any]]:
    """Return the answer to a call for a list: its items are in "data" and in "results"."""
    envelope = yield from fetch_envelope(call)
    items = find_items(envelope)
    return envelope if items is None else {**envelope, "data": items, "results": items}


def fetch_object(call: Call) -> Operation[dict[str, Any]]:
    """Return the answer to a call for one object: its fields beside those of the envelope, and in "data"."""
    envelope = yield from fetch_envelope(call)
    data = envelope.get("data")
    return {**envelope, **data, "data": data} if isinstance(data, dict) else envelope


def fetch_data(call: Call) -> Operation[Any]:
    """Return what is in the envelope, or the answer itself where it has none."""
    value = yield from fetch_json(call)
    return value["data"] if isinstance(value, dict) and "data" in value else value


def find_items(envelope: Mapping[str, Any]) -> list[Any] | None:
    """Return the list of an envelope, or None where there is none."""
    for name in ("data", "results"):
        items = envelope.get(name)
        if isinstance(items, dict):
            items = items.get("results")
        if isinstance(items, list):
            return items
    return None


def make_error(call: Call, reply: Reply) -> TaruviError:
    """Return the error for a reply that is no success."""
    if reply.problem:
        return _make_failure(call, reply)
    value = _parse(reply.body)
    said = value if isinstance(value, dict) else {}
    message = _find_message(said, reply)
    code = said.get("code") if isinstance(said.get("code"), str) else None
    kind = error_for_status(reply.status)
    advice = _ADVICE.get(reply.status, "")
    if code in _BILLING:
        kind, advice = BillingError, "look at the plan of the site"
    elif reply.status == 401 and not reply.is_authenticated:
        kind, advice = NotAuthenticatedError, _SIGN_IN
    elif reply.retry_after is not None:
        advice = f"call again after {reply.retry_after:g} s"
    elif 300 <= reply.status < 400:
        advice = "it is not followed, because the call would become another one: look at api_url"
    error = kind(
        message,
        status_code=reply.status,
        details=_find_details(said, reply),
        code=code,
        where=_locate(call, reply.host),
        advice=advice,
        response=show_response(call, reply),
        host=reply.host,
        attempts=reply.attempts,
        retry_after=reply.retry_after,
        reason=code or f"status {reply.status}",
    )
    if isinstance(error, BillingError):
        error.module = said["module"] if isinstance(said.get("module"), str) else None
        error.retryable = _BILLING[str(code)]
    return error


def _make_failure(call: Call, reply: Reply) -> TaruviError:
    kind: type[TaruviError] = _NETWORK.get(reply.reason, NetworkError)
    status = None
    if reply.reason == "login":
        kind, status = AuthenticationError, 401
    elif reply.reason == "answer":
        kind = ResponseError
    elif reply.reason == "argument":
        kind = ConfigurationError
    return kind(
        reply.problem,
        status_code=status,
        where=_locate(call, reply.host),
        host=reply.host,
        attempts=reply.attempts,
        retry_after=reply.retry_after,
        reason=reply.reason,
    )


def _unreadable(call: Call, reply: Reply, problem: str) -> ResponseError:
    return ResponseError(
        problem,
        status_code=reply.status,
        details={"status_code": reply.status, "content": _excerpt(reply)},
        where=_locate(call, reply.host),
        advice="look whether api_url is that of Taruvi",
        response=show_response(call, reply),
        host=reply.host,
        attempts=reply.attempts,
        reason="not as promised",
    )


def show_response(call: Call, reply: Reply) -> requests.Response:
    """Return the response as an error may carry it: without request and credential, its body only if it is an error."""
    shown = requests.Response()
    shown.status_code, shown.reason = reply.status, responses.get(reply.status, "")
    shown.url = f"{reply.host}{call.path}"
    for name, value in reply.headers.items():
        if name.lower() not in ("set-cookie", "authorization"):
            shown.headers[name] = _hide(value, reply)
    body = reply.body if reply.status >= 400 else b""
    shown._content = body.replace(reply.secret.encode(), _HIDDEN.encode()) if reply.secret else body
    shown._content_consumed = True
    return shown


def _locate(call: Call, host: str) -> str:
    return f"{call.method} {host}{call.path}"


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
        fields = {name: value for name, value in said.items() if name not in _ENVELOPE}
        hidden: dict[str, Any] = _hide_in(fields, reply)
        return hidden
    beginning = _excerpt(reply)
    return {"content": beginning} if beginning else {}


def _hide_in(value: Any, reply: Reply) -> Any:
    return json.loads(_hide(json.dumps(value), reply))


def _excerpt(reply: Reply) -> str:
    """Return the beginning of the body of a reply, without the credential."""
    return _hide(reply.body[: 4 * _LONGEST_EXCERPT].decode("utf-8", "replace"), reply)[:_LONGEST_EXCERPT]


def _hide(text: str, reply: Reply) -> str:
    return text.replace(reply.secret, _HIDDEN) if reply.secret else text


def _shorten(text: str) -> str:
    """Return text of the server as one line of bounded length."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"


__all__ = [
    "fetch",
    "fetch_data",
    "fetch_envelope",
    "fetch_json",
    "fetch_list",
    "fetch_object",
    "find_items",
    "make_error",
    "show_response",
]
