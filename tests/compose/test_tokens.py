"""Tokens that are obtained, shared, refreshed and refused: the same story in every world.

A policy of this test does what an auth object does: it obtains a token by the flow of a refresh, puts it on the request
(here: into the URL, where a scripted server sees it), and tries once more with a new one when the API refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, Race, Send, Start, WaitAny
from polvo_adapters.core.outcomes import DISCONNECTED, UNCLASSIFIED, Outcome
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh.lifecycle import Lifecycle, WantToken
from polvo_adapters.refresh.refresh_flow import FetchedToken, RefreshFlow
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply, ScriptedTurn, Server
from tests.support.worlds import Calling, Tale, by_time, by_url, in_turn, tell

TOKEN = "http://login.example/token"
ORDERS = "http://server.example/orders"
REFRESH = RefreshFlow(Lifecycle(refresh_before=10.0), "token of somebody")


class Authorized:
    """A policy that puts a token on each request."""

    def __init__(self, refresh: Any = "expired") -> None:
        self.refresh = refresh

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        obtained = yield from obtain(call, WantToken(refresh=self.refresh))
        if obtained.error is not None:
            return obtained
        known = obtained.response
        answer = yield from proceed(call._replace(url=f"{call.url}?token={known.token}"))
        if answer.status != 401:
            return answer
        want = WantToken(known.after(answer.now - obtained.now), refused=known.generation)
        obtained = yield from obtain(call._replace(started=answer.now), want)
        if obtained.error is not None:
            return obtained
        return (yield from proceed(call._replace(url=f"{call.url}?token={obtained.response.token}")))


def obtain(call: Call, want: WantToken) -> Flow:
    """Run the flow of a refresh in a world whose servers know of URLs and headers only."""
    flow, answer = REFRESH.flow(call._replace(url=TOKEN), want), None
    while True:
        try:
            effect = flow.send(answer)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        if type(effect) is Send:
            outcome = yield Send(effect.call._replace(url=f"{TOKEN}?held={effect.call.stored_token}"))
            answer = fetched(outcome)
        else:
            answer = yield effect


def fetched(outcome: Outcome) -> Outcome:
    """Return the result of a refresh for a response of the token server."""
    if outcome.status == 200:
        return outcome._replace(response=FetchedToken(outcome.headers["x-token"], float(outcome.headers["x-lifetime"])))
    reason = str(outcome.status) if outcome.failure is None else outcome.failure.name
    error = TokenRefreshError("the server failed", reason=reason, final=outcome.status == 400)
    return outcome._replace(response=None, error=error, failure=outcome.failure or UNCLASSIFIED)


class Impatient:
    """A policy that gives some calls a deadline."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        seconds = call.url.partition("/within/")[2]
        return proceed(call.with_deadline(call.started + float(seconds)) if seconds else call)


class Fickle:
    """A policy that lets some calls lose a race."""

    races = True

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        seconds = call.url.partition("/lost/")[2]
        if not seconds:
            return (yield from proceed(call))
        outcome: Outcome = yield Race(self.race(proceed(call), float(seconds)))
        return outcome

    def race(self, flow: Flow, seconds: float) -> Flow:
        yield Start(flow)
        ended = yield WaitAny(seconds)
        return Outcome(status=504) if ended is None else ended[1]


class Rotating:
    """A token server that takes each token once, and revokes everything when one is shown twice."""

    def __init__(self, lifetime: float = 40.0, seconds: float = 0.31) -> None:
        self.lifetime, self.seconds = lifetime, seconds
        self.issued = 0
        self.revoked = False

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        held = call.url.partition("?held=")[2]
        if held != (str(self.issued) if self.issued else "") or self.revoked:
            self.revoked = True
            return ScriptedReply(400, seconds=self.seconds)
        self.issued += 1
        return issued(str(self.issued), self.lifetime, self.seconds)


