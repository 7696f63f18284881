"""Decisions of a call on an event loop by a store that may block: the loop goes on meanwhile.

Theory of operation. A store that says `blocking = True` is asked on a thread of its own, one question after the other
in the order in which they came, from all loops and tasks. A store with an asynchronous side (`AsyncStore`) is asked
through that. Only the question leaves the loop: `Decisions` works out on the loop what the answer means, as for every
other store, and finds the answer in an `AskedStore`.

If a task is cancelled before its question is put, the question is dropped. If it is cancelled later, the question goes
on, and what it grants is given back right after it. A fact, such as the end of a lease, is put to the store in any
case. What the close of a body reports, and the leases of a call that was broken off, come after all questions that were
there before; a listener of these changes is called on the thread of the store.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Release, TryDecide
from polvo_adapters.core.machines import Event
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.decisions import Decisions, is_slow
from polvo_adapters.drivers.exchange import BodyCloseNotifier
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.loops import wait_for, wait_shielded
from polvo_adapters.runtime.serial_thread import SerialThread
from polvo_adapters.stores.base import Store, is_refusal

ASKED = frozenset({Acquire, Decide, Release, TryDecide})
"""The effects that put something to a store."""

_threads: weakref.WeakKeyDictionary[Any, SerialThread] = weakref.WeakKeyDictionary()
_common = SerialThread()  # of stores that cannot be keys


def thread_of(store: Store) -> SerialThread:
    """Return the thread on which a store is asked for the tasks of all event loops."""
    try:
        return _threads.setdefault(store, SerialThread()) if store not in _threads else _threads[store]
    except (TypeError, KeyError):
        return _common


class DiscardingExchange(BodyCloseNotifier, Protocol):
    """What an exchange offers to decisions."""

    async def discard(self) -> None:
        """Close the response of the last attempt."""


class _Answer(NamedTuple):
    """What a store has answered: verdicts, or an exception, after so many seconds."""

    verdicts: tuple[Any, ...]
    error: Exception | None
    seconds: float


class AskedStore:
    """A store that was asked already; its answers are taken in the order of the questions.

    Args:
        store: The store.
    """

    __slots__ = ("_answers", "_store", "seconds")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers: deque[_Answer] = deque()
        self.seconds = 0.0

    def add(self, answer: _Answer) -> None:
        """Add an answer, to be taken after those that are there."""
        self._answers.append(answer)

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:  # noqa: ARG002 - they were put to the store before
        """Return the next answer, or raise it."""
        verdicts, error, self.seconds = self._answers.popleft()
        if error is None:
            return verdicts
        try:
            raise error
        finally:
            del error  # see errors.py, "Errors and frames"

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Leave events to the store; see `Store.defer`."""
        self._store.defer(events, then)

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Park with the store; see `Store.park`."""
        return self._store.park(name, wake)

    def unpark(self, name: str) -> None:
        """Forget a parked call; see `Store.unpark`."""
        self._store.unpark(name)


class BesideDecisions(Decisions):
    """The decisions of one call by a store that may block; arguments as for Decisions."""

    def __init__(self, store: Store, entries: list[Entry], call: Call | None = None, in_race: bool = False) -> None:
        self._real, self._asked, self._thread = store, AskedStore(store), thread_of(store)
        has_tasks = async_library.find_trio() is None
        self._asks: Any = getattr(store, "decide_async", None) if has_tasks else None
        super().__init__(self._asked, entries, call, in_race)

    async def perform(self, effect: Any, exchange: DiscardingExchange) -> Any:
        """Perform an effect of `ASKED` without blocking the loop, and return its answer."""
        if type(effect) is Release:
            await self._release(effect, exchange)
            return None
        if type(effect) is TryDecide:
            return await self._try_beside(effect)
        is_lease = type(effect) is Acquire
        if is_lease and self.best is not None:  # the response in hand may be what holds the slot that is wanted
            await exchange.discard()
        if not self._failure:
            await self._ask(effect.events, grants=is_lease)
        return self.acquire(effect.events) if is_lease else self.decide(effect.events)

    async def _try_beside(self, effect: TryDecide) -> bool:
        if not self._is_slow:
            answer = await self._ask(effect.events, is_fact=True)
            if answer.error is not None and not is_slow(answer.seconds):
                await self._ask(effect.events, is_fact=True)
        return self.try_decide(effect)

    async def _release(self, effect: Release, exchange: BodyCloseNotifier) -> None:
        if not self.release_later(effect, exchange):
            if not self._failure:
                await self._ask(effect.events, is_fact=True)
            self._tell(effect.events)

    async def release_all_beside(self) -> None:
        """Do as `release_all`, for a task that may have been cancelled."""
        if self.held:
            spare = self._spare()
            spare.held, self.held = self.held, ()
            await wait_shielded(self._thread.submit(spare.release_all))
        self.best = None

    def release_all(self) -> None:
        """Release the leases that the call still holds, without waiting for the store."""
        if self.held:
            spare = self._spare()
            spare.held, self.held = self.held, ()
            self._thread.submit(spare.release_all)
        self.best = None

    def _tell_on_close(self, events: Sequence[Event]) -> None:
        self._thread.submit(partial(self._spare()._tell, events))

    def _note_failure(self, what: str, events: Sequence[Event], error: Exception, began: float) -> None:
        super()._note_failure(what, events, error, began - self._asked.seconds)

    def _spare(self) -> Decisions:
        """Return decisions of the same call by the store itself, for its thread."""
        spare = Decisions(self._real, self._entries, self._sent, True)
        spare._failure = self._failure
        return spare

    async def _ask(self, events: Sequence[Event], *, grants: bool = False, is_fact: bool = False) -> _Answer:
        """Put events to the store, and keep its answer for the method that works out what it means.

        Args:
            events: The events.
            grants: Whether the answer may grant a lease, which a task that is cancelled gives back.
            is_fact: Whether the store is to know of them although the task is cancelled.
        """
        began = time.monotonic()
        if self._asks is None:
            asked: Any = self._thread.submit(partial(self._real.decide, events))
        else:
            asked = asyncio.ensure_future(self._asks(events))
        try:
            await (wait_for(asked) if self._asks is None else asyncio.wait([asked]))
        except BaseException as error:
            last = self._break_off(events, asked, grants=grants, is_fact=is_fact)
            if last is not None and not isinstance(error, GeneratorExit):  # with which the loop is gone
                await wait_shielded(last)
            raise
        failure, verdicts = _split(asked)
        answer = _Answer(verdicts, failure, time.monotonic() - began)
        self._asked.add(answer)
        return answer

    def _break_off(self, events: Sequence[Event], asked: Any, *, grants: bool, is_fact: bool) -> Future[Any] | None:
        """Leave the question of a task that is cancelled, and return what is still done for it, if anything.

        On the thread of the store, a question that was not put yet is withdrawn. One in a task goes on, as its answer
        may be on the way.
        """
        then = partial(self._give_back if grants else self._note_told, events, asked)
        if self._asks is not None:
            return self._follow(asked, then) if grants or is_fact else None
        if asked.cancel():
            return self._thread.submit(partial(self._spare()._tell, events)) if is_fact else None
        return self._thread.submit(then) if grants or is_fact else None

    def _follow(self, task: asyncio.Future[Any], then: Callable[[], None]) -> Future[Any]:
        """Return a future of what is done on the thread of the store once a question in a task has its answer."""
        over: Future[Any] = Future()

        def go_on(_: object) -> None:
            if task.cancelled():
                over.set_result(None)
            else:
                self._thread.submit(then).add_done_callback(lambda _: over.set_result(None))

        task.add_done_callback(go_on)
        return over

    def _note_told(self, events: Sequence[Event], asked: Any) -> None:
        """Do what follows from facts whose task was cancelled while the store took them; on the thread of the store."""
        spare, answer = self._spare(), AskedStore(self._real)
        error, verdicts = _split(asked)
        answer.add(_Answer(verdicts, error, 0.0))
        spare._store = answer
        spare._tell(events)

    def _give_back(self, events: Sequence[Event], asked: Any) -> None:
        """Release what a question has granted whose task was cancelled; on the thread of the store."""
        with suppress(Exception):  # it has granted nothing
            verdicts = asked.result()
            if not is_refusal(verdicts):
                spare = self._spare()
                spare.held = ((events, verdicts),)
                spare.release_all()


def _split(asked: Future[Any] | asyncio.Future[Any]) -> tuple[Exception | None, tuple[Any, ...]]:
    """Return the exception of a question, or its verdicts; raise what is no Exception."""
    error = asked.exception()
    try:
        if error is None:
            return None, asked.result()
        if isinstance(error, Exception):
            return error, ()
        raise error
    finally:
        del error  # see errors.py, "Errors and frames"
