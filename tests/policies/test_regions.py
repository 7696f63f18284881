"""Regions, stepped by hand, in virtual time, and against a model of each mode."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.destinations import translate_location
from polvo_adapters.core.effects import Send, Start, WaitAny, compose, send_once
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    NOT_SENT,
    READ_TIMEOUT,
    UNCLASSIFIED,
    Failure,
    Outcome,
)
from polvo_adapters.errors import ConfigurationError, ServiceUnavailableError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.regions import Regions
from polvo_adapters.testing.simulation.simulation import (
    ScriptedFailure,
    ScriptedReply,
    ScriptedTurn,
    SimulatedCall,
    Simulation,
)
from tests.support.flow_stepper import UNSENT, URL, answered, failed

EU, US, AP = URLS = ("https://eu.example.com", "https://us.example.com/v2/", "https://ap.example.com:8080")
HOSTS = ("eu.example.com", "us.example.com", "ap.example.com:8080")
FALLBACK = Regions(URLS)
GET = Call("GET", URL)
POST = Call("POST", URL, body="replayable")
ONCE = Call("PUT", URL, body="once")
PROCESSED = failed(READ_TIMEOUT)


class Stepped:
    """Steps fallback by hand; each attempt ends as a list says."""

    def __init__(self, policy: Regions = FALLBACK, call: Call = GET) -> None:
        self.policy, self.call = policy, call
        self.sent: list[str] = []

    def run(self, *outcomes: Outcome) -> Outcome:
        flow, answer, left = self.policy.flow(self.call, send_once), None, list(outcomes)
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                assert left == []
                outcome: Outcome = end.value
                return outcome
            assert type(effect) is Send
            self.sent.append(effect.call.host)
            answer = left.pop(0)


# Where a call goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base", "there"),
    [
        ("https://api.example.com/orders?a=1&b=/2", "https://eu.example.com", "https://eu.example.com/orders?a=1&b=/2"),
        ("https://api.example.com/orders", "https://eu.example.com/v2", "https://eu.example.com/v2/orders"),
        ("https://api.example.com/orders", "https://eu.example.com/v2/", "https://eu.example.com/v2/orders"),
        ("http://api.example.com/", "http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("https://api.example.com/a", "https://127.0.0.1:8000", "https://127.0.0.1:8000/a"),
        ("https://api.example.com", "https://eu.example.com", "https://eu.example.com/"),
        ("https://api.example.com?a=1", "https://eu.example.com/v2", "https://eu.example.com/v2/?a=1"),
        ("https://user:secret@api.example.com:8443/a%2Fb", "https://[::1]:9", "https://[::1]:9/a%2Fb"),
        ("http://eu.example.com/x//y/", "https://eu.example.com", "https://eu.example.com/x//y/"),
    ],
)
def test_path_and_query_are_appended_to_the_base(url: str, base: str, there: str) -> None:
    flow = Regions([base]).flow(Call("GET", url), send_once)
    effect = next(flow)
    assert type(effect) is Send
    assert effect.call == Call("GET", there)


def test_the_attempt_is_the_same_for_every_region_because_each_counts_by_itself() -> None:
    flow = FALLBACK.flow(GET._replace(attempt=2), send_once)
    assert [next(flow).call.attempt, flow.send(answered(500)).call.attempt] == [2, 2]


# Fallback -------------------------------------------------------------------------------------------------------------


def test_the_first_region_that_can_serves_the_call() -> None:
    stepped = Stepped()
    outcome = stepped.run(answered())
    assert (stepped.sent, outcome.note) == (["eu.example.com"], "")


@pytest.mark.parametrize(
    "bad",
    [answered(500), answered(502), answered(503), answered(504), *map(failed, (CONNECT, READ_TIMEOUT, NOT_SENT))],
)
def test_the_next_region_takes_over(bad: Outcome) -> None:
    stepped = Stepped()
    outcome = stepped.run(bad, answered())
    assert (stepped.sent, outcome.status) == (list(HOSTS[:2]), 200)
    assert outcome.note == "rerouted to us.example.com"


@pytest.mark.parametrize("end", [answered(404), answered(429), answered(501), failed(EXPIRED), failed(UNCLASSIFIED)])
def test_what_another_region_would_not_better_is_the_end(end: Outcome) -> None:
    stepped = Stepped()
    assert stepped.run(end) == end


def test_a_region_with_an_open_circuit_does_not_count_as_a_reroute() -> None:
    stepped = Stepped(Regions(URLS, max_reroutes=1))
    assert stepped.run(answered(500), failed(NOT_SENT), answered()).status == 200
    assert Stepped(Regions(URLS, max_reroutes=0)).run(failed(NOT_SENT), failed(NOT_SENT), answered()).status == 200


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_other_regions_are_asked_no_more_than_allowed(most: int) -> None:
    stepped = Stepped(Regions(URLS, max_reroutes=most))
    stepped.run(*[answered(500)] * min(most + 1, 3))
    assert stepped.sent == list(HOSTS[: most + 1])


@pytest.mark.parametrize("down", [failed(CONNECT), failed(READ_TIMEOUT), failed(NOT_SENT)])
def test_strict_does_not_replace_a_region_that_is_down(down: Outcome) -> None:
    stepped = Stepped(Regions(URLS, region_policy="strict"))
    assert stepped.run(down) == down


def test_strict_reroutes_by_status() -> None:
    assert Stepped(Regions(URLS, region_policy="strict")).run(answered(500), answered()).status == 200


@pytest.mark.parametrize(
    ("call", "goes_on"),
    [
        (GET, True),
        (GET._replace(method="PUT"), True),
        (GET._replace(method="DELETE"), True),
        (POST, False),
        (POST._replace(idempotent=True), True),
        (GET._replace(method="PATCH"), False),
    ],
)
@pytest.mark.parametrize("bad", [answered(500), answered(503), PROCESSED, failed(DISCONNECTED)])
def test_what_may_have_been_processed_goes_on_only_if_it_is_idempotent(call: Call, goes_on: bool, bad: Outcome) -> None:
    stepped = Stepped(call=call)
    outcome = stepped.run(bad, *[answered()] * goes_on)
    assert (outcome.status == 200) == goes_on
    if not goes_on:
        assert outcome.note == f"{call.method} is not sent to another region: this one may have processed it"


@pytest.mark.parametrize(
    "bad", [answered(503, retry_after="9"), answered(429), *map(failed, (CONNECT, CONNECT_TIMEOUT, NOT_SENT))]
)
def test_what_was_certainly_not_processed_goes_on(bad: Outcome) -> None:
    policy = Regions(URLS, reroute_codes=[429, 503])
    assert Stepped(policy, POST).run(bad, answered()).status == 200


def test_methods_declares_others_idempotent() -> None:
    assert Stepped(Regions(URLS, methods=None), POST).run(PROCESSED, answered()).status == 200
    assert Stepped(Regions(URLS, methods=["post"]), POST).run(PROCESSED, answered()).status == 200


@pytest.mark.parametrize("bad", [answered(500), PROCESSED])
def test_a_body_that_was_read_is_not_sent_to_another_region(bad: Outcome) -> None:
    outcome = Stepped(call=ONCE).run(bad)
    assert (outcome.status, outcome.error, outcome.response) == (bad.status, bad.error, bad.response)
    assert "can be read only once" in outcome.note


@pytest.mark.parametrize("failure", [CONNECT, CONNECT_TIMEOUT, NOT_SENT])
def test_a_body_that_was_never_read_goes_on(failure: Failure) -> None:
    assert Stepped(call=ONCE).run(failed(failure), answered()).status == 200


def test_a_body_that_was_read_is_no_matter_where_there_is_no_other_region() -> None:
    outcome = Stepped(call=ONCE).run(failed(CONNECT), failed(CONNECT), answered(503))
    assert (outcome.status, outcome.error) == (503, None)


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ([answered(500), answered(502), answered(503)], 2),
        ([failed(CONNECT), failed(DISCONNECTED), failed(NOT_SENT)], 1),
        ([failed(NOT_SENT), failed(NOT_SENT), failed(CONNECT)], 2),
        ([failed(CONNECT), answered(500), answered(503)], 2),
    ],
)
def test_where_all_fail_the_most_informative_is_returned(outcomes: list[Outcome], kept: int) -> None:
    outcome = Stepped().run(*outcomes)
    assert outcome._replace(note="") == outcomes[kept]
    hosts = "eu.example.com, us.example.com, ap.example.com:8080"
    assert outcome.note == ("" if outcome.failure is None else f"tried {hosts}")


def test_an_answer_that_is_closed_is_made_anew_or_left() -> None:
    read = answered(500)._replace(body=b"sorry")
    assert Stepped().run(read, failed(CONNECT), failed(NOT_SENT)) == read._replace(response=None)
    streamed = [answered(500), failed(CONNECT), failed(NOT_SENT)]
    assert Stepped().run(*streamed)._replace(note="") == streamed[1]
    simulated = answered(500)._replace(response=None)
    assert Stepped().run(simulated, failed(CONNECT), failed(CONNECT)) is simulated


def test_an_answer_before_does_not_hide_that_a_post_may_have_been_processed() -> None:
    refused = answered(503, retry_after="9")._replace(body=b"")
    outcome = Stepped(call=POST).run(refused, refused, PROCESSED)
    assert outcome is PROCESSED


def test_after_the_deadline_no_other_region_is_asked() -> None:
    stepped = Stepped(call=GET._replace(deadline=5.0))
    assert stepped.run(answered(500, now=5.0)).status == 500


def test_statuses_are_tried_again_in_the_same_region() -> None:
    policy = Regions(URLS, retry_codes=[429], reroute_codes=[500])
    simulation, server = simulated([429, 429, 200], [200], [200])
    call = simulation.call(compose([policy]), POST)
    simulation.run()
    assert (call.outcome.status, server.sent) == (200, ["eu.example.com"] * 3)


def test_where_that_does_not_help_the_next_region_takes_over() -> None:
    policy = Regions(URLS, retry_codes=[503], reroute_codes=[500])
    simulation, server = simulated([503, 500], [200], [200])
    simulation.call(compose([policy]))
    simulation.run()
    assert server.sent == ["eu.example.com"] * 2 + ["us.example.com"]


@pytest.mark.parametrize(
    ("turns", "sent"),
    [
        ([ScriptedReply(503, {"retry-after": "9"})], ["eu.example.com", "us.example.com"]),
        ([CONNECT], ["eu.example.com", "us.example.com"]),
        ([READ_TIMEOUT], ["eu.example.com"]),
        ([429], ["eu.example.com"] * 3),
        ([502], ["eu.example.com"]),
    ],
)
def test_nothing_else_is_tried_again_in_the_same_region_and_no_post_twice(turns: list[Any], sent: list[str]) -> None:
    policy = Regions(URLS, retry_codes=[429, 502], reroute_codes=[503])
    simulation, server = simulated(turns, [200], [200])
    simulation.call(compose([policy]), POST)
    simulation.run()
    assert server.sent == sent


# In virtual time ------------------------------------------------------------------------------------------------------


class Scripted:
    """Regions that do as they are told: a status, a failure, or either after some seconds."""

    def __init__(self, *turns: list[Any]) -> None:
        self.turns = dict(zip(HOSTS, map(list, turns), strict=False))
        self.sent: list[str] = []
        self.at: list[float] = []

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        self.sent.append(call.host)
        self.at.append(now)
        turns = self.turns[call.host]
        turn = turns.pop(0) if len(turns) > 1 else turns[0]
        if isinstance(turn, ScriptedReply):
            return turn
        what, seconds = turn if isinstance(turn, tuple) and not isinstance(turn, Failure) else (turn, 1.0)
        return ScriptedFailure(what, seconds) if isinstance(what, Failure) else ScriptedReply(what, {}, seconds)


def simulated(*turns: list[Any]) -> tuple[Simulation, Scripted]:
    server = Scripted(*turns)
    return Simulation(server), server


def ended(policy: Regions, *turns: Any, call: Call = GET) -> tuple[Any, Scripted, SimulatedCall]:
    simulation, server = simulated(*([turn] for turn in turns))
    story = simulation.call(compose([policy]), call)
    simulation.run()
    assert story.outcome is not None
    return story.outcome, server, story


@pytest.mark.parametrize("mode", ["race", "quorum", "fanout"])
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (POST, "declare it idempotent with methods=None, or use mode='fallback'"),
        (GET._replace(method="PUT"), "declare it idempotent"),
        (GET._replace(body="rewindable"), "cannot be sent several times at once"),
        (ONCE._replace(idempotent=True), "cannot be sent several times at once"),
    ],
)
def test_what_is_not_safe_is_refused_before_anything_is_sent(mode: Any, call: Call, words: str) -> None:
    outcome, server, _ = ended(Regions(URLS, mode), 200, 200, 200, call=call)
    assert server.sent == []
    assert isinstance(outcome.error, ConfigurationError)
    assert words in str(outcome.error)
    assert outcome.failure is NOT_SENT


@pytest.mark.parametrize("policy", [Regions(URLS, "race", methods=None), Regions(URLS, "race", methods=["post"])])
def test_what_is_declared_safe_races(policy: Regions) -> None:
    assert ended(policy, 200, 200, 200, call=POST)[0].status == 200


def test_a_race_is_won_by_the_first_good_answer_and_the_rest_is_cancelled() -> None:
    outcome, server, story = ended(Regions(URLS, "race"), (200, 9), (500, 1), (200, 3))
    assert (outcome.now, outcome.note) == (3, "ap.example.com:8080 answered first")
    assert server.sent == list(HOSTS)
    assert [str(entry) for entry in story.entries] == [
        "500 after 1.000 s",
        "200 after 3.000 s",
        "cancelled after 3.000 s",
    ]


@pytest.mark.parametrize(
    ("turns", "starts"),
    [
        ([(200, 1), (200, 1), (200, 1)], [0]),
        ([(200, 9), (200, 9), (200, 9)], [0, 2, 4]),
        ([(500, 1), (200, 1), (200, 1)], [0, 1]),
        ([(500, 1), (500, 1), (200, 1)], [0, 1, 2]),
        ([(NOT_SENT, 0), (200, 9), (200, 1)], [0, 0, 2]),
        ([(200, 9), (500, 1), (200, 1)], [0, 2, 3]),
    ],
)
def test_regions_that_are_staggered_start_in_turn_or_at_once_after_a_bad_answer(
    turns: list[Any], starts: list[int]
) -> None:
    assert ended(Regions(URLS, "race", stagger=2.0), *turns)[1].at == starts


@pytest.mark.parametrize("turns", [(500, 503, CONNECT), (CONNECT, 500, 503), (NOT_SENT, CONNECT, 500)])
def test_a_race_that_nobody_wins_returns_an_answer(turns: Any) -> None:
    outcome, _, _ = ended(Regions(URLS, "race"), *turns)
    assert (outcome.status, outcome.note) == (
        500,
        "none of 3 regions succeeded: eu.example.com, us.example.com, ap.example.com:8080",
    )


def test_429_and_what_is_to_be_rerouted_do_not_win() -> None:
    policy = Regions(URLS, "race", reroute_codes=[404])
    assert ended(policy, (429, 1), (404, 2), (403, 3))[0].status == 403


def test_a_quorum_returns_the_first_good_answer_once_there_are_enough() -> None:
    outcome, _, story = ended(Regions(URLS, "quorum"), (201, 2), (200, 3), (200, 9))
    assert (outcome.status, story.entries[-1].seconds) == (201, 3)
    assert outcome.note == "2 of 3 regions succeeded, as wanted"


def test_a_quorum_fails_as_soon_as_it_cannot_be_reached() -> None:
    outcome, _, story = ended(Regions(URLS, "quorum"), (503, 1), (CONNECT, 2), (200, 9))
    error = outcome.error
    assert isinstance(error, ServiceUnavailableError)
    assert outcome.status == 503
    assert outcome.failure is UNCLASSIFIED
    assert story.entries[-1].seconds == 2
    assert str(error) == (
        "GET api.example.com: the quorum of 2 cannot be reached, 2 of 3 regions failed (eu.example.com 503, "
        "us.example.com no connection) and 0 succeeded; call again later, or lower quorum"
    )


def test_a_quorum_that_no_region_answers_has_the_cause() -> None:
    outcome, _, _ = ended(Regions(URLS, "quorum", quorum=3), CONNECT, (200, 9), (200, 9))
    assert str(outcome.error.__cause__) == "no connection"
    assert outcome.failure is CONNECT


def test_a_quorum_that_was_missed_tells_when_to_come_back() -> None:
    policy = Regions(URLS, "quorum", quorum=3)
    flow = policy.flow(GET, send_once)
    race = next(flow).flow
    answer = None
    for answer in (None, 0, 1, 2):
        race.send(answer)
    with pytest.raises(StopIteration) as end:
        race.send((1, answered(503, retry_after="7")))
    error = end.value.value.error
    assert (error.retry_after, error.response) == (7.0, "response 503")


@pytest.mark.parametrize(
    ("turns", "status", "note"),
    [
        (((200, 9), (201, 1), (202, 2)), 200, "3 of 3 regions succeeded"),
        ((500, (201, 9), (202, 2)), 201, "2 of 3 regions succeeded"),
        ((CONNECT, CONNECT, 202), 202, "1 of 3 regions succeeded"),
        ((CONNECT, 500, 503), 500, "0 of 3 regions succeeded"),
    ],
)
def test_a_fanout_waits_for_all_and_prefers_the_first_region(turns: Any, status: int, note: str) -> None:
    outcome, server, story = ended(Regions(URLS, "fanout"), *turns)
    assert (outcome.status, outcome.note, server.sent) == (status, note, list(HOSTS))
    assert len(story.entries) == 3


def test_what_a_policy_further_inside_noted_is_kept() -> None:
    policy = Regions(URLS, "fanout", retry_codes=[429])
    outcome, _, _ = ended(policy, 429, 503, 503)
    assert outcome.note == "gave up after 3 attempts; 0 of 3 regions succeeded"


@pytest.mark.parametrize("mode", ["race", "quorum", "fanout", "fallback"])
def test_a_deadline_holds_for_all_regions(mode: Any) -> None:
    simulation, _ = simulated([(200, 99.0)], [(200, 99.0)], [(200, 99.0)])
    story = simulation.call(compose([Deadline(5), Regions(URLS, mode)]))
    simulation.run()
    assert story.outcome is not None
    assert (story.outcome.failure, story.outcome.now) == (EXPIRED, 5)


def test_a_race_within_a_hedge_ends_with_it() -> None:
    class Server:
        sent = 0

        def reply(self, call: Call, now: float) -> ScriptedTurn:
            self.sent += 1
            return ScriptedReply(200, {}, 60.0 if call.attempt == 1 else 0.5)

    server = Server()
    simulation = Simulation(server)
    story = simulation.call(compose([Hedge(delay=1.0), Regions(URLS, "race")]))
    simulation.run()
    assert story.outcome is not None
    assert (story.outcome.status, story.outcome.now, server.sent) == (200, 1.5, 6)
    assert story.outcome.note == "eu.example.com answered first; hedged: attempt 2 answered first"


class Down_for_a_while:
    """The first region fails until a moment, the others serve."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.sent: list[tuple[float, str]] = []

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        self.sent.append((now, call.host))
        return ScriptedReply(500 if call.host == HOSTS[0] and now < self.until else 200)


