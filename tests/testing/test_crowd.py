"""A crowd in virtual time, counted by hand: a call takes a tenth of a second, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Flow, Policy, Proceed, compose
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    Standing,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, CrowdResult, CrowdWindow, QuotaServer, run
from polvo_adapters.testing.simulation.simulation import Simulation, Timeline
from polvo_adapters.testing.virtual_clock import EPOCH
from tests.benchmarks.crowd import EVENTS, KINDS, STRATEGIES, Setting, clients, crowds, main, simulate

PLENTY = 1000


def make_steady_server(limit: int = PLENTY, window: float = 2.0, latency: float = 0.1) -> QuotaServer:
    return QuotaServer([AlignedWindowLimiter(limit, window)], latency=latency, spread=0.0)


def count_served(result: CrowdResult, client: int = 0) -> list[int]:
    return [window.served[client] for window in result.windows]


def ask(server: QuotaServer, now: float, resource: int = 0) -> tuple[int, dict[str, str]]:
    reply = server.reply(Call("GET", f"http://api.example/{resource}"), now)
    return reply.status, dict(reply.headers)


def test_answers_tell_what_the_limiter_said() -> None:
    server = QuotaServer([FixedWindowLimiter(limit=1, window=10)], dialect="draft-6")
    told = {"ratelimit-policy": "1;w=10", "ratelimit-limit": "1", "ratelimit-remaining": "0"}
    assert ask(server, 0.0) == (200, {**told, "ratelimit-reset": "10"})
    assert ask(server, 7.5) == (429, {**told, "ratelimit-reset": "3", "retry-after": "3"})
    assert ask(server, 10.0) == (200, {**told, "ratelimit-reset": "10"})


def test_moments_are_told_on_the_virtual_wall_clock() -> None:
    server = QuotaServer([FixedWindowLimiter(limit=1, window=10)], dialect="x-epoch")
    ask(server, 5.0)
    assert ask(server, 7.5)[1]["x-ratelimit-reset"] == str(int(EPOCH) + 15)


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        ("github-like", "x-ratelimit-resource", "r1"),
        ("draft-8", "ratelimit", '"r1";r=1;t=10'),
        ("draft-8", "ratelimit-policy", '"r1";q=2;w=10'),
    ],
)
def test_resources_are_counted_and_named_each_for_itself(dialect: str, field: str, value: str) -> None:
    server = QuotaServer([FixedWindowLimiter(limit=1, window=10), FixedWindowLimiter(limit=2, window=10)], dialect)
    assert server.limit == 3
    assert [ask(server, 0.0, 0)[0] for _ in range(2)] == [200, 429]
    status, headers = ask(server, 0.0, 1)
    assert (status, headers[field]) == (200, value)


def test_ways_are_drawn_around_half_of_the_latency() -> None:
    server = QuotaServer([FixedWindowLimiter(1, 1)], latency=0.2, spread=0.5)
    ways = [server.way() for _ in range(1000)]
    assert 0.05 <= min(ways) < 0.052
    assert 0.148 < max(ways) <= 0.15
    assert sum(ways) / len(ways) == pytest.approx(0.1, abs=0.005)
    assert QuotaServer([FixedWindowLimiter(1, 1)], latency=0.2, spread=0.0).way() == pytest.approx(0.1)


def test_it_serves_a_simulation_too() -> None:
    simulation = Simulation(QuotaServer([FixedWindowLimiter(limit=1, window=10)], spread=0.0))
    simulation.call(compose([]))
    call = simulation.call(compose([ExponentialBackoff(jitter="none")]), Call("GET", "http://api.example/"), at=1.0)
    simulation.run()
    assert [str(entry) for entry in call.entries] == [
        "429 after 0.025 s",
        "waited 9.000 s (429, Retry-After 9 s)",
        "200 after 0.025 s",
    ]


def test_who_asks_on_gets_exactly_the_quota() -> None:
    result = run(make_steady_server(limit=5), [CrowdClient()], [], windows=3)
    assert [(window.begin, window.accepted, window.rejected) for window in result.windows] == [
        (0.0, 5, 15),
        (2.0, 5, 15),
        (4.0, 5, 15),
    ]
    assert (result.over(1).goodput, result.over(1).rejected_part) == (1.0, 0.75)
    # A call every 0.1 s, where an even pace would be one every 0.4 s.
    assert result.over(0).peak == pytest.approx(4.0)
    assert (result.grain, result.grains[0], result.grains[5]) == (0.1, (1, 0), (0, 1))
    assert sum(grain.accepted for grain in result.grains) == 15


@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_on_gets_the_quota_everywhere(kind: str) -> None:
    settled = simulate(Setting(kind, limit=40, window=2.0, latency=0.02, windows=8), "greedy").over(4)
    assert settled.goodput == pytest.approx(1.0, abs=0.03)
    assert settled.rejected_part > 0.9


def test_windows_that_open_with_a_request_last_until_the_next_one_opens() -> None:
    server = QuotaServer([FixedWindowLimiter(limit=4, window=2.0)], latency=0.1, spread=0.0)
    result = run(server, [CrowdClient(demand=0.4, joins=1.0)], [], windows=3)
    assert [window.seconds for window in result.windows] == pytest.approx([2.5] * 3)
    assert [window.quota for window in result.windows] == pytest.approx([5.0] * 3)
    assert count_served(result) == [1, 1, 1]


def test_a_run_ends_where_nobody_asks() -> None:
    server = QuotaServer([FixedWindowLimiter(limit=4, window=2.0)])
    assert run(server, [CrowdClient(joins=1000.0)], [], windows=3).windows == []
    assert [window.accepted for window in run(make_steady_server(), [], [], windows=3).windows] == [0, 0, 0]


def test_the_peak_of_a_window_is_its_own() -> None:
    result = run(make_steady_server(limit=20), [CrowdClient(slots=3, leaves=1.0), CrowdClient()], [], windows=2)
    # In an even pace one would come in each tenth of a second.
    assert [window.peak for window in result.windows] == pytest.approx([4.0, 1.0])


def test_what_happens_at_one_moment_happens_in_the_order_in_which_it_was_put_down() -> None:
    timeline, order = Timeline(), list[int]()
    for number in range(5):
        timeline.after(1.0, partial(order.append, number))
    timeline.run()
    assert order == [0, 1, 2, 3, 4]


def test_slots_are_calls_at_once() -> None:
    assert count_served(run(make_steady_server(), [CrowdClient(slots=3)], [], windows=2)) == [60, 60]


def test_demand_is_calls_per_second_as_far_as_there_are_slots() -> None:
    result = run(make_steady_server(), [CrowdClient(demand=4.0), CrowdClient(slots=2, demand=100.0)], [], windows=3)
    assert (count_served(result, 0)[1:], count_served(result, 1)[1:]) == ([8, 8], [40, 40])


class Once:
    """Turns the first request away, and lets all others through."""

    limit, window = 1, 2.0

    def __init__(self) -> None:
        self.asked = 0

    def take(self, now: float) -> Standing:
        self.asked += 1
        return Standing(self.asked > 1, 1, 2.0, 1, 0.0, 0.0)


def test_what_was_turned_away_is_wanted_again() -> None:
    limiter: Limiter = Once()
    result = run(QuotaServer([limiter]), [CrowdClient(demand=0.5)], [], windows=3)
    assert [(window.accepted, window.rejected) for window in result.windows] == [(1, 1), (1, 0), (1, 0)]


def test_clients_join_leave_and_double() -> None:
    crowd = [
        CrowdClient(joins=1.98, leaves=5.92),
        CrowdClient(doubles=3.98),
        CrowdClient(demand=4.0, doubles=3.98),
    ]
    result = run(make_steady_server(), crowd, [], windows=4)
    assert (count_served(result, 0), count_served(result, 1)) == ([0, 20, 20, 0], [20, 20, 40, 40])
    assert (count_served(result, 2)[1], count_served(result, 2)[3]) == (8, 16)
    assert [window.there for window in result.windows] == [[1, 2], [0, 1, 2], [1, 2], [1, 2]]


@dataclass(frozen=True)
class Count:
    """A machine that counts, and the policy that writes down what it counted."""

    initial: int = 0
    seen: list[int] = field(default_factory=list)

    def transition(self, state: int, event: Any, now: float) -> tuple[int, int]:
        return state + 1, state + 1

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        (count,) = yield Decide((Event(self, call.origin, None),))
        self.seen.append(count)
        return (yield from proceed(call))


def test_clients_share_no_store_and_the_calls_of_one_client_do() -> None:
    counts = Count()
    run(make_steady_server(), [CrowdClient(slots=2), CrowdClient()], [counts], windows=1)
    assert sorted(counts.seen)[:6] == [1, 1, 2, 2, 3, 3]
    assert max(counts.seen) > 30


@dataclass(frozen=True)
class Refuse:
    """Ends every call before it is sent."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        return Outcome(error=RuntimeError("not now"))
        yield


