"""The asyncio driver: performs effects on the event loop, and all but races under trio as well."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import (
    Acquire,
    Decide,
    Effect,
    Flow,
    Park,
    Race,
    Release,
    Send,
    Sleep,
    Start,
    TryDecide,
    Undecided,
    WaitAny,
)
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait
from polvo_adapters.drivers.beside import ASKED, BesideDecisions
from polvo_adapters.drivers.decisions import Decisions, outlast_store
from polvo_adapters.drivers.exchange import BaseExchange
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.clock import SystemTime, TimeSource
from polvo_adapters.stores.base import Store, is_blocking


class AsyncClock(TimeSource, Protocol):
    """The time and chance of this driver, which awaits and never blocks."""

    async def sleep(self, seconds: float) -> None:
        """Wait, and let others run."""

    async def wait(self, event: Any, seconds: float) -> None:
        """Wait until the event is set, at most that many seconds; the event is not used afterwards."""


class AsyncSystemClock(SystemTime):
    """The clock and the random numbers of this machine, and the waits of the library that runs the task."""

    sleep = staticmethod(async_library.sleep)
    wait = staticmethod(async_library.wait)


ASYNC_SYSTEM = AsyncSystemClock()


class AsyncExchange(BaseExchange, Protocol):
    """The attempts of one call; as `polvo_adapters.drivers.exchange.Exchange`.

    Attributes:
        broken_off: Set by the driver where the call was broken off, or has lost its race: what is discarded then is
            closed at once, and nothing of it is read.
    """

    broken_off: bool

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt; an exception is returned inside the outcome."""

    async def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""


async def drive(
    flow: Flow,
    exchange: AsyncExchange,
    store: Store,
    clock: AsyncClock,
    entries: list[Entry],
    call: Call | None = None,
    *,
    in_race: bool = False,
) -> Outcome:
    """Carry out a flow to its end; as `polvo_adapters.drivers.sync.drive`, without blocking the loop."""
    answer: Any = None
    # `is_blocking`, without the time that a function takes:
    beside = BesideDecisions(store, entries, call, in_race) if getattr(store, "blocking", False) else None
    decisions = Decisions(store, entries, call, in_race) if beside is None else beside
    try:
        effect: Any = flow.send(None)
        while True:
            kind = type(effect)
            if kind is Send:
                answer = await exchange.send(effect)
                decisions.note_attempt(effect[0], answer)
                effect = flow.send(answer)
                continue
            if beside is not None and kind in ASKED:
                answer = await beside.perform(effect, exchange)
            elif kind is TryDecide:
                answer = decisions.try_decide(effect)
            elif kind is Decide:
                answer = decisions.decide(effect.events)
            elif kind is Acquire:
                answer = await _acquire(effect, exchange, decisions)
            elif kind is Release:
                decisions.release(effect, exchange)
                answer = None
            else:
                answer = await _perform_rare(effect, exchange, store, clock, entries, decisions, call)
            effect = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
    except (StopIteration, Undecided) as end:  # and no variable for what it has, see `finally`
        return decisions.end(end.value) if type(end) is StopIteration else decisions.conclude(cast("Undecided", end))
    except BaseException as error:
        await _break_off(exchange, decisions, error)
        raise
    finally:
        try:
            flow.close()
        finally:
            await beside.release_all_beside() if beside is not None else decisions.release_all()
            answer = None  # see errors.py, "Errors and frames"


async def _break_off(exchange: AsyncExchange, decisions: Decisions, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):  # the loop is gone, and the garbage collector may be what ends the coroutine
        decisions.defer_release_all()
    else:
        exchange.broken_off = True
        await exchange.discard()


async def _acquire(effect: Acquire, exchange: AsyncExchange, decisions: Decisions) -> Any:
    if decisions.best is not None:  # as in the synchronous driver
        await exchange.discard()
    return decisions.acquire(effect.events)


async def _perform_rare(
    effect: Effect,
    exchange: AsyncExchange,
    store: Store,
    clock: AsyncClock,
    entries: list[Entry],
    decisions: Decisions,
    call: Call | None,
) -> Any:
    """Perform the effects that most calls do without."""
    await exchange.discard()
    if type(effect) is Race:
        require_tasks()
        outcome = await _AsyncRace(exchange, store, clock, entries, call).run(effect.flow)
        decisions.note_race(outcome)
        return outcome
    if type(effect) is Sleep:
        seconds = clock.uniform(effect.low, effect.high)
        decisions.announce_wait(effect, seconds)
        await clock.sleep(seconds)
    elif type(effect) is Park:
        decisions.announce_wait(effect, effect.seconds)
        seconds = await _park(effect, store, clock)
    else:
        raise TypeError(f"{effect!r} is no effect, or one of races only")
    entries.append(Wait(seconds, effect.reason))
    return seconds


async def _park(effect: Park, store: Store, clock: AsyncClock) -> float:
    began, woken = clock.now(), async_library.Wakeup()
    if store.park(effect.name, woken.set):
        try:
            await clock.wait(woken.event, effect.seconds)
        except GeneratorExit:  # as in `drive`: nothing may be locked, and to wake the name later does no harm
            raise
        except BaseException:
            store.unpark(effect.name)
            raise
        store.unpark(effect.name)
    return clock.now() - began


