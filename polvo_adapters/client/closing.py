"""What ends the calls of a client that is closed: no attempt begins any more, and no wait for one goes on."""

from __future__ import annotations

from polvo_adapters.client.exceptions import ClientClosedError
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.drivers.aio import AsyncSystemClock
from polvo_adapters.policies.outcomes import refuse_to_send
from polvo_adapters.runtime.async_library import Wakeup

CLOSED = "the client is closed; make another one, or close it later"


class ClosingGate:
    """A policy that lets no attempt begin once the client is closed, so that a retry opens no connection again.

    Attributes:
        is_closed: Whether the client is closed.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._waits: set[Wakeup] = set()

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the attempt, unless the client is closed."""
        if self.is_closed:
            return refuse_to_send(ClientClosedError(CLOSED, host=call.host), "client", CLOSED)
        return (yield from proceed(call))

    def close(self) -> None:
        """Let no attempt begin from now on, and end the waits of calls, in whichever loop they are."""
        self.is_closed = True
        for wakeup in tuple(self._waits):
            wakeup.set()

    async def wait(self, clock: AsyncSystemClock, seconds: float) -> None:
        """Wait for so long, or until the client is closed."""
        if self.is_closed:
            return
        wakeup = Wakeup()
        self._waits.add(wakeup)
        try:
            await clock.wait(wakeup.event, seconds)
        finally:
            self._waits.discard(wakeup)


class ClosingClock(AsyncSystemClock):
    """The clock of a client: its waits between attempts end when the client is closed.

    Args:
        gate: Knows when that is.
    """

    def __init__(self, gate: ClosingGate) -> None:
        self._gate = gate

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, or until the client is closed."""
        await self._gate.wait(self, seconds)
