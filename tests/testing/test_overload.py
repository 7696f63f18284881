"""An overloaded server, counted by hand: one worker, a second per request, unless a test says otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any

import pytest
from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random_exponential
from urllib3 import Retry

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Policy, Proceed
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff, RetryBudget
from polvo_adapters.testing.simulation.overload import (
    OverloadedServer,
    OverloadResult,
    OverloadSample,
    Phase,
    ScheduledCall,
    draw_calls,
    plan_outage,
    run,
)
from polvo_adapters.testing.simulation.simulation import Timeline
from tests.benchmarks.overload import (
    KINDS,
    STRATEGIES,
    Again,
    Setting,
    main,
    overloads,
    simulate,
    tenacity_waits,
    urllib3_waits,
)


class Asked:
    """Requests put to a server, and what became of them: moment and status."""

    def __init__(self, moments: Sequence[float], seconds: float = math.inf, **keywords: Any) -> None:
        self.answers: dict[int, tuple[float, int]] = {}
        timeline = Timeline()
        self.server = OverloadedServer(timeline, **{"workers": 1, "service": 1.0, **keywords})
        for number, moment in enumerate(moments):
            timeline.after(moment, partial(self.server.receive, partial(self._answer, number)))
        timeline.run(seconds)

    def _answer(self, number: int, status: int) -> None:
        self.answers[number] = (self.server.timeline.now(), status)

    @property
    def told(self) -> list[tuple[float, int] | None]:
        return [self.answers.get(number) for number in range(max(self.answers, default=-1) + 1)]


def test_requests_are_worked_on_in_the_order_in_which_they_came() -> None:
    assert Asked([0.0, 0.25, 0.5, 5.0]).told == [(1, 200), (2, 200), (3, 200), (6, 200)]


def test_workers_work_side_by_side() -> None:
    assert Asked([0.0, 0.0, 0.0], workers=2).told == [(1, 200), (1, 200), (2, 200)]


def test_what_finds_the_queue_full_is_refused_at_once() -> None:
    assert Asked([0.0, 0.25, 0.5, 1.25], queue=1).told == [(1, 200), (2, 200), (0.5, 503), (3, 200)]


def test_without_a_queue_only_what_finds_a_free_worker_is_accepted() -> None:
    assert Asked([0.0, 0.25, 1.25], queue=0).told == [(1, 200), (0.25, 503), (2.25, 200)]


def test_a_queue_has_no_bound_unless_told() -> None:
    asked = Asked([0.0] * 1000, seconds=0.5)
    assert (asked.server.waiting, asked.answers) == (999, {})


def test_work_takes_longer_where_more_is_waiting() -> None:
    assert Asked([0.0, 0.0, 0.0], overhead=0.5).told == [(1, 200), (2.5, 200), (3.5, 200)]


def test_a_server_that_is_down_refuses_what_comes_and_what_waits() -> None:
    asked = Asked([0.0, 0.25, 3.0, 4.0], plan=plan_outage("down", 0.5, 4.0))
    assert asked.told == [(1, 200), (0.5, 503), (3, 503), (5, 200)]


def test_a_server_that_hangs_loses_what_comes_and_keeps_what_waits() -> None:
    asked = Asked([0.0, 0.25, 3.0, 4.0], plan=plan_outage("hang", 0.5, 4.0))
    assert asked.told == [(1, 200), (5, 200), None, (6, 200)]


def test_a_slow_server_has_fewer_workers_and_lets_those_at_work_finish() -> None:
    asked = Asked([0.0] * 4 + [0.5] * 2, workers=4, plan=plan_outage("slow", 0.25, 2.5, capacity=0.25))
    assert asked.told == [(1, 200)] * 4 + [(2, 200), (3, 200)]


def test_more_workers_take_up_what_waits() -> None:
    asked = Asked([0.0] * 4, workers=4, plan=[Phase(0.0, capacity=0.25), Phase(0.5)])
    assert asked.told == [(1, 200)] + [(1.5, 200)] * 3


@dataclass(frozen=True)
class Never:
    """Sends nothing."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        return Outcome(note="no")
        yield from proceed(call)


def try_calls(
    server: OverloadedServer, *policies: Policy, moments: Sequence[float] = (1.0,), **keywords: float
) -> OverloadResult:
    """Let one client call at these moments; it waits for three quarters of a second."""
    keywords = {"seconds": 10.0, "timeout": 0.75, "latency": 0.0, "patience": 10.0, "grain": 0.5, **keywords}
    return run(server, [ScheduledCall(moment, 0) for moment in moments], policies, **keywords)