class Api:
    """An API that takes the tokens that the test names."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        return ScriptedReply(401 if call.url.partition("?token=")[2] in self.refused else 200, seconds=0.073)


def issued(token: str, lifetime: float = 40.0, seconds: float = 0.31) -> ScriptedReply:
    return ScriptedReply(200, {"x-token": token, "x-lifetime": str(lifetime)}, seconds)


def scene(token: Server, *calls: Calling, api: Server | None = None) -> Any:
    return {TOKEN: token, ORDERS: api or Api()}, calls


def asked(tale: Tale) -> list[str]:
    """Return with what the token server was asked."""
    return [request.url.partition("?held=")[2] for request in tale.requests if request.url.startswith(TOKEN)]


def used(tale: Tale) -> list[str]:
    """Return the tokens that the API has seen."""
    return [request.url.partition("?token=")[2] for request in tale.requests if request.url.startswith(ORDERS)]


def ended(tale: Tale) -> list[str]:
    return [story.ended for story in tale.stories]


def crowd(count: int, at: float, between: float = 1 / 64) -> list[Calling]:
    return [Calling(ORDERS, at=at + number * between) for number in range(count)]


def told(tale: Tale) -> list[Sequence[str]]:
    """Return what each call waited for."""
    return [[entry.reason for entry in story.entries if hasattr(entry, "reason")] for story in tale.stories]


@pytest.mark.parametrize("seed", range(3))
def test_of_eight_callers_at_expiry_one_refreshes_and_the_others_wait(seed: int) -> None:
    server = lambda: by_url({TOKEN: Rotating(), ORDERS: Api()})  # noqa: E731
    tale = tell([Authorized()], server, Calling(ORDERS), *crowd(8, at=50.0), seed=seed)
    assert ended(tale) == ["200"] * 9
    assert asked(tale) == ["", "1"]
    assert used(tale) == ["1"] + ["2"] * 8
    assert told(tale)[1] == ["expires in 40 s"]
    assert all({*reasons} == {"token: another caller refreshes it"} for reasons in told(tale)[2:])
    assert all(story.clock < 50 + 9 / 64 + 0.31 + 0.25 + 0.073 for story in tale.stories)


def test_a_stale_token_is_used_while_one_refreshes() -> None:
    server = lambda: by_url({TOKEN: Rotating(), ORDERS: Api()})  # noqa: E731
    tale = tell([Authorized("stale")], server, Calling(ORDERS), *crowd(5, at=30.0))
    assert ended(tale) == ["200"] * 6
    assert asked(tale) == ["", "1"]
    assert used(tale) == ["1", "1", "1", "1", "1", "2"]
    assert told(tale)[2:] == [[]] * 4


def test_a_token_server_that_fails_and_recovers() -> None:
    token = lambda: by_time((0, in_turn(ScriptedFailure(DISCONNECTED, 0.11))), (20, in_turn(issued("1"))))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    calls = [Calling(ORDERS), Calling(ORDERS, at=0.5), Calling(ORDERS, at=2.25), Calling(ORDERS, at=30)]
    tale = tell([Authorized()], server, *calls)
    assert ended(tale) == ["TokenRefreshError"] * 3 + ["200"]
    assert [reasons[-1:] for reasons in told(tale)] == [
        ["disconnected"],
        ["token: another caller refreshes it"],
        [],  # so soon after the failure no call tries again
        ["expires in 40 s"],
    ]
    assert (len(asked(tale)), used(tale)) == (4, ["1"])


def test_one_blip_of_the_token_server_is_seen_by_no_caller() -> None:
    token = lambda: in_turn(ScriptedFailure(DISCONNECTED, 0.11), ScriptedReply(503, seconds=0.07), issued("1"))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    tale = tell([Authorized()], server, *crowd(4, at=0.0))
    assert (ended(tale), used(tale), len(asked(tale))) == (["200"] * 4, ["1"] * 4, 3)


def test_a_token_server_that_fails_while_there_is_a_token_harms_no_call() -> None:
    token = lambda: in_turn(issued("1"), ScriptedReply(400, seconds=0.2), issued("2"))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    tale = tell([Authorized("stale")], server, Calling(ORDERS), *crowd(3, at=30.0), Calling(ORDERS, at=37.5))
    assert (ended(tale), used(tale), len(asked(tale))) == (["200"] * 5, ["1"] * 5, 2)


def test_a_holder_whose_deadline_comes_is_replaced_by_a_waiting_call() -> None:
    token = lambda: in_turn(issued("lost", seconds=60), issued("1"))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    tale = tell([Impatient(), Authorized()], server, Calling(f"{ORDERS}/within/1.5"), *crowd(3, at=0.125))
    assert ended(tale) == ["TokenRefreshError", "200", "200", "200"]
    assert (len(asked(tale)), used(tale)) == (2, ["1"] * 3)
    assert tale.stories[0].clock == 1.5
    assert all(story.clock < 1.5 + 0.25 + 0.31 + 0.25 + 0.073 for story in tale.stories)


def test_a_holder_that_lost_a_race_is_replaced_by_a_waiting_call() -> None:
    token = lambda: in_turn(issued("lost", seconds=60), issued("1"))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    tale = tell([Fickle(), Authorized()], server, Calling(f"{ORDERS}/lost/1.5"), *crowd(3, at=0.125))
    assert ended(tale) == ["504", "200", "200", "200"]
    assert (len(asked(tale)), used(tale)) == (2, ["1"] * 3)


def test_a_waiting_call_gives_up_at_its_deadline_and_the_holder_goes_on() -> None:
    server = lambda: by_url({TOKEN: in_turn(issued("1", seconds=3.3)), ORDERS: Api()})  # noqa: E731
    tale = tell([Impatient(), Authorized()], server, Calling(ORDERS), Calling(f"{ORDERS}/within/1.5", at=0.5))
    assert ended(tale) == ["200", "TokenRefreshError"]
    assert tale.stories[1].clock <= 2.0
    assert used(tale) == ["1"]


def test_a_server_that_is_slower_than_the_right_to_refresh_is_asked_by_two_and_no_answer_is_lost() -> None:
    token = lambda: in_turn(issued("late", 400, seconds=33.3), issued("1", 400, seconds=5.7))  # noqa: E731
    server = lambda: by_url({TOKEN: token(), ORDERS: Api()})  # noqa: E731
    tale = tell([Authorized()], server, *crowd(3, at=0.0), Calling(ORDERS, at=60.0))
    assert (ended(tale), len(asked(tale))) == (["200"] * 4, 2)
    assert used(tale) == ["late", "late", "1", "1"]


def test_a_token_that_the_api_refuses_is_refreshed_once_for_all() -> None:
    server = lambda: by_url({TOKEN: Rotating(), ORDERS: by_time((0, Api()), (10, Api("1")))})  # noqa: E731
    tale = tell([Authorized()], server, Calling(ORDERS), *crowd(4, at=10.0))
    assert ended(tale) == ["200"] * 5
    assert asked(tale) == ["", "1"]
    assert used(tale) == ["1"] * 5 + ["2"] * 4


def test_a_call_is_sent_again_once() -> None:
    server = lambda: by_url({TOKEN: Rotating(), ORDERS: in_turn(ScriptedReply(401, seconds=0.073))})  # noqa: E731
    tale = tell([Authorized()], server, *[Calling(ORDERS, at=at) for at in (0, 5, 10, 15)])
    assert ended(tale) == ["401"] * 4
    assert len(used(tale)) == 8
    assert asked(tale) == ["", "1", "2", "3", "4"]


def test_an_api_that_refuses_everything_does_not_keep_the_token_server_busy() -> None:
    server = lambda: by_url({TOKEN: Rotating(4000.0), ORDERS: in_turn(ScriptedReply(401, seconds=0.073))})  # noqa: E731
    tale = tell([Authorized()], server, *crowd(100, at=0.0, between=0.503))
    assert ended(tale) == ["401"] * 100
    assert len(asked(tale)) == 8


@settings(max_examples=40)
@given(
    gaps=st.lists(st.sampled_from([0.017, 0.13, 0.59, 7.3, 33.1, 51.7]), min_size=1, max_size=12),
    refused=st.sampled_from([(), ("1",), ("1", "4"), ("2", "4")]),
    refresh=st.sampled_from(["expired", "stale"]),
    turns=st.lists(
        st.sampled_from(
            [
                issued("x"),
                ScriptedFailure(DISCONNECTED, 0.11),
                ScriptedReply(400, seconds=0.19),
                ScriptedReply(503, seconds=0.23),
            ]
        ),
        max_size=6,
    ),
    seed=st.integers(0, 3),
)
def test_any_scene_runs_alike(
    gaps: list[float], refused: tuple[str, ...], refresh: str, turns: list[ScriptedTurn], seed: int
) -> None:
    def server() -> Server:
        token = in_turn(*turns, issued("last")) if turns else Rotating()
        return by_url({TOKEN: token, ORDERS: Api(*refused)})

    calls = [Calling(ORDERS, at=sum(gaps[: number + 1]) + number / 1024) for number in range(len(gaps))]
    tale = tell([Authorized(refresh)], server, *calls, seed=seed)
    assert set(ended(tale)) <= {"200", "401", "TokenRefreshError"}
    if not turns:
        assert set(ended(tale)) == {"200"}
