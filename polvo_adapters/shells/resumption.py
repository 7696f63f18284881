"""What all shells share of bodies that go on where they broke off.

Theory of operation. A body comes in parts: the first with the response that the caller has, the others with responses
to requests for the rest. A `BodyProgress` counts what has come, and knows whether that is the whole. Where a part ends
too early, a `RestSearch` makes the flow of the rest (see `polvo_adapters.policies.resume`) and says what its outcome
means. The shell reads the parts, and makes the attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Policy
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.ranges import Entity, Rest, Unproved
from polvo_adapters.core.report import BodyBreak, Entry
from polvo_adapters.policies.resume import rest_flow
from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.error_notes import add_note

if TYPE_CHECKING:
    from polvo_adapters.core.report import Report
    from polvo_adapters.stores.base import Store

NOT_ASKED = Unproved("the rest was not asked for")
UNKNOWN_WAY = Unproved("the rest came in a way that is not known")


class Part(Protocol):
    """A part of a body that came with a response to the request for the rest.

    Attributes:
        left: How many bytes it may give, or None where its framing says that.
        whole: Position behind the last byte of the whole body, where the response has said that.
        ready: Bytes that were read already.
    """

    left: int | None
    whole: int | None
    ready: bytes


class PartBounds:
    """What is to be taken of a part, in bytes.

    Args:
        rest: What to take from the response.
        position: Where in the whole the part is to begin.

    Attributes:
        skip: How many bytes come before the position, and are to be thrown away.
        left: How many bytes come from the position on, or None where the framing of the part says where it ends.
        whole: Position behind the last byte of the whole body, where the response has said that.
        is_end: Whether the position is that of the end, so that a part may bring nothing.
        ready: Bytes that were read already.
    """

    def __init__(self, rest: Rest, position: int) -> None:
        self.skip = rest.skip
        self.left = None if rest.end is None else rest.end - position
        self.whole = rest.whole
        self.is_end = rest.whole == position
        self.ready = b""

    def drop(self, data: bytes) -> bytes:
        """Throw away what comes before the position, and return what is left of some bytes."""
        dropped = min(self.skip, len(data))
        self.skip -= dropped
        return data[dropped:]

    @property
    def may_be_empty(self) -> bool:
        """Whether a part that has brought nothing has not failed."""
        return self.is_end or self.left is None


class BodyProgress:
    """How much of a body is there.

    Args:
        entity: What its response says of the bytes.

    Attributes:
        length: How many bytes there will be, or None where that is not known.
        received: How many have come.
        unproved: Why there is no next part, or None as long as there may be one.
    """

    __slots__ = ("_offset", "length", "received", "unproved")

    def __init__(self, entity: Entity) -> None:
        self._offset = entity.first
        self.length = None if entity.end is None else entity.end - entity.first
        self.received = 0
        self.unproved: Unproved | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the last byte has come; False as long as the length is not known."""
        return self.received == self.length

    @property
    def may_end(self) -> bool:
        """Whether the body is complete if its part ends now, which the framing (chunks) decides without a length."""
        return self.length is None or self.received == self.length

    def take_up(self, part: Part) -> bool:
        """Go on with another part, and return whether nothing was missing but the end."""
        if self.length is None and part.whole is not None:
            self.length = part.whole - self._offset
        return self.is_complete or (not part.ready and part.left is None)


AnyPart = TypeVar("AnyPart", bound=Part)


@unpicklable
class RestSearch(Generic[AnyPart]):
    """What the requests for the rest of one body need, and what their answers mean.

    Args:
        store: Where state lives.
        policies: The policies of the call.
        call: The call, with the URL of the attempt that brought the body.
        request: The request of that attempt.
        report: The report that the caller has.
        entity: The entity of the body.
    """

    __slots__ = ("_call", "_entity", "_policies", "_report", "_request", "_store")

    def __init__(
        self, store: Store, policies: Sequence[Policy], call: Call, request: Any, report: Report, entity: Entity
    ) -> None:
        self._store = store
        self._policies = policies
        self._call = call
        self._request = request
        self._report = report
        self._entity = entity

    @contextmanager
    def _reporting(self, now: Callable[[], float]) -> Iterator[list[Entry]]:
        """Yield a list for the entries that are made within the block, and put it into the caller's report."""
        began, report = now(), self._report
        entries = list(report.entries)
        try:
            yield entries
        finally:
            report.entries = entries
            report.elapsed += now() - began

    def _begin(self, call: Call, received: int, broken: Outcome, entries: list[Entry]) -> Flow | None:
        """Note a break, and return the flow of the rest, or None where no policy retries."""
        entries.append(BodyBreak(received, "" if broken.failure is None else broken.failure.name))
        return rest_flow(self._policies, call, broken)

    def _wants_credential(self, part: AnyPart | Unproved, outcome: Outcome, *, owned: bool) -> bool:
        """Return whether the server refused the credential of the request for the rest."""
        return isinstance(part, Unproved) and outcome.status == 401 and owned and not self._call.anonymous

    def _conclude(self, part: AnyPart | Unproved, outcome: Outcome) -> AnyPart | Unproved:
        """Return the part, whose length is now known, or why there is none, in the words that fit best."""
        if isinstance(part, Unproved):
            if outcome.failure is not None or outcome.status >= 400:
                reason = outcome.note or ("" if outcome.failure is None else outcome.failure.name)
                return Unproved(reason) if reason and part.reason == NOT_ASKED.reason else part
        elif self._entity.end is None and part.whole is not None:
            self._entity = self._entity._replace(end=part.whole, total=part.whole)
        return part


def explain_unproved(error: BaseException, unproved: Unproved | None) -> None:
    """Let the error that reading a body ends with say why the body did not go on."""
    if unproved is not None:
        add_note(error, f"polvo: the body does not go on: {unproved.reason}")
