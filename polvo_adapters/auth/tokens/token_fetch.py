"""One refresh of a token, as the drivers see it: a transport whose attempts ask for a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import EXPIRED, UNCLASSIFIED, Outcome
from polvo_adapters.drivers.single_shot import SingleShotExchange
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.refresh.refresh_flow import FetchedToken
from polvo_adapters.runtime.clock import Clock


class TokenFetch(SingleShotExchange):
    """Makes the attempts of a refresh: a transport for the drivers.

    Args:
        ask: Returns a new token in the place of what is held, within so many seconds, or raises TokenRefreshError.
        key: Key of the token in the store.
        storage: Seals it.
        clock: Time.
        deadline: Seconds for an attempt, where its call names no deadline.

    Attributes:
        tokens: What was obtained, by its sealed text.
        unsealable: What the store holds, if it cannot be unsealed; then nobody was asked.
    """

    def __init__(
        self,
        ask: Callable[[Token | None, float], Token],
        key: str,
        storage: TokenStorage,
        clock: Clock,
        deadline: float,
    ) -> None:
        self._ask, self._key, self._storage = ask, key, storage
        self._clock, self._deadline = clock, deadline
        self.tokens: dict[str, Token] = {}
        self.unsealable = ""

    def send(self, effect: Send) -> Outcome:
        """Ask for a token, once."""
        call, clock = effect.call, self._clock
        started = clock.now()
        try:
            fetched = self._fetch(call, started)
        except DecryptionError:
            # The server must not be asked: what is held here is no right any more as soon as the store begins anew.
            self.unsealable = call.stored_token
            error = undecryptable(call.host)
            return Outcome(error=error, failure=EXPIRED, started=started, now=clock.now(), wall=clock.wall())
        except TokenRefreshError as error:
            return Outcome(error=error, failure=UNCLASSIFIED, started=started, now=clock.now(), wall=clock.wall())
        return Outcome(fetched, 200, started=started, now=clock.now(), wall=clock.wall())

    def _fetch(self, call: Call, now: float) -> FetchedToken:
        held = self._storage.unseal(self._key, call.stored_token) if call.stored_token else None
        left = self._deadline if call.deadline is None else call.deadline - now
        try:
            token = self._ask(held, left)
        except (TokenRefreshError, ConfigurationError):
            raise
        except Exception as error:
            raise TokenRefreshError(
                f"{call.host}: no token could be obtained, because {type(error).__name__} was raised on the way; see "
                "the exception before this one",
                host=call.host,
                reason=type(error).__name__,
            ) from error
        if held is not None:
            token = replace(token, refresh_token=token.refresh_token or held.refresh_token, key=token.key or held.key)
        sealed = self._storage.seal(self._key, token)
        self.tokens[sealed] = token
        return FetchedToken(sealed, token.expires_in)


def overdue(host: str) -> TokenRefreshError:
    """Return the error for a call whose deadline is over before it has a token."""
    return TokenRefreshError(
        f"{host}: there was no token before the deadline of the call; the refresh goes on, and a later call finds it",
        host=host,
        reason="timeout",
    )


def undecryptable(host: str) -> TokenRefreshError:
    """Return the error for a store whose tokens are sealed with another key."""
    return TokenRefreshError(
        f"{host}: what the token store holds cannot be decrypted; see that all who use it have the same key",
        host=host,
        reason="undecryptable",
        final=True,
    )
