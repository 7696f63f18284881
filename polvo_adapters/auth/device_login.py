"""The device authorization grant, driven: it polls until the user has decided (RFC 8628)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.device_code import DeviceAuthorization, DevicePolling
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send, send_once
from polvo_adapters.core.outcomes import UNCLASSIFIED, Outcome
from polvo_adapters.drivers.single_shot import SingleShotExchange, make_outcome
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.dpop import DPoPKey
    from polvo_adapters.auth.protocol.server import AuthorizationServer


def poll(
    server: AuthorizationServer,
    authorization: DeviceAuthorization,
    *,
    deadline: float | None = None,
    key: DPoPKey | None = None,
    clock: Clock = SYSTEM,
) -> Token:
    """Wait until the user has confirmed, and return the token.

    Args:
        server: The server where the login began.
        authorization: The login, just begun.
        deadline: Seconds to wait for the user at most; by default the lifetime of the code.
        key: Key that the token shall be bound to; by default a new one where the server's `dpop` is set.
        clock: Source of time; tests pass a virtual clock.

    Raises:
        TokenRefreshError: The user refused ("access_denied"), took too long ("expired_token"), or the server failed.
        DeadlineExceeded: The deadline would be over before the next request.

    Source: RFC 8628 section 3.4.
    """
    if key is None and server.dpop:
        key = server.new_key()
    policy = DevicePolling(interval=authorization.interval, expires_in=authorization.expires_in)
    now = clock.now()
    call = Call("POST", server.endpoint("token"), started=now, deadline=None if deadline is None else now + deadline)
    exchange = _DeviceTokenExchange(server, authorization.device_code, key, clock)
    outcome = drive(policy.flow(call, send_once), exchange, MemoryStore(now=clock.now), clock, [], call)
    if outcome.error is not None:
        try:
            raise outcome.error
        finally:
            del outcome  # see errors.py, "Errors and frames"
    token: Token = outcome.response
    return token


class _DeviceTokenExchange(SingleShotExchange):
    """The exchange of one login, whose attempts are token requests."""

    def __init__(self, server: AuthorizationServer, device_code: str, key: DPoPKey | None, clock: Clock) -> None:
        self._server = server
        self._fields = grants.device(device_code)
        self._key = key
        self._clock = clock

    def send(self, effect: Send) -> Outcome:
        """Request the token once."""
        started, deadline = self._clock.now(), effect.call.deadline
        seconds_left = None if deadline is None else max(0.0, deadline - started)
        try:
            token = self._server.token(self._fields, deadline_timeout=seconds_left, key=self._key)
        except TokenRefreshError as error:
            return make_outcome(self._clock, started, status=error.status, error=error, failure=UNCLASSIFIED)
        return make_outcome(self._clock, started, response=token, status=200)
