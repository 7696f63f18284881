"""The response hook of requests that carry a token or a secret.

It replaces a refused credential and sends the request again, keeps the credential from other origins, and reports its
generation. See `polvo_adapters.auth.tokens.token_auth`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.attach.carrier import CredentialCarrier, HeldCredential
from polvo_adapters.auth.attach.credential import take_off
from polvo_adapters.auth.attach.refused_response import is_refusal
from polvo_adapters.auth.attach.replaced_credentials import describe_place
from polvo_adapters.auth.attach.replay import replay, replayable
from polvo_adapters.core.report import Attempt, Wait
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.shells.request_marks import marks_of, read_marks
from polvo_adapters.shells.requests.hooks import CredentialHook
from polvo_adapters.shells.requests.set_aside_responses import set_aside

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.core.report import Entry


class ReauthenticateHook(SharedByCopies, CredentialHook):
    """The response hook of one request.

    Args:
        auth: The auth object of the request.
        held: The credential that the request carries.
    """

    __slots__ = ("_auth", "_earlier", "_held")

    def __init__(self, auth: CredentialCarrier, held: HeldCredential) -> None:
        self._auth = auth
        self._held = held
        self._earlier: tuple[HeldCredential, ...] = ()

    def renew_credential(self, request: PreparedRequest) -> None:
        """Put the present credential on a request in the place of an earlier one; see `CredentialHook`."""
        held = self._find_held(request)
        current = None if held is None else self._auth.renew(held)
        if current is None:
            return
        if current.header != self._held.header:
            self._earlier, self._held = (*self._earlier, self._held), current
        self._auth._attach(request, current)

    def _find_held(self, request: PreparedRequest) -> HeldCredential | None:
        """Return the credential that a request carries: that of an attempt in a race may be another one."""
        carried = (held for held in (self._held, *self._earlier) if self._auth._carries(request, held))
        return next(carried, None)

    @property
    def credential_places(self) -> tuple[str, ...]:
        """Where the credential is; see `polvo_adapters.shells.credential_owners`."""
        parameters = (f"?{name}" for name in self._auth._parameters)
        return (*map(str.lower, self._auth._headers), *parameters)

    def __call__(self, response: Response, **keywords: Any) -> Response | None:
        """Replace a refused credential, and keep the credential from other origins."""
        report = getattr(response, "polvo", None)
        if report is not None:
            self._report(response, report)
        if is_refusal(self._auth.refusals, response, keywords):
            replaced = self._handle_refusal(response, keywords)
            if replaced is not None:
                return replaced
        else:
            self._note_success(response, self._held, keywords)
        take_off(response, self._auth._headers)
        return None

    def _note_success(self, response: Response, held: HeldCredential, keywords: dict[str, Any]) -> None:
        auth = self._auth
        if not auth.replaced or not 200 <= response.status_code < 300:
            return
        if auth.refusals.is_plain or not keywords.get("stream"):  # otherwise the body has not been looked at
            place = describe_place(response.request.method, response.request.url)
            auth.note_answer(held, place, refused=False)

    def _report(self, response: Response, report: Any) -> None:
        report.token = self._held.known.generation
        if read_marks(response.request).unreported:  # most requests have no marks, and are to get none
            before = _as_waits(marks_of(response.request).take_unreported())
            report.prepend(before, sum(entry.seconds for entry in before))

    def _handle_refusal(self, response: Response, keywords: dict[str, Any]) -> Response | None:
        """Return the response to the request with another credential or proof, or None if it is not sent again."""
        auth, held, first = self._auth, self._find_held(response.request), response
        if held is None:
            return None
        place = describe_place(response.request.method, response.request.url)
        if not replayable(response.request):
            if auth.may_replace(held, place):
                auth._mark_refused(held)
            return None
        response, held, is_refused = self._repeat(first, held, place, keywords)
        if is_refused:
            auth.note_answer(held, place, refused=True)
        else:
            self._note_success(response, held, keywords)
        if response is first:
            return None
        self._merge_reports(first, response)
        if response.is_redirect:
            take_off(response, auth._headers)
            _follow_with(first.request, response.request, auth._headers)
        return response

    def _repeat(
        self, first: Response, held: HeldCredential, place: str, keywords: dict[str, Any]
    ) -> tuple[Response, HeldCredential, bool]:
        """Repeat a refused request with another proof, and with another credential.

        Returns:
            The last response, the credential that it is for, and whether it refuses that as well.
        """
        auth, response = self._auth, first
        proved, refreshed, is_refused = False, False, True
        while is_refused:
            if not proved and auth.is_proof_refused(held, first.request.url or "", response.headers):
                proved = True
            elif refreshed or not auth.may_replace(held, place):
                break
            else:
                refreshed = True
                later = self._replace_credential(response, held, marks_of(first.request).unreported)
                if later is None:
                    break
                held = later
            again = replay(response, keywords, lambda request: self._attach(request, held))  # noqa: B023 - called now
            if again is None:
                break
            response = again
            is_refused = is_refusal(auth.refusals, response, keywords)
        return response, held, is_refused

    def _replace_credential(self, response: Response, held: HeldCredential, entries: list[Entry]) -> Any:
        try:
            set_aside(response)
            return self._auth.after(held, entries)
        except BaseException:
            response.close()  # the caller gets the exception only
            raise

    def _attach(self, request: PreparedRequest, held: HeldCredential) -> None:
        """Put a credential on a copied request, with a hook for that credential."""
        hooks = [hook for hook in request.hooks["response"] if not isinstance(hook, ReauthenticateHook)]
        request.hooks = {**request.hooks, "response": [ReauthenticateHook(self._auth, held), *hooks]}
        self._auth._attach(request, held)

    def _merge_reports(self, first: Response, last: Response) -> None:
        """Make the report of the last response describe the whole call."""
        before, report = getattr(first, "polvo", None), getattr(last, "polvo", None)
        if before is None or report is None:
            return
        waits = _as_waits(marks_of(first.request).take_unreported())
        report.prepend([*before.entries, *waits], before.elapsed + sum(entry.seconds for entry in waits))
        held = self._auth._held.get(self._held.tenant, self._held)
        report.token = held.known.generation

    def __reduce__(self) -> tuple[Callable[[], InertHook], tuple[()]]:
        return InertHook, ()  # the response was processed before it was pickled


def _follow_with(first: PreparedRequest, last: PreparedRequest, headers: Sequence[str]) -> None:
    """Copy hooks and credential to the first request, of which `requests` makes the request that follows a redirect."""
    first.hooks = last.hooks
    for name in headers:
        first.headers.pop(name, None)
        if name in last.headers:
            first.headers[name] = last.headers[name]


def _as_waits(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a refresh for the report of the call that waited: attempts of the refresh become waits."""
    return [
        Wait(entry.seconds, f"token: asked for, {entry.failure or entry.status}")
        if isinstance(entry, Attempt)
        else entry
        for entry in entries
    ]


class InertHook:
    """The hook of a response that was pickled."""

    def __call__(self, response: Response, **keywords: Any) -> None:
        """Do nothing."""
