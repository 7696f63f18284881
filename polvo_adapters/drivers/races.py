"""Races of the synchronous world: each flow is driven on a thread of its own, the race on the caller's.

A thread that is blocked in a socket cannot be stopped. The exchange of a loser is cancelled, which shuts its connection
where the exchange knows it; the thread closes the response that it still receives. The race does not wait for it.

Threads are kept for the next race, as daemons: a loser that hangs must not keep the process from ending.

**Where there is no thread**, the first flow runs on the thread of the caller, to its end, so that the call goes on as
if it were no race. Another flow is not started while one runs: the race is told, and may try again when that has ended.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, cast

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Flow, Start, TryDecide, WaitAny
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.decisions import Decisions, outlast_store
from polvo_adapters.drivers.exchange import Cancelled, Drive, Exchange
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store

_THIS_RACE = -1  # in place of the number of a branch, where the race itself has lost a race


class _Ended(NamedTuple):
    number: int
    outcome: Outcome | None
    error: BaseException | None = None


class _Branch:
    """A flow that is driven on another thread, or on this one where there is no other."""

    def __init__(self, number: int, effect: Start, exchange: Exchange, call: Call | None, began: float) -> None:
        self.number, self.exchange, self.call, self.began = number, exchange, call, began
        self.entries: list[Entry] = []
        self.taken = False
        self._effect: Start | None = effect

    def run(
        self, drive: Drive, store: Store, clock: Clock, ended: queue.SimpleQueue[_Ended], decisions: Decisions
    ) -> None:
        """Drive the flow, and put its end into the queue; the decisions are those of the race."""
        effect, self._effect = cast("Start", self._effect), None
        try:
            decisions.announce_start(effect)
            ended.put(
                _Ended(
                    self.number,
                    drive(effect.flow, self.exchange, store, clock, self.entries, self.call, in_race=True),
                )
            )
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller's thread raises it
            ended.put(_Ended(self.number, None, error))
        finally:
            del ended  # see errors.py, "Errors and frames"


class _Race:
    """The branches of one race, and what it takes to start another."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        clock: Clock,
        entries: list[Entry],
        drive: Drive,
        call: Call | None,
    ) -> None:
        self.exchange, self.store, self.clock, self.entries, self.drive = exchange, store, clock, entries, drive
        self.call, self.decisions = call, Decisions(store, entries, call, in_race=True)
        self.ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self.branches: list[_Branch] = []
        self._inline: _Branch | None = None

    def start(self, effect: Start) -> int | None:
        """Drive a flow on another thread, or on this one where there is none and no other flow runs."""
        branch = _Branch(len(self.branches), effect, self.exchange.fork(), self.call, self.clock.now())
        task = partial(copy_context().run, branch.run, self.drive, self.store, self.clock, self.ended, self.decisions)
        self.branches.append(branch)
        try:
            self.clock.spawn(task)
        except RuntimeError:  # also of a clock of another kind: no exception of the flow comes out of the task
            if any(not other.taken for other in self.branches[:-1]):
                self.branches.pop()
                return None
        else:
            return branch.number
        self._run_here(branch, task)
        return branch.number

    def _run_here(self, branch: _Branch, task: Callable[[], object]) -> None:
        self._inline = branch
        try:
            task()
        finally:
            self._inline = None

    def cancel_from_outside(self) -> None:
        """From any thread: end the race, which is itself part of a race that is over."""
        self.ended.put(_Ended(_THIS_RACE, None, Cancelled()))
        inline = self._inline
        if inline is not None:
            inline.exchange.cancel()


def race(
    flow: Flow,
    exchange: Exchange,
    store: Store,
    clock: Clock,
    entries: list[Entry],
    drive: Drive,
    call: Call | None = None,
) -> Outcome:
    """Carry out the flow of a race; arguments and result as for `drive`, by which each of its flows is driven."""
    own = _Race(exchange, store, clock, entries, drive, call)
    branches, answer = own.branches, cast("Any", None)
    decisions = own.decisions
    flow = outlast_store(flow)
    try:
        exchange.on_cancel(own.cancel_from_outside)
        while True:
            effect = flow.send(answer)
            if type(effect) is Start:
                answer = own.start(effect)
            elif type(effect) is WaitAny:
                answer = _wait_any(effect, branches, clock, own.ended, entries)
            elif type(effect) is Decide:
                answer = decisions.decide(effect.events)
            elif type(effect) is TryDecide:
                answer = decisions.try_decide(effect)
            else:
                raise TypeError(f"{effect!r} is no effect of a race")
    except StopIteration as end:
        outcome = cast("Outcome", end.value)
        for branch in branches:
            if branch.taken and branch.exchange.owns(outcome):
                branches.remove(branch)
                exchange.adopt(branch.exchange)
                break
        return outcome
    finally:
        try:
            flow.close()
        finally:
            _cancel(branches, clock, own.ended, entries, decisions)
            answer = None
            exchange.on_cancel(None)


def _cancel(
    branches: list[_Branch],
    clock: Clock,
    ended: queue.SimpleQueue[_Ended],
    entries: list[Entry],
    decisions: Decisions,
) -> None:
    over = set()
    while not ended.empty():
        over.add(ended.get_nowait().number)
    for branch in branches:
        branch.exchange.cancel()
        if not branch.taken:
            entries += branch.entries
            if branch.number not in over:
                decisions.note_cancelled(branch.number, clock.now() - branch.began)


def _wait_any(
    effect: WaitAny, branches: list[_Branch], clock: Clock, ended: queue.SimpleQueue[_Ended], entries: list[Entry]
) -> tuple[int, Outcome] | None:
    if all(branch.taken for branch in branches):
        return None
    try:
        number, outcome, error = clock.take(ended, effect.seconds)
    except queue.Empty:
        return None
    try:
        if number != _THIS_RACE:
            branches[number].taken = True
            entries += branches[number].entries
        if error is not None:
            raise error
        return number, cast("Outcome", outcome)
    finally:
        del outcome, error  # see errors.py, "Errors and frames"
