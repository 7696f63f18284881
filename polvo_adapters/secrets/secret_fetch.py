"""One fetch of a Secret, as an exchange whose attempts ask its provider."""

from __future__ import annotations

from typing import Any

from polvo_adapters.context.call import LogicalCall, separate_call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import EXPIRED, UNCLASSIFIED, Outcome
from polvo_adapters.drivers.single_shot import SingleShotExchange, make_outcome
from polvo_adapters.errors import SecretError
from polvo_adapters.runtime.clock import SYSTEM


class SecretFetch(SingleShotExchange):
    """The exchange of a refresh: each attempt is one fetch."""

    def __init__(self, secret: Any, may_renew: bool) -> None:
        self._secret, self._may_renew = secret, may_renew

    def send(self, effect: Send) -> Outcome:
        """Fetch the secret once."""
        secret, clock = self._secret, self._secret._clock
        started = clock.now()
        deadline = started + secret._deadline if effect.call.deadline is None else effect.call.deadline
        now = SYSTEM.now()  # the clock of the requests of the provider
        try:
            with separate_call(LogicalCall(None, now, now + deadline - started)):
                fetched = secret._fetch(may_renew=self._may_renew)
        except SecretError as error:
            return self.fail(effect, started, deadline, error)
        return make_outcome(clock, started, response=fetched, status=200)

    def fail(self, effect: Send, started: float, deadline: float, error: SecretError) -> Outcome:
        """Return the outcome of a fetch that failed."""
        secret, clock = self._secret, self._secret._clock
        # A fetch that was cut by the deadline of the outer call proves nothing against the provider.
        is_cut = clock.now() >= deadline and deadline - effect.call.started < secret._deadline
        return make_outcome(clock, started, error=error, failure=EXPIRED if is_cut else UNCLASSIFIED)
