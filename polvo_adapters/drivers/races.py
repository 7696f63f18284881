"""Races of the synchronous world: each flow is driven on a thread of its own, the race on the caller's.

A thread that is blocked in a socket cannot be stopped. The exchange of a loser is cancelled, which shuts its connection
where the exchange knows it; the thread closes the response that it still receives. The race does not wait for it.

Threads are kept for the next race, as daemons: a loser that hangs must not keep the process from ending.
"""

from __future__ import annotations

import queue
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, cast

from polvo_adapters.core.effects import Decide, Flow, Start, WaitAny
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, record_cancelled
from polvo_adapters.drivers.decisions import decide
from polvo_adapters.drivers.exchange import Cancelled, Drive, Exchange
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store

_THIS_RACE = -1  # in place of the number of a branch, where the race itself has lost a race


class _Ended(NamedTuple):
    number: int
    outcome: Outcome | None
    error: BaseException | None = None


class _Branch:
    """A flow that is driven on another thread."""

    def __init__(self, number: int, flow: Flow, exchange: Exchange, began: float) -> None:
        self.number, self.exchange, self.began = number, exchange, began
        self.entries: list[Entry] = []
        self.taken = False
        self._flow: Flow | None = flow

    def run(self, drive: Drive, store: Store, clock: Clock, ended: queue.SimpleQueue[_Ended]) -> None:
        """Drive the flow, and put its end into the queue."""
        flow, self._flow = cast("Flow", self._flow), None
        try:
            ended.put(_Ended(self.number, drive(flow, self.exchange, store, clock, self.entries)))
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller's thread raises it
            ended.put(_Ended(self.number, None, error))
        finally:
            del ended  # see errors.py, "Errors and frames"


def race(flow: Flow, exchange: Exchange, store: Store, clock: Clock, entries: list[Entry], drive: Drive) -> Outcome:
    """Carry out the flow of a race; arguments and result as for `drive`, by which each of its flows is driven."""
    ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
    branches: list[_Branch] = []
    answer: Any = None
    try:
        exchange.on_cancel(partial(ended.put, _Ended(_THIS_RACE, None, Cancelled())))
        while True:
            effect = flow.send(answer)
            if type(effect) is Start:
                branch = _Branch(len(branches), effect.flow, exchange.fork(), clock.now())
                branches.append(branch)
                clock.spawn(partial(copy_context().run, branch.run, drive, store, clock, ended))
                answer = branch.number
            elif type(effect) is WaitAny:
                answer = _wait_any(effect, branches, clock, ended, entries)
            elif type(effect) is Decide:
                answer = decide(store, effect.events, entries)
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
            _cancel(branches, clock, ended, entries)
            answer = None
            exchange.on_cancel(None)


def _cancel(branches: list[_Branch], clock: Clock, ended: queue.SimpleQueue[_Ended], entries: list[Entry]) -> None:
    over = set()
    while not ended.empty():
        over.add(ended.get_nowait().number)
    for branch in branches:
        branch.exchange.cancel()
        if not branch.taken:
            entries += branch.entries
            if branch.number not in over:
                entries.append(record_cancelled(clock.now() - branch.began))


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