def test_a_region_whose_circuit_is_open_is_skipped_and_comes_back_by_itself() -> None:
    server = Down_for_a_while(until=50.0)
    simulation = Simulation(server)
    policies = [Regions(URLS, max_reroutes=1), CircuitBreaker(failure_threshold=3, recovery_timeout=10.0)]
    stories = [simulation.call(compose(policies), at=float(second)) for second in range(200)]
    simulation.run()
    assert [story.outcome.status for story in stories if story.outcome is not None] == [200] * 200
    eu = [now for now, host in server.sent if host == HOSTS[0]]
    assert len([now for now in eu if now < 50]) <= 3 + 50 // 10, "three failures, and then probes"
    assert eu[-10:] == [float(second) for second in range(190, 200)], "served by the first again"


# Against a model ------------------------------------------------------------------------------------------------------

TURNS = st.sampled_from([200, 204, 404, 429, 500, 503, CONNECT, READ_TIMEOUT, NOT_SENT, UNCLASSIFIED])
GOOD = (200, 204, 404)


def _order(turns: list[Any], seconds: list[int]) -> list[int]:
    return sorted(range(len(turns)), key=lambda number: (seconds[number], number))


def _told(turns: list[Any]) -> Any:
    """What tells most of several bad ones: an answer, else what may have arrived, else what was not sent."""
    ranks = [0 if turn is NOT_SENT else 3 if isinstance(turn, int) else 1 if turn in UNSENT else 2 for turn in turns]
    return turns[ranks.index(max(ranks))]


