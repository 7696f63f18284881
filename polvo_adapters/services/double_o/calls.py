"""The calls of Double-O: paths, bodies, and what a response means.

    call                           request                                      result
    -----------------------------  -------------------------------------------  -----------------------------
    get_secret                     GET  /api/secret                             "value" of the response
    get_env, load_env, export_env  GET  /api/env                                "secrets" of the response
    proxy                          any  /api/proxy/<path>, payload as JSON      the response; None where it is empty
    check_health                   GET  /health, without the token              True

A response with status 200 may be an error nonetheless: {"error": text}. The calls through the proxy return such a
response as it is, because it may come from the service behind the proxy. Wrong arguments raise before anything is sent.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.client import responses
from typing import Any

from polvo_adapters.core.durations import format_seconds
from polvo_adapters.redaction import mask_secret
from polvo_adapters.services.double_o import checks, env_files
from polvo_adapters.services.double_o.effects import (
    NO_JSON,
    CachedFetch,
    FileWork,
    ServiceOperation,
    ServiceRequest,
    ServiceResponse,
)
from polvo_adapters.services.double_o.errors import (
    ArgumentError,
    AuthenticationError,
    DoubleOError,
    EnvError,
    ProxyError,
    SecretError,
    TokenError,
)
from polvo_adapters.services.json_problems import describe_no_json, find_json_problem
from polvo_adapters.shells.server_words import describe_failure
from polvo_adapters.stores import file_trust

_ABOUT_THE_TOKEN = re.compile(r"\b(tokens?|auth|unauth\w*|authenticat\w*|authoriz\w*|authoris\w*)\b", re.IGNORECASE)
_LONGEST_TEXT = 200
_PROXY = "/api/proxy"
_ADVICE = {
    400: "correct the request; a repeat cannot help",
    403: "the token may not do this",
    404: "look whether the token is that of a secret or environment, and base_url that of Double-O",
    429: "call less often",
}
_METHOD = re.compile(r"[A-Za-z]{1,20}")


def get_secret(token: str, ttl: float | None) -> ServiceOperation[Any]:
    """Return the value of a secret.

    Args:
        token: Its token.
        ttl: Seconds for which a fetched value may be used again; None to fetch it.
    """
    return (yield from _get_cached("secret", token, ttl, SecretError))


def get_env(token: str, ttl: float | None) -> ServiceOperation[dict[str, Any]]:
    """Return the variables of an environment; arguments as for `get_secret`."""
    variables: dict[str, Any] = yield from _get_cached("env", token, ttl, EnvError)
    return variables


def load_env(token: str, ttl: float | None) -> ServiceOperation[dict[str, str]]:
    """Set the variables of an environment in this process, all or none; arguments as for `get_secret`."""
    variables = yield from get_env(token, ttl)
    _require_usable(variables)
    env_files.set_variables(variables)
    return variables


def export_env(
    token: str, path: str | os.PathLike[str], overwrite: bool, ttl: float | None
) -> ServiceOperation[dict[str, str]]:
    """Write the variables of an environment to a file; arguments as for `Client.export_env`."""
    place = os.fspath(path)
    _require_file(place)
    variables = yield from get_env(token, ttl)
    _require_usable(variables, file=True)
    _require_file(place)
    problem: str = yield FileWork(partial(_write_file, place, env_files.format_lines(variables), append=not overwrite))
    if problem:
        raise EnvError(f"{problem}; nothing was written", reason="path")
    return variables


def proxy(
    path: str,
    token: str,
    method: str = "POST",
    payload: Any = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
) -> ServiceOperation[Any]:
    """Return the response of the service behind the proxy; arguments as for `Client.proxy`."""
    _require_token(token)
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise ArgumentError("proxy: method must be the name of an HTTP method; nothing was sent")
    below = path[1:] if isinstance(path, str) and path.startswith("/") else path
    _require_argument("path", checks.check_path(below))
    _require_argument("headers", checks.check_headers({} if headers is None else headers))
    fields = {} if headers is None else dict(headers)
    if not any(name.lower() == "content-type" for name in fields):
        fields["Content-Type"] = "application/json"
    request = ServiceRequest(method.upper(), f"{_PROXY}/{below}", token, fields, params or {}, _encode_payload(payload))
    response = yield from _send(ProxyError, request)
    if not response.body:
        return None
    value = response.json()
    if value is NO_JSON:
        problem = f"the response is {describe_no_json(_shorten(response.kind))}"
        raise _make_error(ProxyError, request, response, problem, "not as promised")
    return value


def describe_chat(messages: Sequence[Any], model: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the payload of the proxied call for the next message of a conversation."""
    return "v1/chat/completions", {"model": model, "messages": messages, **fields}


