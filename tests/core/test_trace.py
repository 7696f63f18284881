"""The trace of an attempt: what it proves, and its phases."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.report import Attempt
from polvo_adapters.core.trace import (
    BODY,
    CONNECT,
    HEAD,
    PROXY,
    QUEUE,
    RESOLVE,
    SEND,
    TLS,
    WAIT,
    Phase,
    Trace,
    phases_of,
)

BEFORE, FROM_SENDING = (RESOLVE, f"{CONNECT} 192.0.2.1", PROXY, TLS), (SEND, WAIT, HEAD, BODY)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("mark"), st.sampled_from(BEFORE)),
        st.tuples(st.sampled_from(["lend", "lend untraced", "send", "adopt sent", "adopt unsent", "adopt none"])),
    ),
    max_size=12,
)


def perform(trace: Trace, step: tuple[str, ...], now: float) -> bool:
    """Let something happen, and return whether a byte of the request may have left because of it."""
    name = step[0]
    if name == "mark":
        trace.marks.append((step[1], now))
    elif name.startswith("lend"):
        trace.lent += 1
        trace.untraced += name == "lend untraced"
    elif name == "send":  # as connections do it
        trace.sent = True
        trace.marks += [(phase, now) for phase in FROM_SENDING]
    elif name.startswith("adopt"):
        attempts = [] if name == "adopt none" else [Attempt(0, "disconnected", 1.0, name == "adopt sent")]
        trace.adopt(attempts)
    return name in ("send", "lend untraced", "adopt sent")


@given(steps)
def test_unsent_is_what_never_left_and_nothing_else(happened: list[tuple[str, ...]]) -> None:
    trace = Trace(0.0)
    may_have_left = False
    for now, step in enumerate(happened, 1):
        # What was sent once stays sent, whatever follows.
        may_have_left = perform(trace, step, float(now)) or may_have_left
        assert trace.is_unsent == (not may_have_left)
    names = [name for name, _ in trace.marks]
    if trace.is_unsent:
        assert not set(names) & set(FROM_SENDING)


@given(st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=12), st.booleans())
def test_the_phases_fill_the_attempt(seconds: list[float], lent: bool) -> None:
    trace, now = Trace(100.0), 100.0
    trace.lent = int(lent)
    for duration in seconds[:-1]:
        now += duration
        trace.marks.append((SEND, now))
    marks = trace.end(now + seconds[-1])
    phases = phases_of(marks)
    if not lent:
        assert (marks, phases) == ((), [])
    else:
        assert phases[0].name == QUEUE
        assert [phase.seconds for phase in phases] == pytest.approx(seconds, abs=1e-9)


def test_a_trace_of_an_adapter_inside_takes_the_place_of_that_outside() -> None:
    inside, outside = Trace(1.0), Trace(0.0)
    inside.lent, inside.sent = 1, True
    inside.marks.append((SEND, 2.0))
    attempt = Attempt(200, "", 3.0, True, inside.end(4.0))
    outside.adopt([attempt])
    assert outside.end(5.0) == [(QUEUE, 1.0), (SEND, 2.0), ("end", 5.0)]
    assert not outside.is_unsent
    assert list(attempt.marks) == [(QUEUE, 1.0), (SEND, 2.0), ("end", 4.0)]


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (Attempt(200, "", 0.5), "200 after 0.500 s"),
        (Attempt(0, "no connection", 0.5, False), "no connection after 0.500 s, nothing was sent"),
        (Attempt(0, "disconnected", 0.5), "disconnected after 0.500 s"),
        (
            Attempt(0, "connect timeout", 2.0, False, [(QUEUE, 0.0), ("connect 192.0.2.1", 0.5), ("end", 2.0)]),
            "connect timeout after 2.000 s, nothing was sent (queue 0.500, connect 192.0.2.1 1.500)",
        ),
    ],
)
def test_an_attempt_says_its_phases(attempt: Attempt, text: str) -> None:
    assert str(attempt) == text


@pytest.mark.parametrize("marks", [(), [(QUEUE, 1.0)]])
def test_what_has_no_end_has_no_phase(marks: Any) -> None:
    assert phases_of(marks) == []


def test_a_phase_prints_with_milliseconds() -> None:
    assert str(Phase(TLS, 0.01234)) == "tls 0.012"