def model_of_race(turns: list[Any], seconds: list[int]) -> Any:
    return next((turns[number] for number in _order(turns, seconds) if turns[number] in GOOD), _told(turns))


def model_of_fanout(turns: list[Any], seconds: list[int]) -> Any:
    return next((turn for turn in turns if turn in GOOD), _told(turns))


def model_of_fallback(turns: list[Any], seconds: list[int]) -> Any:
    rank = {CONNECT: 1, READ_TIMEOUT: 2, NOT_SENT: 0}
    best: Any = None
    for turn in turns:
        if turn in (200, 204, 404, 429, UNCLASSIFIED):
            return turn
        if best is None or rank.get(turn, 3) >= rank.get(best, 3):
            best = turn
    return best


def what(outcome: Outcome) -> Any:
    return outcome.status if outcome.failure is None else outcome.failure


MODELS = {"race": model_of_race, "fanout": model_of_fanout, "fallback": model_of_fallback}
ANY_REGIONS = st.integers(1, 3).flatmap(
    lambda count: st.tuples(
        st.lists(TURNS, min_size=count, max_size=count), st.permutations(list(range(1, 4))).map(lambda s: s[:count])
    )
)


@pytest.mark.parametrize("mode", MODELS)
@given(regions=ANY_REGIONS)
def test_a_mode_does_as_its_model(mode: Any, regions: tuple[list[Any], list[int]]) -> None:
    turns, seconds = regions
    policy = Regions(URLS[: len(turns)], mode)
    outcome, _, _ = ended(policy, *zip(turns, seconds, strict=True))
    assert what(outcome) == MODELS[mode](turns, seconds)


