"""Signing in and out: each returns a new client and leaves the one that it is asked of as it is."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from polvo_adapters.redaction import hide
from polvo_adapters.services.taruvi import checks, credentials
from polvo_adapters.services.taruvi.credentials import Credential
from polvo_adapters.services.taruvi.errors import AuthenticationError, ValidationError
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Runner, operation
from polvo_adapters.services.taruvi.responses import fetch_envelope, fetch_object

ClientType_co = TypeVar("ClientType_co", covariant=True)


class Signing(Runner, Protocol[ClientType_co]):
    """A client that others with another credential can be made of."""

    def derive(self, credential: Credential) -> ClientType_co:
        """Return a client with another credential."""

    def sign_in_with_password(self, username: str | None, password: str | None) -> ClientType_co:
        """Return a client that is signed in as a user."""


class AuthManager(Module[Mode_co], Generic[Mode_co, ClientType_co]):
    """Signing in and out, and the tokens behind it.

    Args:
        client: The client that signs in.
    """

    def __init__(self, client: Signing[ClientType_co]) -> None:
        super().__init__(client)
        self._signing = client

    def signInWithPassword(  # noqa: N802 - the name of the published client
        self, username: str | None = None, password: str | None = None, *, email: str | None = None
    ) -> ClientType_co:
        """Return a client that is signed in as a user.

        A synchronous client logs in now. An asynchronous one logs in at its first call, or when it is awaited:
        `await client.auth.signInWithPassword(...)`; so it never blocks the event loop. The token is refreshed before
        its end where the server gives a refresh token, once for all threads and tasks; else the client logs in again.

        Args:
            username: Name or e-mail address of the user.
            password: The password, which the client keeps.
            email: As `username`.

        Raises:
            AuthenticationError: The server does not accept them.
            NetworkError: There is no answer.
            ConfigurationError: One of them is missing, as from a variable that is not set.
        """
        password = hide(password)
        return self._signing.sign_in_with_password(email if username is None else username, password)

    def signInWithToken(self, token: str | None, token_type: str = "jwt") -> ClientType_co:  # noqa: N802, S107 - as above
        """Return a client that sends a token; nothing is sent now.

        Args:
            token: The token.
            token_type: "jwt" for `Authorization: Bearer`, "api_key" for `Authorization: Api-Key`, "session_token" for
                `X-Session-Token`.

        Raises:
            ConfigurationError: The token is missing or cannot be sent, or there is no such type.
        """
        token = hide(token)
        return self._signing.derive(credentials.from_token(token, token_type))

    def signOut(self) -> ClientType_co:  # noqa: N802 - as above
        """Return a client without a credential; nothing is sent, and this client stays signed in."""
        return self._signing.derive(credentials.ANONYMOUS)

    @operation
    def login(self, username: str, password: str) -> Operation[dict[str, Any]]:
        """Return the tokens of a user, "access" and "refresh"; the client does not change."""
        password = hide(password)
        body = {
            "username": checks.require_text("username", username),
            "password": checks.require_text("password", password),
        }
        call = Call("POST", credentials.TOKEN_PATH, body=body, anonymous=True, idempotent=True, secrets=(password,))
        return (yield from fetch_object(call))

    @operation
    def refresh_token(self, refresh_token: str) -> Operation[dict[str, Any]]:
        """Return the next tokens for a refresh token; it may be useless from then on."""
        refresh_token = hide(refresh_token)
        body = {"refresh": checks.require_text("refresh_token", refresh_token)}
        call = Call("POST", credentials.REFRESH_PATH, body=body, anonymous=True, secrets=(refresh_token,))
        return (yield from fetch_object(call))

    @operation
    def verify_token(self, token: str) -> Operation[bool]:
        """Return whether the server accepts a token; raise where it does not answer."""
        token = hide(token)
        body = {"token": checks.require_text("token", token)}
        call = Call("POST", credentials.VERIFY_PATH, body=body, anonymous=True, idempotent=True, secrets=(token,))
        try:
            yield from fetch_envelope(call, may_be_empty=True)
        except (AuthenticationError, ValidationError):
            return False
        return True

    @operation
    def get_current_user(self) -> Operation[dict[str, Any]]:
        """Return the user who is signed in: "username", "email" and others."""
        return (yield from fetch_object(Call("GET", "/api/users/me/")))
