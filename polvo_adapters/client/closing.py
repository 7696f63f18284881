"""What ends the calls of a client that is closed: no attempt begins any more, and no wait for one goes on."""

from __future__ import annotations

from typing import Any

from polvo_adapters.client.exceptions import ClientClosedError
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.drivers.aio import ASYNC_SYSTEM, AsyncSystemClock
from polvo_adapters.policies.outcomes import refuse_to_send
from polvo_adapters.runtime.async_library import Wakeup

CLOSED = "the client is closed; make another one, or close it later"


class ClosingGate:
    """A policy that lets no attempt begin once the client is closed, so that a retry opens no connection again.

    Args:
        place: The base URL of the client, as messages show it.

    Attributes:
        is_closed: Whether the client is closed.
    """

    def __init__(self, place: str) -> None:
        self.is_closed = False
        self._place = place
        self._waits: set[Wakeup] = set()

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the attempt, unless the client is closed."""
        if self.is_closed:
            return refuse_to_send(ClientClosedError(CLOSED, host=call.host), "client", CLOSED)
        return (yield from proceed(call))

    def require_open(self) -> None:
        """Check that the client is not closed.

        Raises:
            ClientClosedError: It is.
        """
        if self.is_closed:
            raise ClientClosedError(f"{self._place}: {CLOSED}")

    def close(self) -> None:
        """Let no attempt begin from now on, and end the waits of calls, in whichever loop they are."""
        self.is_closed = True
        for wakeup in tuple(self._waits):
            wakeup.set()

    async def wait(self, seconds: float, event: Any = None) -> None:
        """Wait for so long, or until the client is closed or the event is set.

        Args:
            seconds: How long at most.
            event: An event of the current library, which is not used afterwards.
        """
        if self.is_closed:
            return
        wakeup = Wakeup()
        if event is not None:
            wakeup.event = event
        self._waits.add(wakeup)
        try:
            await ASYNC_SYSTEM.wait(wakeup.event, seconds)
        finally:
            self._waits.discard(wakeup)


class ClosingClock(AsyncSystemClock):
    """The clock of a client: waits between attempts and waits for a slot end when the client is closed.

    What holds the slot may be another client with the same store, or an attempt that a transport of the user's does not
    end. So a call that waits for one is not let look again; it ends.

    Args:
        gate: Knows when that is.
    """

    def __init__(self, gate: ClosingGate) -> None:
        self._gate = gate

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, or until the client is closed."""
        await self._gate.wait(seconds)

    async def wait(self, event: Any, seconds: float) -> None:
        """Wait until the event is set, at most so long.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        await self._gate.wait(seconds, event)
        self._gate.require_open()