@given(regions=ANY_REGIONS, wanted=st.integers(1, 3))
def test_a_quorum_does_as_its_model(regions: tuple[list[Any], list[int]], wanted: int) -> None:
    turns, seconds = regions
    wanted = min(wanted, len(turns))
    outcome, _, story = ended(Regions(URLS[: len(turns)], "quorum", wanted), *zip(turns, seconds, strict=True))
    order = _order(turns, seconds)
    succeeded = list(itertools.accumulate(turns[number] in GOOD for number in order))
    if succeeded[-1] >= wanted:
        first = next(number for number in order if turns[number] in GOOD)
        over = seconds[order[succeeded.index(wanted)]]
        assert what(outcome) == turns[first]
    else:
        failing = list(itertools.accumulate(turns[number] not in GOOD for number in order))
        over = seconds[order[failing.index(len(turns) - wanted + 1)]]
        assert isinstance(outcome.error, ServiceUnavailableError)
    assert max(entry.seconds for entry in story.entries) == over


@given(st.lists(TURNS, min_size=3, max_size=3))
def test_fallback_never_sends_a_post_again_that_may_have_been_processed(turns: list[Any]) -> None:
    _, _, story = ended(Regions(URLS), *turns, call=POST)
    assert sum(entry.failure not in ("no connection", "not sent") for entry in story.entries) <= 1


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"urls": []}, "urls must be"),
        ({"urls": "https://eu.example.com"}, "urls must be"),
        ({"urls": ["eu.example.com"]}, "urls must be"),
        ({"urls": ["/v1"]}, "urls must be"),
        ({"urls": ["ftp://eu.example.com"]}, "urls must be"),
        ({"urls": ["https://"]}, "urls must be"),
        ({"urls": ["https://eu.example.com?a=1"]}, "urls must be"),
        ({"urls": ["https://eu.example.com#a"]}, "urls must be"),
        ({"urls": ["https://eu.example.com:port"]}, "urls must be"),
        ({"urls": [3]}, "urls must be"),
        ({"urls": ["https://eu.example.com", "https://EU.example.com:443/"]}, "differ from each other"),
        ({"mode": "all"}, "mode must be one of"),
        ({"region_policy": "loose"}, "region_policy must be one of"),
        ({"mode": "quorum", "quorum": 0}, "quorum must be"),
        ({"mode": "quorum", "quorum": 4}, "quorum=4, urls=.*there are only 3 regions"),
        ({"mode": "race", "quorum": 2}, "quorum=2, mode='race'.*belongs to mode='quorum'"),
        ({"mode": "fanout", "stagger": 1.0}, "stagger=1.0, mode='fanout'.*belongs to mode='race'"),
        ({"mode": "race", "stagger": -1.0}, "stagger must be"),
        ({"mode": "race", "max_reroutes": 1}, "max_reroutes=1, mode='race'"),
        ({"mode": "race", "region_policy": "strict"}, "region_policy='strict', mode='race'"),
        ({"max_reroutes": -1}, "max_reroutes must be"),
        ({"retry_codes": [42]}, "retry_codes must be"),
        ({"reroute_codes": 500}, "reroute_codes must be"),
        ({"retry_codes": [429, 503]}, "503 in both is contradictory"),
        ({"methods": "GET"}, "methods must be"),
    ],
)
def test_a_value_that_cannot_be_is_named(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)Regions\(.*{words}"):
        Regions(**{"urls": URLS, **keywords})


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="without credentials") as caught:
        Regions(["https://user:hunter2@eu.example.com"])
    assert "hunter2" not in str(caught.value)