def describe_embeddings(texts: Sequence[str], model: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the payload of the proxied call for embeddings of texts."""
    return "v1/embeddings", {"model": model, "input": texts, **fields}


def describe_image(prompt: str, model: str, n: int, size: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the payload of the proxied call for images."""
    return "v1/images/generations", {"model": model, "prompt": prompt, "n": n, "size": size, **fields}


def check_health() -> ServiceOperation[bool]:
    """Return True if the server is well, otherwise raise ProxyError."""
    yield from _send(ProxyError, ServiceRequest("GET", "/health"))
    return True


def _get_cached(kind: str, token: str, ttl: float | None, error: type[DoubleOError]) -> ServiceOperation[Any]:
    """Return a value from the cache, or fetch it."""
    _require_token(token)
    if ttl is None:
        return (yield from _fetch(kind, token, error))
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or math.isnan(ttl):
        raise ArgumentError(f"cache_ttl={ttl!r}: cache_ttl must be a number of seconds, or None; nothing was sent")
    value = yield CachedFetch(kind, token, ttl, lambda: _fetch(kind, token, error))
    if isinstance(value, ServiceResponse):
        raise _make_status_error(error, ServiceRequest("GET", f"/api/{kind}", token), value)
    return value


def _fetch(kind: str, token: str, error: type[DoubleOError]) -> ServiceOperation[Any]:
    request = ServiceRequest("GET", f"/api/{kind}", token)
    response = yield from _send(error, request)
    body = response.json()
    if isinstance(body, dict):
        if kind == "secret" and "value" in body:
            return body["value"]
        if kind == "env" and isinstance(body.get("secrets"), dict):
            return body["secrets"]
        if "error" in body:
            raise _make_refusal(error, request, response, body["error"])
    what = "no JSON" if body is NO_JSON else f"not of the form that {request.path} promises"
    problem = f"the response is {what}; look whether base_url is that of Double-O"
    raise _make_error(error, request, response, problem, "not as promised")


def _send(error: type[DoubleOError], request: ServiceRequest) -> ServiceOperation[ServiceResponse]:
    """Return a response with a status of 200 to 299, or raise the error."""
    response: ServiceResponse = yield request
    if not response.is_success:
        raise _make_status_error(error, request, response)
    return response


def _make_status_error(error: type[DoubleOError], request: ServiceRequest, response: ServiceResponse) -> DoubleOError:
    """Return the error for a call without a response, or with another status than 200 to 299."""
    if response.problem:
        return _make_error(error, request, response, response.problem, response.reason)
    status, advice = response.status, ""
    if status == 401 and request.token:
        error, advice = AuthenticationError, "; the token is not accepted: look whether it is the right one"
    elif response.retry_after is not None:
        advice = f"; call again after {format_seconds(response.retry_after, 6)} s"
    elif 300 <= status < 400:
        advice = "; it is not followed: give the address that it leads to as base_url"
    elif status == 404 and request.path.startswith(_PROXY):
        advice = "; look at the path"
    elif status in _ADVICE or status >= 500:
        advice = f"; {_ADVICE.get(status, 'call again later')}"
    said = "" if request.path.startswith(_PROXY) else _quote(response, request.token)
    phrase = f"{status} {responses.get(status, '')}".rstrip()
    tries = f" after {response.attempts} attempts" if response.attempts > 1 else ""
    return _make_error(error, request, response, phrase + tries + said + advice, f"status {status}")


def _quote(response: ServiceResponse, token: str) -> str:
    """Return what the server says about its error, unless it has something of the token in it."""
    code, text = describe_failure(response.json(), (token,) if token else ())
    said = text or code
    return f'; the server says "{said}"' if said and said != "error" else ""


def _make_refusal(
    error: type[DoubleOError], request: ServiceRequest, response: ServiceResponse, detail: object
) -> DoubleOError:
    """Return the error for a response with status 200 whose body is an error."""
    if isinstance(detail, dict):
        detail = next((detail[key] for key in ("message", "detail", "code") if isinstance(detail.get(key), str)), None)
    if not isinstance(detail, str):
        return _make_error(error, request, response, "an error without a text", "refused")
    kind = AuthenticationError if _ABOUT_THE_TOKEN.search(detail) else error
    return _make_error(kind, request, response, _shorten(mask_secret(detail, request.token, "[token]")), "refused")


def _make_error(
    kind: type[DoubleOError], request: ServiceRequest, response: ServiceResponse, problem: str, reason: str
) -> DoubleOError:
    # What is proxied may hold a key of the service behind the proxy.
    path = _PROXY if request.path.startswith(_PROXY) else request.path
    return kind(
        f"{request.method} {response.host}{path}: {problem}",
        response=response.response,
        host=response.host,
        attempts=response.attempts,
        retry_after=response.retry_after,
        reason=reason,
    )


def _shorten(text: str) -> str:
    """Return text of the server as one short line."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "…"


def _require_token(token: object) -> None:
    problem = checks.check_token(token)
    if problem:
        raise TokenError(f"the token cannot be sent: {problem}; nothing was sent", reason="token")


def _require_argument(name: str, problem: str) -> None:
    if problem:
        raise ArgumentError(f"{name}: {problem}; nothing was sent", reason=name)


def _encode_payload(payload: Any) -> bytes | None:
    if not payload:
        return None
    with suppress(TypeError, ValueError, RecursionError):  # their text may show what is in the payload
        return json.dumps(payload, allow_nan=False).encode()
    problem = find_json_problem(payload)
    raise ArgumentError(f"payload: it cannot be written as JSON: {problem}; nothing was sent", reason="payload")


def _require_file(path: str) -> None:
    problem = "it is a symbolic link, and none is followed; name the file itself" if os.path.islink(path) else ""
    if os.path.isdir(path):
        problem = "it is a directory; name a file"
    if problem:
        raise EnvError(f"{path}: {problem}; nothing was written", reason="path")


def _write_file(path: str, text: str, append: bool) -> str:
    """Write a file, and return the reason that it is left as it is, or an empty string."""
    try:
        env_files.write_file(path, text, append=append)
    except file_trust.Unfit as error:
        return str(error)
    return ""


def _require_usable(variables: Mapping[str, Any], *, file: bool = False) -> None:
    problem = env_files.find_problem(variables, file=file)
    if problem:
        raise EnvError(problem, reason="variable")