def make_server(service: float = 0.5, **keywords: Any) -> OverloadedServer:
    return OverloadedServer(Timeline(), workers=1, service=service, **keywords)


def test_work_for_one_who_waits_is_useful() -> None:
    result = try_calls(make_server())
    assert result.over(0.0, 10.0) == OverloadSample(calls=1, served=1, requests=1, useful=1)
    assert result.over(1.0, 1.5) == OverloadSample(calls=1, served=1, requests=1)
    assert result.over(1.5, 2.0) == OverloadSample(useful=1)


def test_work_for_one_who_has_given_up_is_done_and_wasted() -> None:
    result = try_calls(make_server(service=1.0))
    assert result.over(0.0, 10.0) == OverloadSample(calls=1, failed=1, failed_seconds=0.75, requests=1, wasted=1)


def test_retries_keep_a_queue_full_of_what_was_given_up() -> None:
    # Four calls at once, half a second each. The first is served at 1.5. The others give up at 1.75 and come again;
    # by then the second is being worked on, so that they wait until 3.0 for the work that nobody wants any more.
    moments = [1.0] * 4
    once, twice = (
        try_calls(make_server(), moments=moments),
        try_calls(make_server(), Again([(0.0, 0.0)]), moments=moments),
    )
    assert once.over(0.0, 10.0) == OverloadSample(
        calls=4, served=1, failed=3, failed_seconds=2.25, requests=4, useful=1, wasted=3
    )
    assert twice.over(0.0, 10.0) == OverloadSample(
        calls=4, served=1, failed=3, failed_seconds=4.5, requests=7, useful=1, wasted=6
    )


def test_requests_reach_the_server_after_the_latency() -> None:
    soon, late = (try_calls(make_server(), latency=latency) for latency in (0.2, 0.5))
    assert soon.over(0.0, 10.0) == OverloadSample(calls=1, served=1, requests=1, useful=1)
    assert late.over(0.0, 10.0) == OverloadSample(calls=1, failed=1, failed_seconds=0.75, requests=1, wasted=1)
    assert (late.over(1.0, 1.5).requests, late.over(1.5, 2.0).requests) == (0, 1)


def test_attempts_end_at_the_deadline_of_the_call() -> None:
    result = try_calls(make_server(service=1.0), Deadline(0.25), Again([(0.0, 0.0)] * 9))
    assert result.over(0.0, 10.0).failed_seconds == 0.25


def test_a_call_that_sent_nothing_was_held() -> None:
    assert try_calls(make_server(), Never()).over(0.0, 10.0) == OverloadSample(calls=1, held=1, failed=1)


def test_each_client_has_a_store_of_its_own() -> None:
    # The budget of one client has no room for the second retry; that of another client has.
    policy = ExponentialBackoff(2, jitter="none", budget=RetryBudget(ratio=0.0, reserve=1, trust=0))
    server = partial(make_server, plan=plan_outage("down", 0.0, 10.0))
    one = run(server(), [ScheduledCall(1.0, 0), ScheduledCall(1.0, 0)], [policy], 10.0)
    two = run(server(), [ScheduledCall(1.0, 0), ScheduledCall(1.0, 1)], [policy], 10.0)
    assert (one.over(0.0, 10.0).requests, two.over(0.0, 10.0).requests) == (3, 4)


def test_calls_beyond_what_is_judged_are_made_and_not_counted() -> None:
    server = make_server(service=10.0)
    result = try_calls(server, moments=[1.0, 2.0, 3.0, 4.0], seconds=2.0, patience=1.5)
    assert (len(result.grains), result.over(0.0, 2.0).calls, server.waiting) == (4, 1, 2)


def test_a_call_that_is_not_over_at_the_end_was_not_served() -> None:
    result = try_calls(make_server(), moments=[1.0, 1.25], seconds=1.5, patience=0.25)
    assert result.over(0.0, 1.5) == OverloadSample(calls=2, served=1, requests=2)
    assert result.over(0.0, 1.5).served_part == 0.5


def test_parts_of_nothing() -> None:
    nothing = OverloadSample()
    told = (nothing.amplification, nothing.served_part, nothing.held_part, nothing.seconds_to_fail)
    assert told == (0.0, 1.0, 0.0, 0.0)


def test_parts_and_means() -> None:
    grain = OverloadSample(calls=8, served=2, held=4, failed=6, failed_seconds=3.0, requests=12)
    assert (grain.amplification, grain.served_part, grain.held_part, grain.seconds_to_fail) == (1.5, 0.25, 0.5, 0.5)


def make_history(*served: int, grain: float = 0.5) -> OverloadResult:
    return OverloadResult([OverloadSample(calls=20, served=number) for number in served], grain)