def test_a_policy_is_a_plain_value() -> None:
    policy = Regions(list(URLS), retry_codes=[429], max_reroutes=3)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert dataclasses.replace(policy, max_reroutes=1).max_reroutes == 1
    assert hash(Regions(URLS, "quorum")) == hash(Regions(URLS, "quorum"))
    assert "_retry" not in repr(policy)


def test_words_of_the_seed_work() -> None:
    Regions(URLS, max_reroutes=3, retry_codes=[429, 503], reroute_codes=[500, 502, 504], region_policy="fallback")


def test_every_field_is_told_of() -> None:
    for field in dataclasses.fields(Regions):
        assert field.name == "_retry" or f"    {field.name}: " in (Regions.__doc__ or "")


# Where there is no thread for a region ------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "patience"), [({}, None), ({"stagger": 2.0}, 2.0)])
def test_a_region_that_cannot_be_started_is_started_when_another_has_ended(
    settings: dict[str, Any], patience: float | None
) -> None:
    """The flow waits meanwhile, and does not ask again and again."""
    (race,) = next(Regions(URLS, "race", **settings).flow(GET, send_once))  # type: ignore[misc]
    assert type(next(race)) is Start
    if not patience:
        assert type(race.send(0)) is Start
    assert race.send(None if not patience else 0) == WaitAny(patience)
    assert type(race.send((0, answered(503)))) is Start
    assert race.send(None) == WaitAny(patience)
    assert type(race.send(None)) is Start


