"""What the calls of Double-O do: paths, bodies, and what an answer means.

    call                         request                                      result
    ---------------------------  -------------------------------------------  -----------------------
    secret                       GET  /api/secret                             "value" of the answer
    env, load_env, export_env    GET  /api/env                                "secrets" of the answer
    proxy, chat, embed, image    any  /api/proxy/<path>, payload as JSON      the answer; None where it is empty
    health                       GET  /health, without the token              True

An answer with a status of 200 may be an error nonetheless: {"error": text}. The calls through the proxy return such an
answer as it is, because it may be what the service behind it says. What arguments are wrong is found before anything
is sent.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any

from polvo_adapters.services.double_o import checks, env_files
from polvo_adapters.services.double_o.effects import NO_JSON, CachedFetch, Operation, ServiceRequest, ServiceResponse
from polvo_adapters.services.double_o.errors import (
    ArgumentError,
    AuthenticationError,
    DoubleOError,
    EnvError,
    ProxyError,
    SecretError,
    TokenError,
)

_ABOUT_THE_TOKEN = re.compile(r"\b(tokens?|auth|unauth\w*|authenticat\w*|authoriz\w*|authoris\w*)\b", re.IGNORECASE)
_LONGEST_TEXT = 200
_PROXY = "/api/proxy"
_METHOD = re.compile(r"[A-Za-z]{1,20}")


def secret(token: str, ttl: float | None) -> Operation[Any]:
    """Return the value of a secret.

    Args:
        token: Its token.
        ttl: Seconds for which a value may be used again, or None to ask.
    """
    return (yield from _kept("secret", token, ttl, SecretError))


def env(token: str, ttl: float | None) -> Operation[dict[str, Any]]:
    """Return the variables of an environment; arguments as for `secret`."""
    variables: dict[str, Any] = yield from _kept("env", token, ttl, EnvError)
    return variables


def load_env(token: str, ttl: float | None) -> Operation[dict[str, str]]:
    """Set the variables of an environment in this process, all or none; arguments as for `secret`."""
    variables = yield from env(token, ttl)
    _usable(variables)
    env_files.load(variables)
    return variables


def export_env(
    token: str, path: str | os.PathLike[str], overwrite: bool, ttl: float | None
) -> Operation[dict[str, str]]:
    """Write the variables of an environment to a file; arguments as for `Client.export_env`."""
    place = os.fspath(path)
    _file(place)
    variables = yield from env(token, ttl)
    _usable(variables, file=True)
    _file(place)
    env_files.write(place, env_files.lines(variables), append=not overwrite)
    return variables


def proxy(
    path: str,
    token: str,
    method: str = "POST",
    payload: Any = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Operation[Any]:
    """Return what the service behind the proxy answers; arguments as for `Client.proxy`."""
    _token(token)
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise ArgumentError("proxy: method must be the name of an HTTP method; nothing was sent")
    below = path[1:] if isinstance(path, str) and path.startswith("/") else path
    _argument("path", checks.path(below))
    _argument("headers", checks.headers({} if headers is None else headers))
    told = {} if headers is None else dict(headers)
    if not any(name.lower() == "content-type" for name in told):
        told["Content-Type"] = "application/json"
    ask = ServiceRequest(method.upper(), f"{_PROXY}/{below}", token, told, params or {}, _body(payload))
    answer: ServiceResponse = yield ask
    if not answer.succeeded:
        raise _failed(ProxyError, ask, answer)
    if not answer.body:
        return None
    value = answer.json()
    if value is NO_JSON:
        raise _unusable(
            ProxyError, ask, answer, f"the answer is no JSON, but {_plain(answer.kind) or 'of no named type'}"
        )
    return value


def chat(token: str, messages: Sequence[Any], model: str, others: Mapping[str, Any]) -> Operation[Any]:
    """Return a chat completion; arguments as for `Client.chat_completion`."""
    return (yield from proxy("v1/chat/completions", token, payload={"model": model, "messages": messages, **others}))


def embed(token: str, texts: Sequence[str], model: str, others: Mapping[str, Any]) -> Operation[Any]:
    """Return embeddings; arguments as for `Client.embed`."""
    return (yield from proxy("v1/embeddings", token, payload={"model": model, "input": texts, **others}))


def image(token: str, prompt: str, model: str, n: int, size: str, others: Mapping[str, Any]) -> Operation[Any]:
    """Return generated images; arguments as for `Client.image`."""
    payload = {"model": model, "prompt": prompt, "n": n, "size": size, **others}
    return (yield from proxy("v1/images/generations", token, payload=payload))


def health() -> Operation[bool]:
    """Return True if the server is well."""
    ask = ServiceRequest("GET", "/health")
    answer: ServiceResponse = yield ask
    if not answer.succeeded:
        raise _failed(ProxyError, ask, answer, open_to_all=True)
    return True


def _kept(kind: str, token: str, ttl: float | None, error: type[DoubleOError]) -> Operation[Any]:
    """Return a value of the cache, or fetch it."""
    _token(token)
    if ttl is None:
        return (yield from _fetch(kind, token, error))
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or math.isnan(ttl):
        raise ArgumentError(f"cache_ttl={ttl!r}: cache_ttl must be a number of seconds, or None; nothing was sent")
    value = yield CachedFetch(kind, token, ttl, lambda: _fetch(kind, token, error))
    if isinstance(value, ServiceResponse):
        raise _failed(error, ServiceRequest("GET", f"/api/{kind}"), value)
    return value


def _fetch(kind: str, token: str, error: type[DoubleOError]) -> Operation[Any]:
    ask = ServiceRequest("GET", f"/api/{kind}", token)
    answer: ServiceResponse = yield ask
    if not answer.succeeded:
        raise _failed(error, ask, answer)
    body = answer.json()
    if isinstance(body, dict):
        if kind == "secret" and "value" in body:
            return body["value"]
        if kind == "env" and isinstance(body.get("secrets"), dict):
            return body["secrets"]
        if "error" in body:
            raise _refused(error, ask, answer, body["error"])
    what = "no JSON" if body is NO_JSON else f"not of the form that {ask.path} promises"
    raise _unusable(error, ask, answer, f"the answer is {what}; look whether base_url is that of Double-O")


def _failed(
    error: type[DoubleOError], ask: ServiceRequest, answer: ServiceResponse, *, open_to_all: bool = False
) -> DoubleOError:
    """Return the error for a call that was not answered, or with another status than 200 to 299."""
    if answer.problem:
        return _error(error, answer, f"{ask.method} {answer.host}: {answer.problem}", answer.reason)
    status, advice = answer.status, ""
    if status == 401 and not open_to_all:
        error, advice = AuthenticationError, "; the token is not accepted: look whether it is the right one"
    elif answer.retry_after is not None:
        advice = f"; call again after {answer.retry_after:g} s"
    elif 300 <= status < 400:
        advice = "; it is not followed: give the address that it leads to as base_url"
    text = f"{ask.method} {answer.host}{_place_of(ask)}: {status} {responses.get(status, '')}".rstrip()
    tries = f" after {answer.attempts} attempts" if answer.attempts > 1 else ""
    return _error(error, answer, text + tries + advice, f"status {status}")


def _refused(error: type[DoubleOError], ask: ServiceRequest, answer: ServiceResponse, told: object) -> DoubleOError:
    """Return the error for an answer with status 200 that says that it is one."""
    if isinstance(told, dict):
        told = next((told[key] for key in ("message", "detail", "code") if isinstance(told.get(key), str)), None)
    text = _plain(told.replace(ask.token, "[token]")) if isinstance(told, str) else "an error without a text"
    kind = AuthenticationError if isinstance(told, str) and _ABOUT_THE_TOKEN.search(told) else error
    return _error(kind, answer, f"{answer.host}: {text}", "refused")


def _unusable(error: type[DoubleOError], ask: ServiceRequest, answer: ServiceResponse, reason: str) -> DoubleOError:
    return _error(error, answer, f"{ask.method} {answer.host}{_place_of(ask)}: {reason}", "not as promised")


def _error(kind: type[DoubleOError], answer: ServiceResponse, text: str, reason: str) -> DoubleOError:
    return kind(
        text,
        response=answer.response,
        host=answer.host,
        attempts=answer.attempts,
        retry_after=answer.retry_after,
        reason=reason,
    )


def _place_of(ask: ServiceRequest) -> str:
    """Return the path as far as it is Double-O's: what is proxied may hold a key of the service behind."""
    return _PROXY if ask.path.startswith(_PROXY) else ask.path


def _plain(text: str) -> str:
    """Return text from elsewhere as one short line."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "…"


def _token(token: object) -> None:
    problem = checks.token(token)
    if problem:
        raise TokenError(f"the token cannot be sent: {problem}; nothing was sent", reason="token")


def _argument(name: str, problem: str) -> None:
    if problem:
        raise ArgumentError(f"{name}: {problem}; nothing was sent", reason=name)


def _body(payload: Any) -> bytes | None:
    if not payload:
        return None
    reason = ""
    try:
        return json.dumps(payload, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = type(error).__name__  # its text may show what is in the payload
    raise ArgumentError(f"payload: it cannot be written as JSON ({reason}); nothing was sent", reason="payload")


def _file(path: str) -> None:
    problem = "it is a symbolic link, and none is followed; name the file itself" if os.path.islink(path) else ""
    if os.path.isdir(path):
        problem = "it is a directory; name a file"
    if problem:
        raise EnvError(f"{path}: {problem}; nothing was written", reason="path")


def _usable(variables: Mapping[str, Any], *, file: bool = False) -> None:
    problem = env_files.problem(variables, file=file)
    if problem:
        raise EnvError(problem, reason="variable")
