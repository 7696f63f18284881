"""Response hooks: which are ours, and how those of the caller see an unread response and still have it retried.

A hook may look at the connection below an unread response, or refuse it for its headers. So where a request carries
hooks that are not ours, an adapter leaves the body to the session, which runs the hooks and then reads it. A body that
breaks off is then no longer part of an attempt.

`polvo_adapters.Session` puts the hooks of its caller into one `SessionHooks`. The attempt runs that as soon as a
response of a status below 400 has its head, and reads the body afterwards; what breaks off then is retried like any
other. The hooks of all other responses are run by the session, after the last attempt.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import requests

from polvo_adapters.context.call import LogicalCall, current_call, separate_call
from polvo_adapters.core.calls import origin

_DONE = "_polvo_hooks_done"


class CredentialHook:
    """The response hook of a request whose credential may be another one by the time of the next attempt."""

    __slots__ = ()

    def renew_credential(self, request: requests.PreparedRequest) -> None:
        """Put the present credential on a request, or on a copy of it, that is about to be sent.

        A request that does not carry the credential is left as it is.

        Args:
            request: The request.

        Raises:
            TokenRefreshError: The credential has expired, and there is no other.
            SecretError: The same of a secret.
        """
        raise NotImplementedError


def renew_credentials(request: requests.PreparedRequest, now: float, deadline: float | None) -> None:
    """Let the auth objects of this package renew their credentials on a request that is about to be sent.

    Args:
        request: The request.
        now: The time.
        deadline: When the call must be over, or None.
    """
    for hook in _response_hooks(request):
        if isinstance(hook, CredentialHook):
            outer = current_call()
            if deadline is None or (outer is not None and outer.deadline is not None):
                hook.renew_credential(request)
            else:
                with separate_call(LogicalCall(None, now, deadline)):
                    hook.renew_credential(request)


class FirstOriginHook:
    """The response hook of a request to regions, which does nothing: redirects take it along, and it says where from.

    Args:
        request: The request.

    Attributes:
        origin: The origin that the caller named.
    """

    def __init__(self, request: requests.PreparedRequest) -> None:
        self.origin = origin(request.url or "")
        self._request: weakref.ref[requests.PreparedRequest] | None = weakref.ref(request)

    def has_left(self, request: requests.PreparedRequest) -> bool:
        """Return whether a redirect has led from that origin to the one of a request."""
        if self._request is not None and self._request() is request:
            self.origin = origin(request.url or "")  # the caller sends it once more, and has perhaps changed the URL
        return self.origin != origin(request.url or "")

    def __call__(self, response: requests.Response, **_: object) -> None:
        """Do nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {"origin": self.origin, "_request": None}


def has_left_origin(request: requests.PreparedRequest) -> bool:
    """Return whether a redirect has led to a request from another origin, and note the origin of the first one."""
    found = _response_hooks(request)
    hook = next((hook for hook in found if isinstance(hook, FirstOriginHook)), None)
    if hook is None:
        request.hooks = {**(request.hooks or {}), "response": [*found, FirstOriginHook(request)]}
        return False
    return hook.has_left(request)


def has_foreign_hook(request: requests.PreparedRequest) -> bool:
    """Return whether a response hook of the request may look at the unread response."""
    return not all(_is_ours(hook) for hook in _response_hooks(request))


def defer_hooks(request: requests.PreparedRequest) -> None:
    """Put the hooks of a request that are not ours into one SessionHooks, in the place of the first."""
    found = _response_hooks(request)
    foreign = [hook for hook in found if not _is_ours(hook) and not isinstance(hook, SessionHooks)]
    if foreign:
        first = found.index(foreign[0])
        found[first] = SessionHooks(foreign)
        request.hooks = {**request.hooks, "response": [hook for hook in found if hook not in foreign]}


def find_session_hooks(request: requests.PreparedRequest) -> SessionHooks | None:
    """Return the hooks that an attempt of the request may run, or None."""
    deferred = next((hook for hook in _response_hooks(request) if isinstance(hook, SessionHooks)), None)
    return None if deferred is None or deferred.is_running else deferred


def find_own_hooks(request: requests.PreparedRequest) -> list[Callable[..., Any]]:
    """Return the response hooks of a request that are ours: those of auth objects."""
    return [hook for hook in _response_hooks(request) if _is_ours(hook)]


class SessionHooks:
    """The response hooks of a caller, as one hook that is run once for each response.

    Args:
        hooks: The hooks, in order.

    Attributes:
        is_running: Whether they run now; what they send themselves is no attempt of this call.
    """

    def __init__(self, hooks: Sequence[Callable[..., Any]]) -> None:
        self._hooks = hooks
        self.is_running = False

    def __call__(self, response: requests.Response, **keywords: Any) -> requests.Response:
        """Run the hooks, unless they have seen the response, and return what they put in its place."""
        if vars(response).get(_DONE) is self:
            return response
        was_running, self.is_running = self.is_running, True
        try:
            for hook in self._hooks:
                replaced = hook(response, **keywords)
                response = response if replaced is None else replaced
        finally:
            self.is_running = was_running
        vars(response)[_DONE] = self
        return response


def _response_hooks(request: requests.PreparedRequest) -> list[Any]:
    """Return the response hooks of a request, of which `requests` takes a single one as well."""
    hooks: Any = request.hooks
    found = (hooks.get("response") if hooks else None) or []
    return [found] if callable(found) else list(found)


def _is_ours(hook: Any) -> bool:
    if isinstance(hook, SessionHooks):
        return False
    module: str = getattr(getattr(hook, "__func__", hook), "__module__", None) or ""
    return module.partition(".")[0] == "polvo_adapters"
