"""What happens when the answer to a request with a token comes in.

A refused token (401) is replaced, and the request sent again; a redirect to another origin gets no token; the report
is told which token it was. See `polvo_adapters.auth.tokens.token_auth`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.attach.carrier import UNHEARD, CredentialCarrier, HeldCredential
from polvo_adapters.auth.attach.credential import take_off
from polvo_adapters.auth.attach.replay import replay, replayable
from polvo_adapters.core.report import Attempt, Wait

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.core.report import Entry


class ReauthenticateHook:
    """The response hook of a request that carries a token.

    Args:
        auth: Who put it on.
        held: What was put on.
    """

    __slots__ = ("_auth", "_held")

    def __init__(self, auth: CredentialCarrier, held: HeldCredential) -> None:
        self._auth = auth
        self._held = held

    def __call__(self, response: Response, **keywords: Any) -> Response | None:
        """Have a refused token replaced, and keep the token from other origins."""
        report = getattr(response, "polvo", None)
        if report is not None:
            self._report(response, report)
        if response.status_code == 401:
            return self._refused(response, keywords)
        if response.is_redirect:
            take_off(response, self._auth._headers)
        return None

    def _report(self, response: Response, report: Any) -> None:
        report.token = self._held.known.generation
        before = _waited(vars(response.request).pop(UNHEARD, None) or ())
        if before:
            report.preceded_by(before, sum(entry.seconds for entry in before))

    def _refused(self, response: Response, keywords: dict[str, Any]) -> Response | None:
        auth, held, last = self._auth, self._held, response
        if not auth._carries(response.request, held):
            return None
        if not replayable(response.request):
            auth._refused(held)
            return None
        asked = refreshed = False
        while response.status_code == 401:
            if not asked and auth.challenged(held, last.request.url or "", response.headers):
                asked = True
            elif refreshed:
                break
            else:
                refreshed = True
                later = self._after(response, held, vars(last.request).setdefault(UNHEARD, []))
                if later is None:
                    break
                held = later
            again = replay(response, keywords, lambda request: self._hand_on(request, held))  # noqa: B023 - called now
            if again is None:
                break
            response = again
        if response is last:
            return None
        self._merge(last, response)
        if response.is_redirect:
            take_off(response, auth._headers)
            _lead(last.request, response.request, auth._headers)
        return response

    def _after(self, response: Response, held: HeldCredential, entries: list[Entry]) -> Any:
        try:
            return self._auth.after(held, entries)
        except BaseException:
            response.close()  # nobody else will
            raise

    def _hand_on(self, request: PreparedRequest, held: HeldCredential) -> None:
        """Put a token on a request that was copied, and have its redirects watched for that one."""
        hooks = [hook for hook in request.hooks["response"] if not isinstance(hook, ReauthenticateHook)]
        request.hooks = {**request.hooks, "response": [ReauthenticateHook(self._auth, held), *hooks]}
        self._auth._attach(request, held)

    def _merge(self, first: Response, last: Response) -> None:
        """Have the report of the last answer tell of the whole."""
        before, report = getattr(first, "polvo", None), getattr(last, "polvo", None)
        if before is None or report is None:
            return
        waited = _waited(vars(first.request).pop(UNHEARD, ()))
        report.preceded_by([*before.entries, *waited], before.elapsed + sum(entry.seconds for entry in waited))
        held = self._auth._held.get(self._held.tenant, self._held)
        report.token = held.known.generation

    def __deepcopy__(self, memo: object) -> ReauthenticateHook:
        return self

    def __reduce__(self) -> tuple[Callable[[], _Unattended], tuple[()]]:
        return _Unattended, ()  # a response that was pickled is answered for good


def _lead(first: PreparedRequest, last: PreparedRequest, headers: Sequence[str]) -> None:
    """Have a redirect go on with what was sent last: `requests` makes the next request of the one it sent itself."""
    first.hooks = last.hooks
    for name in headers:
        first.headers.pop(name, None)
        if name in last.headers:
            first.headers[name] = last.headers[name]


def _waited(entries: Sequence[Entry]) -> list[Entry]:
    """Return what was done for a token, as the report of the call it was done for tells it: its attempts are others."""
    return [
        Wait(entry.seconds, f"token: asked for, {entry.failure or entry.status}")
        if isinstance(entry, Attempt)
        else entry
        for entry in entries
    ]


class _Unattended:
    """In the place of a hook that was not pickled."""

    def __call__(self, response: Response, **keywords: Any) -> None:
        """Do nothing."""
