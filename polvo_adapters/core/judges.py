"""Functions of the user's own that say what an answer is.

Theory of operation. A judge is given the `Answer` and returns a verdict, a refusal, or the name of a kind, such as
"throttled"; or None, so that what is known of all APIs decides. There is one kind of judge. A policy that has one gives
it to the shell, which gives it to each call, so that all policies go by it, and not that policy alone.

Judges of former versions took the parts of an answer one by one. They keep working: `adapt` tells them by their
parameters, and calls them as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from polvo_adapters import headers
from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.verdict import KINDS, Kind, Verdict

Said: TypeAlias = "Verdict | headers.Throttled | Kind | None"
"""What a judge may return: a verdict, a refusal, the name of a kind, or None to have no opinion."""
Judge: TypeAlias = Callable[[Answer], Said]
"""Returns what an answer is, or None so that what is known of all APIs decides."""


def ask_judge(judge: Judge, answer: Answer) -> tuple[Verdict | None, str]:
    """Return what a judge says of an answer, and a note where it has raised or returned something else.

    What the server has answered matters more than a judge that does not expect it.
    """
    try:
        said = judge(answer)
        if said is None:
            return None, ""
        verdict = _to_verdict(said, answer)
    except Exception as error:  # noqa: BLE001 - a function of the user's own may raise anything
        return None, f"judge raised {type(error).__name__}"
    return verdict, "" if verdict is not None else f"judge returned a {type(said).__name__} that is no verdict"


def add_judges(call: Call, judges: tuple[Judge, ...]) -> Call:
    """Return the call with the judges of a policy, where no shell has given them to it."""
    missing = tuple(judge for judge in judges if judge not in call.judges)
    return call._replace(judges=(*call.judges, *missing)) if missing else call


def _to_verdict(said: Any, answer: Answer) -> Verdict | None:
    if isinstance(said, headers.Throttled):
        verdict = Verdict.of_refusal(said)
    elif isinstance(said, str) and said in KINDS:
        delay = None if said == "served" else headers.retry_after(answer.headers, answer.now)
        verdict = Verdict(said, delay)  # type: ignore[arg-type]
    else:
        verdict = said
    if not isinstance(verdict, Verdict) or verdict.kind not in KINDS or not _is_delay(verdict.retry_after):
        return None
    return verdict if verdict.reason else verdict._replace(reason=f"{answer.status}, {verdict.kind}")


def _is_delay(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value >= 0)


@dataclass(frozen=True)
class FormerRefusalJudge:
    """A judge that takes headers, status, body and Unix time; None says that the answer is no refusal."""

    function: Callable[..., headers.Throttled | None]

    def __call__(self, answer: Answer) -> Said:
        """Return the refusal, or what the status alone says."""
        refusal = self.function(answer.headers, answer.status, answer.body, answer.now)
        return ("served" if answer.status < 500 else "failed") if refusal is None else refusal


@dataclass(frozen=True)
class FormerKeyJudge:
    """A judge that takes status, headers and body, and returns "at work", "refused" or None about the key alone."""

    function: Callable[..., str | None]

    def __call__(self, answer: Answer) -> Said:
        """Return what it says of the key, or None where it says nothing."""
        said = self.function(answer.status, answer.headers, answer.body)
        return {"at work": "at work", "refused": "key refused"}.get(said or "")  # type: ignore[return-value]


Former: TypeAlias = "type[FormerRefusalJudge | FormerKeyJudge]"
_PARAMETERS = {FormerRefusalJudge: "headers, status, body, now", FormerKeyJudge: "status, headers, body"}


def adapt(policy: Any, former: Former) -> None:
    """Give a frozen policy a `judge` that takes an `Answer`, whatever its own takes.

    Args:
        policy: The policy, which has a field `judge`.
        former: The form that judges of this policy had.

    Raises:
        ValueError: The judge is no function, or one that takes neither an `Answer` nor what it took formerly.
    """
    judge, name = policy.judge, type(policy).__name__
    if judge is None:
        return
    if not callable(judge):
        raise ValueError(f"{name}(judge={judge!r}): judge must be a function of an Answer, or None")
    if _takes(judge, 1):
        return
    if not _takes(judge, _PARAMETERS[former].count(",") + 1):
        raise ValueError(
            f"{name}(judge={judge!r}): judge must be a function of one Answer, which has method, host, attempt, "
            f"status, headers, body, failure and now; in former versions it took {_PARAMETERS[former]}"
        )
    object.__setattr__(policy, "judge", former(judge))


def _takes(function: Any, count: int) -> bool:
    """Return whether a function can be called with so many arguments; one that does not tell takes what is new."""
    import inspect  # as late as this, since it takes long to load

    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return count == 1
    return True
