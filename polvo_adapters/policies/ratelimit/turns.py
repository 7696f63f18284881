"""What is asked of a rate limit, what is told to it, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from polvo_adapters.headers import Quota, Throttled


class TurnRequest(NamedTuple):
    """A request wants its turn.

    Attributes:
        route: Which resource of the API it is for.
        ticket: Its place in the queue from an earlier question, or -1.
        tries: How often only those ahead of it kept it waiting.
        max_wait: Seconds that it may wait.
        deadline: When its call must be over, or None.
        chance: A number drawn evenly from [0, 1] in the wait before, or None where none was drawn yet.
        waited: Seconds that it has waited already.
        group: Group that the ticket is of.
    """

    route: str
    ticket: int
    tries: int
    max_wait: float
    deadline: float | None
    chance: float | None = None
    waited: float = 0.0
    group: str = ""

    def shifted(self, seconds: float) -> TurnRequest:
        """Return the question with its deadline on a clock that is ahead by so many seconds."""
        return self if self.deadline is None else self._replace(deadline=self.deadline + seconds)

    def too_long(self, wait: float, now: float) -> Literal["", "max_wait", "deadline"]:
        """Tell what a wait would overrun, or an empty string."""
        if self.deadline is not None and now + wait >= self.deadline and wait > 0:
            return "deadline"
        return "max_wait" if wait > self.max_wait else ""


class TurnResult(NamedTuple):
    """An answer came, or none.

    Attributes:
        route: As in Ask.
        group: Group that admitted the request.
        era: Lease under which it was admitted.
        seconds: How long the attempt took.
        status: Status of the answer, or 0.
        quotas: What the answer announced.
        refused: How the server refused, or None.
    """

    route: str
    group: str
    era: int
    seconds: float
    status: int
    quotas: Sequence[Quota]
    refused: Throttled | None


class Turn(NamedTuple):
    """The answer to Ask.

    Attributes:
        wait: Seconds to wait, and then to ask again; 0 to go.
        spread: Seconds that the wait may be longer; where in between it ends is the chance to ask again with.
        ticket: The place in the queue, to be shown when asking again.
        tries: To be handed back when asking again.
        group: Group that the request counts in.
        era: Lease of the request; one that does not report back is forgotten with its era.
        reason: The reason for the wait, for a person.
        refused: What the wait would overrun; then the request does not go at all.
    """

    wait: float = 0.0
    spread: float = 0.0
    ticket: int = -1
    tries: int = 0
    group: str = ""
    era: int = 0
    reason: str = ""
    refused: Literal["", "max_wait", "deadline"] = ""
