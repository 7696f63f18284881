"""The marks that this package puts on a request, in one attribute that copies of the request begin without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from polvo_adapters.core.report import Entry

_ATTRIBUTE = "_polvo"


class RequestMarks:
    """Marks of one request.

    Attributes:
        assigned: Headers generated for this very request: by name, the value, and whether its call is complete.
        owners: The owners of credentials in this request, by "?" and the name of the query parameter, or by the name of
            the header in lower case; an empty string where the credential never changes.
        places: Where an auth object has put something that names no owner, such as a signature, as places of `owners`.
        unreported: What was performed to obtain its credential and is in no report yet.
        judges: Functions that tell the policies which answers refuse its credential; see `polvo_adapters.core.judges`.
        sign_again: Signs it, or a copy of it, anew; None where one signature is for all attempts. It holds secrets, and
            is left out of pickles.
    """

    # Without __slots__, which the pickle protocols 0 and 1 do not know: responses are pickled with their request.

    def __init__(self) -> None:
        self.assigned: dict[str, tuple[str | bytes, bool]] = {}
        self.owners: Mapping[str, str] = {}
        self.places: tuple[str, ...] = ()
        self.unreported: list[Entry] = []
        self.judges: tuple[Callable[[Any], Any], ...] = ()
        self.sign_again: Callable[[Any], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "sign_again": None, "judges": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # a pickle of before has not all of them
        vars(self).update(state)

    def take_unreported(self) -> list[Entry]:
        """Return the entries that are in no report yet, and forget them."""
        entries, self.unreported = self.unreported, []
        return entries


NO_MARKS = RequestMarks()
"""Those of a request that has none; only to read."""


def marks_of(request: Any) -> RequestMarks:
    """Return the marks of a request of `requests` or httpx, to read and to add to."""
    attributes = vars(request)
    if _ATTRIBUTE not in attributes:
        attributes[_ATTRIBUTE] = RequestMarks()
    marks: RequestMarks = attributes[_ATTRIBUTE]
    return marks


def read_marks(request: Any) -> RequestMarks:
    """Return the marks of a request, only to read."""
    marks: RequestMarks = getattr(request, _ATTRIBUTE, NO_MARKS)
    return marks
