"""What is said of a call while it goes on: the lines of the log, the same in all worlds.

    event          level    when                                                 logger
    -------------  -------  ---------------------------------------------------  -------------------------------
    attempt        DEBUG    an attempt has ended                                 attempts
    retry          WARNING  before the wait for another attempt                  retry, or the part that retries
    wait           INFO     before any other wait; a WARNING where it is long    the part that waits
    hedge          INFO     an attempt begins beside one that is late            hedge
    circuit        INFO     a circuit has changed; where it opens, a WARNING     breaker
    store_failure  WARNING  the store could not be asked or told something       stores
    refused        WARNING  at the end of a call that was not sent               the part that refused
    deadline       WARNING  at the end of a call that met its deadline           deadline
    gave_up        WARNING  at the end of a call that is not tried any more      the part that gave up
    answered       INFO     at the end, where a policy chose or made the answer  that part

A wait in several parts, such as a queue, is said before the first part, and once more when it has become long.
A change of another machine than a circuit is said in the same way, under the part and event that belong to it.
All that is said of a call is told to its listeners as a `CallEvent` as well, whether or not the log is heard.
The end of a flow within a race is not the end of the call, and is not said. `docs/logging.md` says the same to users,
and why the levels are what they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from logging import DEBUG, INFO, WARNING, Logger
from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Park, Sleep, Start
from polvo_adapters.core.judgement import was_served
from polvo_adapters.core.notices import CallEvent, LogListener, Notice, name_attempt
from polvo_adapters.core.outcomes import EXPIRED, NO_STORE, NOT_SENT, Ending, Outcome
from polvo_adapters.core.report import Attempt, Entry, StateChange
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.runtime.logs import ROOT, logger, say

ATTEMPTS = logger("attempts")
_STORES, _DEADLINE = logger("stores"), logger("deadline")

LONG_WAIT = 10.0
"""Seconds from which on a wait is a warning: a person who looks at a job that hangs has to find the reason."""

_CHANGES = {"breaker": "circuit", "tokens": "token_refresh", "secrets": "secret_refresh"}
_BY_POLICY = Ending("")


def count_attempts(entries: Sequence[Entry]) -> int:
    """Return how many attempts there are among the entries of a report."""
    return sum(type(each) is Attempt for each in entries)


def _say(
    log: Logger, level: int, event: str, text: str, *args: object, call: Call | None = None, **fields: Any
) -> None:
    """Say something of a call in the log, and tell it to the listeners of the call."""
    if call is None or not call.listeners:
        say(log, level, event, text, *args, call=call, **fields)
        return
    if not any(isinstance(each, LogListener) for each in call.listeners):
        say(log, level, event, text, *args, call=call, **fields)
    known = {_NAMES.get(name, name): value for name, value in fields.items()}
    part = log.name.rpartition(".")[2] if log.name != ROOT else ""
    told = (call.method, call.host, call.tenant, call.request_id, call.labels)
    notify(call.listeners, CallEvent(event, part, *told, **known))


_NAMES = {"what": "subject"}
"""Fields of the log that have another name in a CallEvent, in which `what` is the text for messages."""


def say_attempt(call: Call, entry: Attempt, number: int) -> None:
    """Say how an attempt ended; to be called only where it is heard, by the logger ATTEMPTS at DEBUG or a listener."""
    _say(
        ATTEMPTS,
        DEBUG,
        "attempt",
        "%s %s: attempt %d, %s after %.3f s",
        call.method,
        call.host,
        number,
        entry.failure or entry.status,
        entry.seconds,
        call=call,
        attempt=number,
        status=entry.status,
        failure=entry.failure,
        seconds=entry.seconds,
    )


def say_wait(call: Call | None, effect: Sleep | Park, seconds: float) -> None:
    """Say how long a wait is that is about to begin or goes on, and why; nothing where it is not known whose it is."""
    if call is None:
        return
    notice = effect.notice or Notice("", call)
    if notice.attempt:
        _say_retry(notice, effect.reason, seconds)
        return
    up_to = notice.at_most is not None or type(effect) is Park
    most = seconds if notice.at_most is None else notice.at_most
    left = most - notice.waited
    duration = f"up to {left:.3f} s" if up_to else f"{left:.3f} s"
    is_long = notice.waited >= LONG_WAIT or (not up_to and left >= LONG_WAIT)
    _say(
        logger(notice.part),
        WARNING if is_long else INFO,
        "wait",
        "%s %s: %s; waiting %s%s",
        notice.call.method,
        notice.call.host,
        effect.reason,
        duration if left < math.inf else "for as long as it takes",
        f" more, after {notice.waited:.3f} s" if notice.waited else "",
        call=notice.call,
        status=notice.status,
        seconds=left,
        reason=effect.reason,
    )


def _say_retry(notice: Notice, reason: str, seconds: float) -> None:
    _say(
        logger(notice.part),
        WARNING,
        "retry",
        "%s %s: %s; %s in %.3f s",
        notice.call.method,
        notice.call.host,
        reason,
        name_attempt(notice.attempt, notice.max_attempts),
        seconds,
        call=notice.call,
        attempt=notice.attempt,
        max_attempts=notice.max_attempts,
        status=notice.status,
        failure=notice.failure,
        seconds=seconds,
        reason=reason,
    )


def say_start(call: Call | None, effect: Start) -> None:
    """Say that an attempt begins beside another one."""
    notice = effect.notice
    if call is None or notice is None:
        return
    _say(
        logger(notice.part),
        INFO,
        "hedge",
        "%s %s: %s; attempt %d of %d begins beside it",
        notice.call.method,
        notice.call.host,
        effect.reason,
        notice.attempt,
        notice.max_attempts,
        call=notice.call,
        attempt=notice.attempt,
        max_attempts=notice.max_attempts,
        reason=effect.reason,
    )


def say_end(call: Call, outcome: Outcome, entries: Sequence[Entry]) -> None:
    """Say how a call ended, unless it ended as the server, or the connection to it, ended it."""
    failure, ending = outcome.failure, outcome.ending or _BY_POLICY
    reason = "; ".join(filter(None, (ending.reason, outcome.note)))
    what = name = "" if failure is None else failure.name
    event, level, log = "gave_up", WARNING, logger(ending.part)
    if failure is NOT_SENT or failure is NO_STORE:
        event = "refused"
        what += f", refused by {ending.part}" if ending.part else ""
    elif failure is EXPIRED:
        event, log = "deadline", _DEADLINE
    elif outcome.ending is None:
        return
    elif was_served(call, outcome):
        event, level = "answered", INFO
    if outcome.status and failure is not EXPIRED:
        what, name = str(outcome.status), ""  # says more than the failure that a policy made of it
    attempts = count_attempts(entries)
    _say(
        log,
        level,
        event,
        "%s %s: %s%s",
        call.method,
        call.host,
        what,
        f"; {reason}" if reason else "",
        call=call,
        attempt=attempts,
        status=outcome.status,
        failure=name,
        seconds=outcome.now - call.started if attempts else None,
        retry_after=ending.retry_after,
        reason=reason,
    )


def say_change(call: Call | None, part: str, change: StateChange, *, is_trouble: bool) -> None:
    """Say that the state of a machine has changed."""
    _say(
        logger(part),
        WARNING if is_trouble else INFO,
        _CHANGES.get(part, "state_change"),
        "%s",
        change,
        call=call,
        what=change.what,
        before=change.before,
        after=change.after,
        reason=change.reason,
    )


def say_store_failure(call: Call | None, level: int, what: str, names: str, reason: str, text: str) -> None:
    """Say that the store could not be asked or told something.

    Args:
        call: The call, where it is known.
        level: The level.
        what: What could not be done.
        names: Keys of the states.
        reason: The class of the error, or the reason that it names.
        text: The text of the error where it is this library's own, otherwise the reason again.
    """
    _say(
        _STORES,
        level,
        "store_failure",
        "%s; %s: %s",
        what,
        names,
        text,
        call=call,
        what=names,
        reason=reason,
    )
