"""How an attempt ended, as a predicate of the user's own sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from polvo_adapters.core.calls import Call
from polvo_adapters.core.outcomes import Outcome


class Answer(NamedTuple):
    """What came of an attempt: a response, or a failure.

    Attributes:
        method: Method of the request.
        host: Host and port.
        attempt: Number of the attempt, from 1.
        status: Status of the response, or 0 where there was none.
        headers: Headers of the response; names are looked up in lower case.
        body: The body, or None where it was not read: the caller streams it, or there was no response.
        failure: Name of the failure, such as "read timeout", or an empty string where there was a response.
        now: Unix time at its end.
    """

    method: str
    host: str
    attempt: int
    status: int
    headers: Mapping[str, str]
    body: bytes | None
    failure: str
    now: float = 0.0

    def json(self) -> Any:
        """Return the body as JSON, or None where it is none, so that a predicate need not look first."""
        try:
            return None if self.body is None else json.loads(self.body)
        except ValueError:
            return None

    @classmethod
    def of(cls, call: Call, attempt: int, outcome: Outcome) -> Answer:
        """Return the answer that an attempt at a call had.

        Args:
            call: The call.
            attempt: Number of the attempt.
            outcome: Its outcome.
        """
        failure = "" if outcome.failure is None else outcome.failure.name
        now = outcome.wall
        return cls(call.method, call.host, attempt, outcome.status, outcome.headers, outcome.body, failure, now)

    def __repr__(self) -> str:
        size = "not read" if self.body is None else f"{len(self.body)} bytes"
        return f"<Answer {self.method} {self.host}: {self.failure or self.status}, body {size}>"


AnswerTest: TypeAlias = Callable[[Answer], "bool | None"]
"""A predicate: True, False, or None to have no opinion."""


def ask(test: AnswerTest, answer: Answer) -> tuple[bool | None, str]:
    """Return what a predicate says of an answer, and the class of what it raises, which counts as None.

    What the server has answered matters more than a predicate that does not expect it.
    """
    try:
        said = test(answer)
    except Exception as error:  # noqa: BLE001 - a function of the user's own may raise anything
        return None, type(error).__name__
    return None if said is None else bool(said), ""
