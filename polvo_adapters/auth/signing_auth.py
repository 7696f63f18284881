"""Auth objects that sign, asked again before each attempt."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from requests.auth import AuthBase

from polvo_adapters.auth.attach.credential import require_prepared, take_off
from polvo_adapters.core.setting_kinds import describe_misfit
from polvo_adapters.shells.request_marks import marks_of
from polvo_adapters.shells.requests.signing import Auth, UnsignedState, apply, sign_again

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.auth.httpx_signing import HTTPXSigningAuth


class SignatureHook:
    """The response hook of a signed request, which keeps the signature from other origins.

    Args:
        places: Where the signature is; see `polvo_adapters.shells.credential_owners`.
    """

    def __init__(self, places: Collection[str]) -> None:
        self.credential_places = tuple(places)

    def __call__(self, response: Response, **_: object) -> None:
        """Take the signature off a redirect to another origin."""
        take_off(response, (place for place in self.credential_places if not place.startswith("?")))


class SigningAuth(AuthBase):
    """An auth object that is asked again before each attempt, so that no nonce or date is sent twice.

    Args:
        auth: Any auth object of `requests` that signs, such as `requests_oauthlib.OAuth1`.
    """

    def __init__(self, auth: Any) -> None:
        is_pair = isinstance(auth, tuple) and len(auth) == 2
        if isinstance(auth, type) or not (is_pair or callable(auth)):
            wanted = "an auth object of requests, such as OAuth1(...)"
            raise TypeError(describe_misfit("signed", "auth", auth, wanted, shows=False))
        self.auth = auth

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request, and mark it as one to be signed anew."""
        require_prepared(self, request)
        unsigned = UnsignedState(request)
        apply(self.auth, request)
        unsigned.note_signature(request)
        marks_of(request).sign_again = partial(sign_again, self.auth, unsigned)
        if unsigned.places:
            request.register_hook("response", SignatureHook(unsigned.places))
        return request

    def httpx(self) -> HTTPXSigningAuth:
        """Return the auth object for `httpx` that signs by the same one: `httpx.Client(auth=signed(it).httpx())`."""
        from polvo_adapters.auth.httpx_signing import HTTPXSigningAuth

        return HTTPXSigningAuth(self.auth)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "auth" not in vars(self):
            raise AttributeError(name)
        return getattr(self.auth, name)  # code that knows the other class finds its client, its key and the like

    def __repr__(self) -> str:
        return f"<SigningAuth of {type(vars(self).get('auth')).__name__}>"


def signed(auth: Auth) -> SigningAuth:
    """Return an auth object that is asked again before each attempt; see `SigningAuth`."""
    return SigningAuth(auth)
