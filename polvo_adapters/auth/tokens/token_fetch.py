"""One refresh of a token, as an exchange whose attempts request a token from the server."""

from __future__ import annotations

from collections.abc import Callable

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import EXPIRED, UNCLASSIFIED, Outcome
from polvo_adapters.drivers.single_shot import SingleShotExchange, make_outcome
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.refresh.refresh_flow import FetchedToken
from polvo_adapters.runtime.clock import Clock


class TokenFetch(SingleShotExchange):
    """The exchange of one refresh, for the drivers.

    Args:
        fetch: Returns a new token that replaces the held one, within a number of seconds, or raises TokenRefreshError.
        key: Key of the token in the store.
        storage: Storage that seals the token.
        clock: Source of time.
        deadline: Seconds for an attempt whose call has no deadline.

    Attributes:
        tokens: The tokens that were obtained, by their sealed texts.
        undecryptable: Sealed text in the store that cannot be unsealed, or an empty string; the server was not asked.
    """

    def __init__(
        self,
        fetch: Callable[[Token | None, float], Token],
        key: str,
        storage: TokenStorage,
        clock: Clock,
        deadline: float,
    ) -> None:
        self._fetch, self._key, self._storage = fetch, key, storage
        self._clock, self._deadline = clock, deadline
        self.tokens: dict[str, Token] = {}
        self.undecryptable = ""

    def send(self, effect: Send) -> Outcome:
        """Request a token once."""
        call, clock = effect.call, self._clock
        started = clock.now()
        try:
            return make_outcome(clock, started, response=self._fetch_and_seal(call, started), status=200)
        except DecryptionError:
            # Without a request: this process loses the right to refresh as soon as the record is cleared.
            self.undecryptable = call.stored_token
            return make_outcome(clock, started, error=undecryptable_error(call.host), failure=EXPIRED)
        except TokenRefreshError as error:
            return make_outcome(clock, started, error=error, failure=UNCLASSIFIED)

    def unseal(self, sealed: str) -> Token:
        """Return the token of a text in the store.

        Raises:
            DecryptionError: It was sealed with another key.
        """
        return self.tokens.get(sealed) or self._storage.unseal(self._key, sealed)

    def _fetch_and_seal(self, call: Call, now: float) -> FetchedToken:
        held = self._storage.unseal(self._key, call.stored_token) if call.stored_token else None
        seconds_left = self._deadline if call.deadline is None else call.deadline - now
        try:
            token = self._fetch(held, seconds_left)
        except (TokenRefreshError, ConfigurationError):
            raise
        except Exception as error:
            name = type(error).__name__
            message = f"{call.host}: {name} was raised while a token was requested; see the exception before this one"
            raise TokenRefreshError(message, host=call.host, reason=name) from error
        sealed = self._storage.seal(self._key, token)
        self.tokens[sealed] = token
        return FetchedToken(sealed, token.expires_in)


def overdue_error(host: str) -> TokenRefreshError:
    """Return the error for a call whose deadline is over before it has a token."""
    message = f"{host}: there was no token before the deadline of the call; the refresh goes on for later calls"
    return TokenRefreshError(message, host=host, reason="timeout")


def undecryptable_error(host: str) -> TokenRefreshError:
    """Return the error for a store whose tokens are sealed with another key."""
    message = f"{host}: what the token store holds cannot be decrypted; make sure that all its users have the same key"
    return TokenRefreshError(message, host=host, reason="undecryptable", final=True)