def test_no_call_goes_from_https_to_a_region_that_is_not_encrypted() -> None:
    outcome = Stepped(Regions(["http://eu.example.com", "http://us.example.com"])).run()
    assert isinstance(outcome.error, ConfigurationError)
    assert "not encrypted" in str(outcome.error)


def test_a_region_that_is_not_encrypted_is_left_out() -> None:
    stepped = Stepped(Regions(["http://eu.example.com", "https://us.example.com"]))
    assert stepped.run(answered()).status == 200


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://eu.example.com/api/orders", "https://us.example.com/v2/orders"),
        ("https://eu.example.com/api", "https://us.example.com/v2/"),
        ("https://eu.example.com/api?a=1", "https://us.example.com/v2/?a=1"),
        ("https://us.example.com/v2/orders", "https://us.example.com/v2/orders"),
        ("https://eu.example.com/apiary", "https://us.example.com/v2/apiary"),
        ("https://EU.example.com:443/api/orders", "https://us.example.com/v2/orders"),
        ("https://me:password@eu.example.com/api/orders", "https://us.example.com/v2/orders"),
        ("https://eu.example.com/api/old/orders#top", "https://us.example.com/v2/orders#top"),
    ],
)
def test_a_url_within_a_region_is_taken_relative_to_it(url: str, there: str) -> None:
    urls = ["https://us.example.com/v2", "https://eu.example.com/api", "https://eu.example.com/api/old"]
    effect = next(Regions(urls).flow(Call("GET", url), send_once))
    assert type(effect) is Send
    assert effect.call.url == there


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://api.example.com/a", "https://eu.example.com/v1/a"),
        ("https://API.example.com:443/a", "https://eu.example.com/v1/a"),
        ("https://eu.example.com/v1/a", "https://eu.example.com/v1/a"),
        ("https://eu.example.com/login", "https://eu.example.com/login"),
        ("https://cdn.example.com/a", "https://cdn.example.com/a"),
        ("https://api.example.com:8443/a", "https://api.example.com:8443/a"),
    ],
)
def test_calls_to_other_hosts_than_the_one_that_is_served_pass_by(url: str, there: str) -> None:
    policy = Regions(["https://eu.example.com/v1"], serves="https://api.example.com/v9")
    effect = next(policy.flow(Call("GET", url), send_once))
    assert type(effect) is Send
    assert effect.call.url == there