def test_a_policy_that_sends_nothing_does_not_stop_time() -> None:
    assert count_served(run(make_steady_server(), [CrowdClient()], [Refuse()], windows=2)) == [0, 0]


def simulate_seeded(seed: int, kind: str, strategy: str) -> CrowdResult:
    return simulate(Setting(kind, limit=20, windows=5, seed=seed), strategy)


@pytest.mark.parametrize("kind", ["fixed", "gcra"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_seeds_give_equal_runs(kind: str, strategy: str) -> None:
    assert simulate_seeded(1, kind, strategy) == simulate_seeded(1, kind, strategy)


@pytest.mark.parametrize("strategy", ["greedy", "backoff"])
def test_other_seeds_give_other_runs(strategy: str) -> None:
    assert simulate_seeded(1, "gcra", strategy) != simulate_seeded(2, "gcra", strategy)


def test_the_seed_of_the_run_is_what_clients_draw() -> None:
    def result(seed: int) -> CrowdResult:
        policies: Sequence[Policy] = [ExponentialBackoff(budget=None, retry_after_on=())]
        return run(
            QuotaServer([TokenBucketLimiter(20, 4.0)], "none"), [CrowdClient(4)] * 2, policies, windows=3, seed=seed
        )

    assert result(1) == result(1)
    assert result(1) != result(2)


def test_arithmetic_of_a_window() -> None:
    window = CrowdWindow(0.0, 2.0, 8.0, [3, 1, 0], rejected=4, there=[0, 1], peak=2.0)
    assert (window.accepted, window.goodput, window.rejected_part) == (4, 0.5, 0.5)
    assert (window.shares, window.variation) == ([1.5, 0.5], 0.5)
    assert (window.least_share, window.most_share) == (0.5, 1.5)


def test_arithmetic_of_a_window_in_which_nothing_happened() -> None:
    window = CrowdWindow(0.0, 2.0, 8.0, [0, 0], rejected=0, there=[0, 1], peak=0.0)
    assert (window.goodput, window.rejected_part, window.shares, window.variation) == (0.0, 0.0, [1.0, 1.0], 0.0)
    nobody = window._replace(served=[], there=[])
    assert (nobody.shares, nobody.variation, nobody.least_share, nobody.most_share) == ([], 0.0, 1.0, 1.0)


def test_windows_are_put_together() -> None:
    one = CrowdWindow(0.0, 2.0, 8.0, [3, 1, 0], rejected=4, there=[0, 1], peak=2.0)
    two = CrowdWindow(2.0, 3.0, 12.0, [1, 1, 5], rejected=0, there=[0, 1, 2], peak=1.0)
    three = CrowdWindow(5.0, 2.0, 8.0, [0, 0, 2], rejected=1, there=[1, 2], peak=3.0)
    result = CrowdResult([one, two, three], [], 0.1)
    assert result.over(0, 2) == CrowdWindow(0.0, 5.0, 20.0, [4, 2, 5], rejected=4, there=[0, 1], peak=2.0)
    assert result.over(1) == CrowdWindow(2.0, 5.0, 20.0, [1, 1, 7], rejected=1, there=[1, 2], peak=3.0)


def test_who_must_be_patient_is() -> None:
    """Retry-After costs one rejection per thread and window; who hides it from itself waits for something else."""
    setting = Setting("aligned", clients=2, threads=2, limit=8, window=2.0, windows=6)
    obedient = simulate(setting, "retry-after").over(4)
    assert (obedient.accepted, obedient.rejected) == (16, 8)
    assert simulate(setting, "backoff").over(4).rejected != 8


def test_who_is_told_the_rate_keeps_to_it() -> None:
    settled = simulate(Setting("gcra"), "told").over(4)
    assert (settled.goodput, settled.rejected, settled.least_share) == (1.0, 0, 1.0)


def test_clients_of_a_setting_begin_one_after_the_other() -> None:
    assert [client.joins for client in clients(Setting(clients=4, stagger=2.0))] == [0.0, 0.5, 1.0, 1.5]
    assert {client.joins for client in clients(Setting(clients=8))} == {0.0}
    assert clients(Setting(clients=10, window=5.0))[9].joins == 4.5


def test_events_come_in_the_ninth_window() -> None:
    crowds_after = {name: event(Setting(clients=2)) for name, event in EVENTS.items()}
    moment = 8.3 * 4
    assert crowds_after == {
        "one joins": [CrowdClient(4), CrowdClient(4), CrowdClient(4, joins=moment)],
        "one leaves": [CrowdClient(4, leaves=moment), CrowdClient(4)],
        "one doubles": [CrowdClient(4, demand=12.5, doubles=moment), CrowdClient(4)],
    }


def test_one_run_of_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--kind aligned --strategy greedy --clients 1 --threads 1 --limit 5 --window 2 --windows 6 --latency 0.1"
    )
    assert main(arguments.split()) == 0
    _, *windows, settled = capsys.readouterr().out.splitlines()
    assert len(windows) == 6
    assert windows[1].split()[:3] == ["2", "2.00", "100.0%"]
    assert settled.split()[:3] == ["5..", "8.00", "100.0%"]
    assert settled.endswith("aligned greedy")


def test_quick_benchmark_reports_every_row() -> None:
    rows = crowds(quick=True)
    assert len({row.name for row in rows}) == len(rows) == len(STRATEGIES) * (2 + len(EVENTS))
    assert all(0 < row.goodput <= 2 for row in rows)  # a full bucket is a second quota