def require_tasks() -> None:
    """Check that calls can be raced here.

    Raises:
        ConfigurationError: They cannot.
    """
    if async_library.find_trio() is not None:
        raise ConfigurationError(
            "attempts are raced in tasks of asyncio, and this is trio: leave out hedge and regions that are asked at "
            "once (mode 'race', 'quorum', 'fanout') here, or run the client under asyncio"
        )


class _AsyncRace:
    """A race: each flow is driven in a task of its own, and the losers are cancelled."""

    def __init__(
        self, exchange: AsyncExchange, store: Store, clock: AsyncClock, entries: list[Entry], call: Call | None
    ) -> None:
        self._exchange, self._store, self._clock, self._entries = exchange, store, clock, entries
        self._call = call
        self._beside = BesideDecisions(store, entries, call, in_race=True) if is_blocking(store) else None
        self._decisions = Decisions(store, entries, call, in_race=True) if self._beside is None else self._beside
        self._tasks: dict[asyncio.Task[Outcome], int] = {}
        self._forks: list[tuple[AsyncExchange, float, list[Entry]]] = []

    async def run(self, flow: Flow) -> Outcome:
        """Carry out the flow of the race."""
        answer: Any = None
        flow = outlast_store(flow)
        try:
            while True:
                effect = flow.send(answer)
                if type(effect) is Start:
                    answer = self._start(effect)
                elif type(effect) is WaitAny:
                    answer = await self._wait_any(effect)
                elif type(effect) in (Decide, TryDecide):
                    answer = await self._decide(effect)
                else:
                    raise TypeError(f"{effect!r} is no effect of a race")
        except StopIteration as end:
            outcome = cast("Outcome", end.value)
            self._adopt_winner(outcome)
            await self._cancel(patient=True)
            return outcome
        except GeneratorExit:  # the loop is gone, and with it all tasks
            raise
        except BaseException:
            await self._cancel(patient=False)
            raise
        finally:
            flow.close()
            answer = None

    async def _decide(self, effect: Any) -> Any:
        if self._beside is not None:
            return await self._beside.perform(effect, self._exchange)
        return self._decisions.decide(effect.events) if type(effect) is Decide else self._decisions.try_decide(effect)

    def _start(self, effect: Start) -> int:
        fork, entries = self._exchange.fork(), list[Entry]()
        number = len(self._forks)
        self._forks.append((fork, self._clock.now(), entries))
        self._decisions.announce_start(effect)
        branch = drive(effect.flow, fork, self._store, self._clock, entries, self._call, in_race=True)
        task = asyncio.ensure_future(branch)
        self._tasks[task] = number
        return number

    async def _wait_any(self, effect: WaitAny) -> tuple[int, Outcome] | None:
        if not self._tasks:
            return None
        await asyncio.wait(self._tasks, timeout=effect.seconds, return_when=asyncio.FIRST_COMPLETED)
        task = next((task for task in self._tasks if task.done()), None)
        if task is None:
            return None
        number = self._tasks.pop(task)
        self._entries += self._forks[number][2]
        try:
            return number, task.result()
        finally:
            del task  # see errors.py, "Errors and frames"

    def _adopt_winner(self, outcome: Outcome) -> None:
        for number, (fork, _, _) in enumerate(self._forks):
            if number not in self._tasks.values() and fork.owns(outcome):
                self._exchange.adopt(fork)
                return

    async def _cancel(self, *, patient: bool) -> None:
        """Cancel the flows that have lost, and wait until they have ended.

        Args:
            patient: Whether they are left to their end if this task is cancelled meanwhile, for the first time.
        """
        for task, number in self._tasks.items():
            _, began, entries = self._forks[number]
            self._entries += entries
            if task.cancel():
                self._decisions.note_cancelled(number, self._clock.now() - began)
        try:
            if self._tasks:
                # In a scope of anyio that is cancelled, each wait that is not shielded would end at once.
                with async_library.shield():
                    await self._wait_for_losers(patient=patient)
        finally:
            self._tasks.clear()
            for fork, _, _ in self._forks:
                fork.broken_off = True
                await fork.discard()

    async def _wait_for_losers(self, *, patient: bool) -> None:
        cancellation: BaseException | None = None
        for task in self._tasks:
            task.add_done_callback(_read_result)
        while not all(task.done() for task in self._tasks):
            try:
                # Not gathered: the first cancellation of this task would reach them in the middle of their end.
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:  # noqa: PERF203 - it waits again
                cancellation = error
                if not patient:
                    for task in self._tasks:
                        task.cancel()
                patient = False
        if cancellation is not None:
            try:
                raise cancellation
            finally:
                del cancellation  # see errors.py, "Errors and frames"


def _read_result(task: asyncio.Task[Outcome]) -> None:
    """Read the result of a task, because asyncio logs an exception that is never read."""
    if not task.cancelled():
        task.exception()