@pytest.mark.parametrize("serves", ["api.example.com", "https://", "https://me:s3cret@api.example.com", 1])
def test_what_is_served_is_a_url(serves: Any) -> None:
    with pytest.raises(ValueError, match="serves must be a URL") as caught:
        Regions(URLS, serves=serves)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("mode", ["fallback", "race", "quorum", "fanout"])
def test_a_call_that_goes_to_another_server_passes_by(mode: Any) -> None:
    effect = next(Regions(URLS, mode).flow(GET._replace(rerouted=True), send_once))
    assert type(effect) is Send
    assert effect.call.url == URL


@pytest.mark.parametrize(
    ("location", "asked", "sent", "expected"),
    [
        ("/v1/b", "https://api.test/a", "https://eu.test/v1/a", "https://api.test/b"),
        ("b?x=1#y", "https://api.test/a", "https://eu.test/v1/a", "https://api.test/b?x=1#y"),
        ("//eu.test/v1/b", "https://api.test/a", "https://eu.test/v1/a", "https://api.test/b"),
        ("https://EU.test:443/v1/b", "https://api.test/a", "https://eu.test/v1/a", "https://api.test/b"),
        ("https://eu.test/v1", "https://api.test/a", "https://eu.test/v1/a", "https://api.test"),
        ("/v1/b", "https://api.test/a?c=1#top", "https://eu.test/v1/a?c=1#top", "https://api.test/b"),
        ("/v1/b", "https://me:pw@api.test/a", "https://eu.test/v1/a", "https://api.test/b"),
        ("/login", "https://api.test/a", "https://eu.test/v1/a", None),
        ("/v10/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("http://eu.test/v1/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("https://eu.test:8443/v1/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("https://eu.test@evil.test/v1/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("https://eu.test\\@evil.test/v1/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("https://evil.test/v1/b", "https://api.test/a", "https://eu.test/v1/a", None),
        ("////evil.test/v1/b", "https://api.test/a", "https://eu.test/a", None),
        ("https://[bad/", "https://api.test/a", "https://eu.test/v1/a", None),
        ("mailto:me@eu.test", "https://api.test/a", "https://eu.test/v1/a", None),
        ("/v1/b", "https://api.test/x", "https://eu.test/v1/a", None),
    ],
)
def test_a_redirect_is_translated_where_it_stays_in_the_region(
    location: str, asked: str, sent: str, expected: str | None
) -> None:
    assert translate_location(location, sent, asked) == expected
