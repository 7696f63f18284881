"""The events of a rate limit, a request for a turn and the result of an attempt, and its verdict, a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from polvo_adapters.headers import Quota, Throttled

Overrun: TypeAlias = Literal["", "max_wait", "deadline"]


MOST_GONE = 1024
"""Tickets of calls that were broken off, that are remembered while they are between others."""


class TurnRequest(NamedTuple):
    """Event: a call requests its turn.

    Attributes:
        route: Resource of the API that it is for: method and path, without ids.
        ticket: Its place in the queue from an earlier Turn, or -1.
        tries: How often only the calls ahead of it kept it waiting.
        max_wait: Seconds that it may wait.
        deadline: Time at which its call must be over, or None.
        chance: A number drawn evenly from [0, 1] in an earlier wait, or None where none was drawn yet.
        waited: Seconds that it has waited already.
        group: Group of the ticket.
        part: The first id in its path, or an empty string.
    """

    route: str
    ticket: int
    tries: int
    max_wait: float
    deadline: float | None
    chance: float | None = None
    waited: float = 0.0
    group: str = ""
    part: str = ""

    def shift(self, seconds: float) -> TurnRequest:
        """Return the request with its deadline on a clock that is ahead by so many seconds."""
        return self if self.deadline is None else self._replace(deadline=self.deadline + seconds)

    def find_overrun(self, wait: float, now: float) -> Overrun:
        """Return what a wait would overrun, or an empty string."""
        left = None if self.deadline is None or wait <= 0 else self.deadline - now
        is_late = left is not None and wait >= left
        if wait > self.max_wait and (not is_late or left is None or self.max_wait < left):
            return "max_wait"  # of two, the nearer one
        return "deadline" if is_late else ""


class TurnResult(NamedTuple):
    """Event: an attempt is over.

    Attributes:
        route: As in TurnRequest.
        group: Group that the request counts in, from its Turn.
        era: Era in which it began, from its Turn.
        seconds: How long the attempt took.
        status: Status of the response, or 0 without one.
        quotas: What the response announced.
        refused: How the server refused, or None.
        part: As in TurnRequest.
        pause: Seconds for which a response that is no refusal asks to wait before the next request, or 0.
        paced: Whether that response speaks of a rate limit, so that it means more than its own route.
        in_doubt: Whether `refused` may mean that the service is down, see `polvo_adapters.core.verdict`.
    """

    route: str
    group: str
    era: int
    seconds: float
    status: int
    quotas: Sequence[Quota]
    refused: Throttled | None
    part: str = ""
    pause: float = 0.0
    paced: bool = False
    in_doubt: bool = False


class ReleaseTurn(NamedTuple):
    """Event: the call that a turn belongs to was broken off, while it waited or while its request was under way.

    Attributes:
        turn: The last turn that it got.
    """

    turn: Turn


class Turn(NamedTuple):
    """Verdict on a TurnRequest.

    Attributes:
        wait: Seconds to wait before the next TurnRequest; 0 to go now.
        spread: Seconds that the wait may be longer; the next `chance` is where in between it ended.
        ticket: The place in the queue, for the next TurnRequest.
        tries: For the next TurnRequest.
        group: Group that the request counts in.
        era: Era in which the request counts as under way; without a result it is forgotten with its era.
        reason: The reason for the wait, for a person.
        refused: What the wait would overrun; then the request is not sent at all.
    """

    wait: float = 0.0
    spread: float = 0.0
    ticket: int = -1
    tries: int = 0
    group: str = ""
    era: int = 0
    reason: str = ""
    refused: Overrun = ""


def leave_queue(ticket: int, gone: tuple[int, ...], tail: int, head: int = -1) -> tuple[int, int, list[int]]:
    """Return a queue after a ticket has left it: its head, its tail, and the tickets in between that are gone.

    Args:
        ticket: The ticket.
        gone: Tickets that have left before, between others.
        tail: The next ticket that is given out.
        head: The ticket that goes next; -1 where the queue has no head.
    """
    left = {*gone, ticket}
    while tail - 1 in left and tail > head:
        tail -= 1
    while head in left and head < tail:
        head += 1
    return head, tail, sorted(each for each in left if head < each < tail)
