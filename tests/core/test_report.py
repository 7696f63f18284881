"""The report of a call."""

from __future__ import annotations

import pickle

from polvo_adapters.core.outcomes import READ_TIMEOUT, Outcome
from polvo_adapters.core.report import Attempt, Report, Wait, record_attempt
from polvo_adapters.headers import Quota

ENTRIES = [Attempt(0, "read timeout", 2.0), Wait(0.5, "read timeout"), Attempt(200, "", 0.25)]


def test_a_report_counts_and_adds_up() -> None:
    report = Report("GET", "api.example.com", ENTRIES)
    assert report.attempts == [ENTRIES[0], ENTRIES[2]]
    assert report.waits == [ENTRIES[1]]
    assert (report.waited, report.elapsed) == (0.5, 2.75)


def test_only_waits_in_the_queue_of_a_rate_limit_are_queued() -> None:
    waits = [Wait(1.0, "429, Retry-After 1 s"), Wait(2.0, "rate limit of 5 per second"), Wait(4.0, "no rate limit")]
    report = Report("GET", "api.example.com", [*ENTRIES, *waits])
    assert (report.queued, report.waited) == (2.0, 7.5)


def test_a_report_has_quotas_where_they_were_read() -> None:
    assert Report("GET", "api.example.com", []).quotas == ()
    copied = pickle.loads(pickle.dumps(Report("GET", "api.example.com", [], quotas=[Quota("core", 5)])))
    assert copied.quotas == [Quota("core", 5)]


def test_a_report_is_readable() -> None:
    assert str(Report("GET", "api.example.com", ENTRIES, "gave up")) == (
        "GET api.example.com: 2 attempts in 2.750 s, 0.500 s of it waiting; gave up\n"
        "  read timeout after 2.000 s\n"
        "  waited 0.500 s (read timeout)\n"
        "  200 after 0.250 s"
    )
    assert repr(Report("GET", "api.example.com", ENTRIES[2:])) == "<Report GET api.example.com: 1 attempt in 0.250 s>"


def test_a_report_pickles() -> None:
    copy = pickle.loads(pickle.dumps(Report("GET", "api.example.com", ENTRIES, "gave up")))
    assert str(copy) == str(Report("GET", "api.example.com", ENTRIES, "gave up"))


def test_an_attempt_keeps_no_response_and_no_exception() -> None:
    assert record_attempt(Outcome(status=503, response=object(), started=1.0, now=3.0)) == Attempt(503, "", 2.0)
    lost = Outcome(error=OSError("secret"), failure=READ_TIMEOUT, started=1.0, now=3.0)
    assert record_attempt(lost) == Attempt(0, "read timeout", 2.0)