@pytest.mark.parametrize(
    ("served", "seconds"),
    [
        ([0, 0, 0, 0, 20, 20, 20, 20], 0.0),
        ([0, 0, 0, 0, 0, 20, 20, 20], 0.5),
        ([0, 0, 0, 0, 18, 20, 20, 20], 0.0),  # 38 of 40 in the second from the end of the outage on
        ([0, 0, 0, 0, 20, 18, 19, 20], 1.0),  # 37 of 40 in the second that begins half a second after it
        ([0, 0, 0, 0, 20, 20, 20, 0], math.inf),
        ([20, 20, 20, 20, 20, 20, 20, 20], 0.0),
    ],
)
def test_recovery_is_when_every_second_is_as_before(served: list[int], seconds: float) -> None:
    assert make_history(20, 20, *served).recovery(1.0, 3.0) == seconds


def test_recovery_is_measured_against_what_was_usual() -> None:
    assert make_history(10, 10, 0, 0, 9, 10, 10).recovery(1.0, 2.0) == 0.0
    assert make_history(10, 10, 0, 0, 9, 9, 10).recovery(1.0, 2.0) == 0.5


def test_calls_of_many_people() -> None:
    calls = list(islice(draw_calls(rate=100.0, clients=4, seed=1), 10_000))
    assert calls[-1].moment == pytest.approx(100.0, rel=0.03)
    assert [sum(call.client == client for call in calls) for client in range(4)] == pytest.approx([2500] * 4, rel=0.05)
    gaps = [after.moment - before.moment for before, after in pairwise(calls)]
    assert sum(gap > 0.01 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), rel=0.05)
    assert calls[:10] == list(islice(draw_calls(rate=100.0, clients=4, seed=1), 10))


def test_the_waits_of_urllib3_are_those_of_its_documentation() -> None:
    # "{backoff factor} * (2 ** ({number of previous retries}))", and none before the first retry
    assert urllib3_waits(Retry(3, backoff_factor=0.5)) == [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]


def test_the_waits_of_tenacity_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []
    monkeypatch.setattr("random.uniform", lambda low, high: drawn.append((low, high)) or 0.0)
    wait, state = wait_random_exponential(multiplier=1, max=60), RetryCallState(Retrying(), None, (), {})
    for attempt in range(1, 10):
        state.attempt_number = attempt
        wait(state)
    assert tenacity_waits(attempts=10) == drawn


SMALL = Setting(clients=20, rate=70.0, begin=5.0, back=15.0, end=60.0)


def test_retries_without_bound_keep_a_server_down_that_is_up_again() -> None:
    results = {strategy: simulate(SMALL, strategy) for strategy in STRATEGIES}
    recoveries = {strategy: result.recovery(5.0, 15.0) for strategy, result in results.items()}
    requests = {strategy: result.over(5.0, 15.0).amplification for strategy, result in results.items()}
    assert requests["none"] == pytest.approx(1.0, abs=0.02)
    assert requests["ours"] < 0.5 * min(requests["urllib3"], requests["tenacity"])
    assert 10.0 < recoveries["none"] < 30.0
    assert recoveries["urllib3"] == recoveries["tenacity"] == math.inf
    assert recoveries["ours"] <= recoveries["none"] + 1.0
    last = results["urllib3"].over(50.0, 60.0)
    assert (last.useful, last.served) == (0, 0)
    assert last.wasted == pytest.approx(1000, abs=20), "the server is up, and works for nobody"


def test_equal_seeds_give_equal_runs() -> None:
    setting = SMALL._replace(begin=2.0, back=4.0, end=6.0)
    first, again = (simulate(setting, "tenacity") for _ in range(2))
    assert first == again
    assert simulate(setting._replace(seed=1), "tenacity") != first
    assert simulate(setting._replace(clients=1), "tenacity") == first, "what keeps nothing knows no clients"


def test_the_benchmark_measures_and_compares() -> None:
    rows = {row.name: row for row in overloads(quick=True)}
    assert len(rows) == len(STRATEGIES) * len(KINDS)
    assert rows["4, down: none"].amplification == pytest.approx(1.0, abs=0.02)
    assert rows["4, down: urllib3"].amplification > 2.5
    assert rows["4, metastable: none"].later == 0.0
    assert all(row.bar for name, row in rows.items() if name.endswith("ours"))


def test_one_run_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "down", "--strategy", "none", "--clients", "2", "--rate", "70"]
    assert main([*words, "--begin", "5", "--back", "10", "--end", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[-1] == "all is well 0.0 s after it"
