"""The fallback flow, stepped by hand, and the store of last good responses against a model."""

from __future__ import annotations

import gc
import pickle
import re
import weakref
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Send, TryDecide, compose, send_once
from polvo_adapters.core.http import Headers
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    NOT_SENT,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    Outcome,
)
from polvo_adapters.errors import (
    CircuitOpenError,
    DeadlineExceeded,
    PoolTimeoutError,
    RateLimitDeadlineExceeded,
    RateLimitError,
    ReplayError,
    RetriesExhaustedError,
)
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.fallback.policy import Another, FailedCall, Fixed, StaleCache
from polvo_adapters.policies.fallback.stale_cache import DropResponse, LookUpResponse, StoreResponse
from polvo_adapters.policies.regions import Regions
from polvo_adapters.stores.memory import MemoryStore
from tests.support.flow_stepper import UNSENT, URL, answered, failed

BACKUP = "https://backup.example.com"
GET = Call("GET", URL, identity="somebody", credential="a key")
POST = Call("POST", URL, body="replayable", identity="somebody")
FAILURES = [CONNECT, CONNECT_TIMEOUT, READ_TIMEOUT, DISCONNECTED, TRUNCATED]


class World:
    """Runs flows against scripted outcomes and a real store, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryStore(now=lambda: self.now)
        self.sent: list[Call] = []

    def run(self, policy: Fallback, call: Call, *outcomes: Outcome, proceed: Any = send_once) -> Outcome:
        flow, answer, turns = policy.flow(call, proceed), None, list(outcomes)
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                assert not turns, "an attempt was not made"
                return end.value
            if type(effect) is Send:
                self.sent.append(effect.call)
                answer = turns.pop(0)
            else:
                assert type(effect) in (Decide, TryDecide)
                answer = self.store.decide(effect.events)


@pytest.fixture
def world() -> World:
    return World()


def good(body: bytes = b"good", **headers: str) -> Outcome:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return answered(200)._replace(headers=Headers(named), body=body)


def refused(error: Exception, failure: Failure = NOT_SENT, **fields: Any) -> Outcome:
    return Outcome(error=error, failure=failure, unsent=failure in UNSENT, **fields)


# What is bad.


@pytest.mark.parametrize("status", [200, 201, 204, 302, 304, 400, 401, 403, 404, 408, 429, 501])
def test_other_statuses_are_answers(world: World, status: int) -> None:
    assert world.run(Fallback(Fixed(200)), GET, answered(status)).status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_statuses_of_failing_servers_are_bad(world: World, status: int) -> None:
    outcome = world.run(Fallback(Fixed(203)), GET, answered(status))
    assert (outcome.status, outcome.note) == (203, f"a fixed response, after {status}")


@pytest.mark.parametrize("failure", [*FAILURES, EXPIRED, NOT_SENT], ids=lambda failure: failure.name)
def test_failures_are_bad(world: World, failure: Failure) -> None:
    outcome = world.run(Fallback(Fixed(203)), GET, failed(failure))
    assert (outcome.status, outcome.error, outcome.failure) == (203, None, None)
    assert outcome.note == f"a fixed response, after {failure.name}"


@pytest.mark.parametrize(
    ("error", "failure", "reason"),
    [
        (CircuitOpenError(), NOT_SENT, "open circuit"),
        (PoolTimeoutError(), NOT_SENT, "full bulkhead"),
        (RateLimitError(), NOT_SENT, "used-up quota"),
        (DeadlineExceeded(), EXPIRED, "deadline"),
        (RateLimitDeadlineExceeded(), EXPIRED, "deadline"),
        (ReplayError(), UNCLASSIFIED, "body that cannot be sent again"),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_refusals_of_our_own_are_bad(world: World, error: Exception, failure: Failure, reason: str) -> None:
    outcome = world.run(Fallback(Fixed(203)), GET, refused(error, failure))
    assert (outcome.status, outcome.note) == (203, f"a fixed response, after {reason}")


def test_a_bad_certificate_is_not_covered_up(world: World) -> None:
    assert world.run(Fallback(Fixed(200)), GET, failed(UNCLASSIFIED)).failure is UNCLASSIFIED


def test_used_up_attempts_are_judged_by_the_status(world: World) -> None:
    ended = answered(503)._replace(error=RetriesExhaustedError(), failure=UNCLASSIFIED)
    assert world.run(Fallback(Fixed(203)), GET, ended).note == "a fixed response, after 503"
    assert world.run(Fallback(Fixed(203)), GET, ended._replace(status=429)).status == 429
    chosen = Fallback(Fixed(203), exceptions=(RetriesExhaustedError,))
    assert world.run(chosen, GET, ended._replace(status=429)).note == "a fixed response, after 429"


def test_what_is_bad_is_selectable(world: World) -> None:
    policy = Fallback(Fixed(203), on={404}, exceptions=("read timeout", requests.ConnectionError))
    bad = [answered(404), failed(READ_TIMEOUT), refused(CircuitOpenError())]
    not_bad = [answered(503), failed(DISCONNECTED), refused(RateLimitError())]
    assert [world.run(policy, GET, outcome).status for outcome in bad] == [203] * 3
    assert [world.run(policy, GET, outcome) for outcome in not_bad] == not_bad


def test_notes_of_policies_further_inside_are_kept(world: World) -> None:
    ended = answered(503)._replace(note="gave up after 3 attempts")
    assert world.run(Fallback(Fixed(200)), GET, ended).note == "gave up after 3 attempts; a fixed response, after 503"


# The last good response.


def test_the_last_good_response_is_served(world: World) -> None:
    policy = Fallback()
    first = good(b"one", ETag='"1"', Set_Cookie="a=b", Connection="close", Age="3")
    assert world.run(policy, GET, first) is first
    world.run(policy, GET, good(b"two", ETag='"2"', Set_Cookie="a=b", Connection="close", Age="3"))
    world.now += 9
    outcome = world.run(policy, GET, answered(503, now=20))
    assert (outcome.status, outcome.body, outcome.response, outcome.error) == (200, b"two", None, None)
    assert dict(outcome.headers) == {"ETag": '"2"', "Age": "12"}
    assert outcome.headers["etag"] == '"2"'
    assert outcome.note == "the last good response, 12 s old, after 503"
    assert (outcome.now, outcome.wall) == (20, 1_700_000_020)


def test_it_is_served_again_and_again(world: World) -> None:
    world.run(Fallback(), GET, good())
    assert [world.run(Fallback(), GET, failed(CONNECT)).body for _ in range(3)] == [b"good"] * 3


@pytest.mark.parametrize(
    "other",
    [
        GET._replace(identity="somebody else"),
        GET._replace(tenant="somebody else"),
        GET._replace(url=URL + "&page=2"),
        GET._replace(method="HEAD"),
        GET._replace(body="replayable"),
        GET._replace(identity=""),
    ],
)
def test_it_is_served_to_the_same_request_only(world: World, other: Call) -> None:
    world.run(Fallback(), GET, good())
    outcome = world.run(Fallback(), other, failed(CONNECT))
    assert outcome.failure is CONNECT
    assert outcome.note.startswith("no fallback: no ")


@pytest.mark.parametrize("call", [GET._replace(body="replayable"), GET._replace(identity=""), POST])
def test_requests_that_cannot_be_told_apart_are_not_remembered(world: World, call: Call) -> None:
    world.run(Fallback(), call, good())
    assert world.run(Fallback(), call, answered(503)).status == 503


def test_fragments_are_no_part_of_a_request(world: World) -> None:
    world.run(Fallback(), GET._replace(url=URL + "#top"), good())
    assert world.run(Fallback(), GET, answered(503)).status == 200


def test_answers_to_head_are_remembered(world: World) -> None:
    call = GET._replace(method="HEAD")
    world.run(Fallback(), call, good(b"", Content_Length="70"))
    outcome = world.run(Fallback(), call, answered(503))
    assert (outcome.status, outcome.headers["content-length"], outcome.body) == (200, "70", b"")


@pytest.mark.parametrize(
    "answer",
    [
        good(Cache_Control="no-store"),
        good(Cache_Control="private, No-Store"),
        good(Cache_Control="no-cache"),
        good(Cache_Control='no-cache="set-cookie"'),
        good(Cache_Control="max-age=60, must-revalidate"),
        good(Cache_Control="proxy-revalidate"),
        good(Cache_Control='private="x, no-store"'),
        good(Vary="*"),
        good()._replace(body=None),
        good()._replace(status=203),
        good()._replace(status=206),
        answered(404),
        answered(403),
        answered(302),
    ],
)
def test_an_answer_that_must_not_be_kept_replaces_the_one_that_was(world: World, answer: Outcome) -> None:
    world.run(Fallback(), GET, good(b"old"))
    world.run(Fallback(), GET, answer)
    assert world.run(Fallback(), GET, answered(503)).status == 503


REFUSED_403 = b'{"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}'


@pytest.mark.parametrize(
    "answer",
    [answered(429), good(b'{"ok": false, "error": "ratelimited"}'), answered(403)._replace(body=REFUSED_403)],
)
def test_a_refusal_says_nothing_of_the_resource_and_replaces_nothing(world: World, answer: Outcome) -> None:
    world.run(Fallback(), GET, good(b"old"))
    world.run(Fallback(), GET, answer)
    assert world.run(Fallback(), GET, answered(503)).body == b"old"


@pytest.mark.parametrize("status", [304, 408, 425, 429, 501, 505])
def test_an_answer_that_says_nothing_of_the_resource_leaves_it(world: World, status: int) -> None:
    world.run(Fallback(), GET, good())
    world.run(Fallback(), GET, answered(status))
    assert world.run(Fallback(), GET, answered(503)).status == 200


@pytest.mark.parametrize(
    ("method", "ended", "kept"),
    [
        ("PUT", answered(204), False),
        ("DELETE", answered(200), False),
        ("POST", answered(303), False),
        ("POST", answered(404), True),
        ("POST", failed(READ_TIMEOUT), True),
        ("OPTIONS", answered(200), True),
    ],
)
def test_a_change_of_the_resource_makes_it_old(world: World, method: str, ended: Outcome, kept: bool) -> None:
    world.run(Fallback(), GET, good())
    world.run(Fallback(), Call(method, URL, body="replayable"), ended)
    assert (world.run(Fallback(), GET, answered(503)).status == 200) is kept


@pytest.mark.parametrize(
    ("control", "age", "limit"),
    [
        ("", "0", 100),
        ("", "40", 60),
        ("stale-if-error=30", "0", 30),
        ("max-age=20, stale-if-error=30", "0", 50),
        ('max-age="20", stale-if-error="30"', "5", 45),
        ("max-age=20, stale-if-error=9999", "0", 100),
        ("max-age=20", "0", 100),
        ("stale-if-error=soon, =, ,", "x", 100),
    ],
)
def test_it_is_served_until_it_is_too_old(world: World, control: str, age: str, limit: float) -> None:
    policy = Fallback("stale", max_age=100)
    headers = {"cache-control": control, "age": age}
    world.run(policy, GET, good()._replace(headers=headers))
    world.now += limit
    assert world.run(policy, GET, answered(503)).status == 200
    world.now += 0.001
    assert world.run(policy, GET, answered(503)).note == "no fallback: no last good response"


def test_hostile_headers_do_no_harm(world: World) -> None:
    headers = {"age": "9" * 64, "cache-control": "stale-if-error=" + "9" * 100_000 + ",\x00=\udc80;"}
    world.run(Fallback(), GET, good()._replace(headers=headers))
    assert world.run(Fallback(), GET, answered(503)).status == 503


def test_adapters_that_share_a_store_share_it_and_keep_their_own_ages(world: World) -> None:
    world.run(Fallback(StaleCache(max_age=100)), GET, good())
    world.now += 50
    assert world.run(Fallback(StaleCache(max_age=60)), GET, answered(503)).status == 200
    assert world.run(Fallback(StaleCache(max_age=40)), GET, answered(503)).status == 503


def test_the_state_holds_no_url_and_no_secret_and_can_be_pickled() -> None:
    policy = StaleCache()
    event = policy.learn(GET._replace(url="https://me:pw@api.example.com/?token=hidden"), good())
    assert event is not None
    state, verdict = policy.transition(policy.initial, event.event, 0.0)
    assert verdict is True
    assert pickle.loads(pickle.dumps(state)) == state
    assert not any(word in repr((event.key, state)) for word in ("hidden", "pw", "example"))


def test_a_clock_that_goes_back_makes_nothing_younger_than_new() -> None:
    policy = StaleCache()
    state, _ = policy.transition(policy.initial, StoreResponse("a", 5.0, 100.0, (), b""), 1000.0)
    assert policy.transition(state, LookUpResponse("a"), 10.0)[1].age == 5


keys = st.sampled_from([f"{url} {method} {who}" for url in ("u1", "u2") for method in ("GET", "HEAD") for who in "abc"])
bodies = st.binary(max_size=40) | st.just(b"x" * 30)
keep = st.builds(StoreResponse, keys, st.floats(0, 30), st.floats(0, 90), st.just(()), bodies)
steps = st.lists(
    st.tuples(st.floats(0, 20), keep | st.builds(LookUpResponse, keys) | st.builds(DropResponse, keys | st.just("u1"))),
    max_size=60,
)


@given(steps=steps)
def test_the_store_against_a_model(steps: list[tuple[float, Any]]) -> None:
    """The model keeps everything, and knows of each response when it came, how old, and until when it is good."""
    policy = StaleCache(max_age=50.0, max_entries=10, max_bytes=320)
    state, now = policy.initial, 0.0
    model: dict[str, tuple[float, StoreResponse]] = {}
    for seconds, event in steps:
        now += seconds
        before = pickle.dumps(state)
        after, verdict = policy.transition(state, event, now)
        assert pickle.dumps(state) == before, "a transition changed the state before it"
        state = after
        if type(event) is StoreResponse:
            model[event.key] = now, event
        elif type(event) is DropResponse:
            model = {key: value for key, value in model.items() if not key.startswith(event.key)}
        elif verdict is not None:
            came, kept = model[event.key]
            assert verdict.body == kept.body
            assert verdict.age == kept.age + (now - came)
            assert verdict.age <= min(kept.until, 50.0)
        assert len(state.kept) <= 10
        assert state.size == sum(kept.size for kept in state.kept.values()) <= 320
        assert all(kept.size <= 40 for kept in state.kept.values())
        assert set(state.kept) <= set(model)


@given(steps=steps)
def test_without_bounds_the_store_forgets_nothing(steps: list[tuple[float, Any]]) -> None:
    policy = StaleCache(max_age=50.0)
    state, now = policy.initial, 0.0
    model: dict[str, tuple[float, StoreResponse]] = {}
    for seconds, event in steps:
        now += seconds
        state, verdict = policy.transition(state, event, now)
        if type(event) is StoreResponse:
            model[event.key] = now, event
        elif type(event) is DropResponse:
            model = {key: value for key, value in model.items() if not key.startswith(event.key)}
        elif event.key in model:
            came, kept = model[event.key]
            assert (verdict is not None) == (kept.age + (now - came) <= min(kept.until, 50.0))


def test_the_response_unused_for_longest_goes_first(world: World) -> None:
    policy = Fallback(StaleCache(max_entries=2))
    a, b, c = (GET._replace(url=f"{URL}&n={n}") for n in "abc")
    world.run(policy, a, good())
    world.run(policy, b, good())
    world.run(policy, a, answered(503))  # uses it
    world.run(policy, c, good())
    assert [world.run(policy, call, answered(503)).status for call in (a, b, c)] == [200, 503, 200]


def test_bytes_are_bounded_in_all(world: World) -> None:
    policy = Fallback(StaleCache(max_bytes=8000))
    calls = [GET._replace(url=f"{URL}&n={n}") for n in range(9)]
    for call in calls:
        world.run(policy, call, good(b"x" * 900))
    assert [world.run(policy, call, answered(503)).status for call in calls] == [503] + [200] * 8


def test_a_response_that_is_too_large_is_not_kept_and_takes_nothing_away(world: World) -> None:
    policy = Fallback(StaleCache(max_bytes=8000))
    other = GET._replace(url=URL + "&other=1")
    world.run(policy, other, good())
    world.run(policy, GET, good(b"x" * 900))
    assert world.run(policy, GET, answered(503)).body == b"x" * 900
    world.run(policy, GET, good(b"x" * 1000))
    assert world.run(policy, GET, answered(503)).status == 503
    assert world.run(policy, other, answered(503)).status == 200


def test_all_responses_are_one_key_of_the_store(world: World) -> None:
    for number in range(100):
        world.run(Fallback(), GET._replace(url=f"https://{number}.example.com/"), good())
    assert len(world.store) == 1


def test_nothing_is_remembered_where_there_is_no_use_for_it(world: World) -> None:
    policy = Fallback(BACKUP)
    world.run(policy, GET, good())
    assert len(world.store) == 0
    assert (policy.keeps_answers, Fallback().keeps_answers, Fallback(BACKUP, "stale").keeps_answers) == (
        False,
        True,
        True,
    )


# Another server.


@pytest.mark.parametrize(
    ("base", "url", "there"),
    [
        (BACKUP, "https://api.example.com/a/b?page=2#e", f"{BACKUP}/a/b?page=2"),
        (BACKUP + "/", "https://api.example.com/a", f"{BACKUP}/a"),
        (BACKUP + "/mirror/", "https://api.example.com/a?q", f"{BACKUP}/mirror/a?q"),
        (BACKUP, "https://api.example.com", f"{BACKUP}/"),
        (BACKUP, "https://api.example.com?q=b", f"{BACKUP}/?q=b"),
        (BACKUP, "https://me:pw@api.example.com/a", f"{BACKUP}/a"),
        (BACKUP, "https://api.example.com//evil.example/@x", f"{BACKUP}//evil.example/@x"),
        ("HTTPS://[::1]:8443", "http://api.example.com/a", "HTTPS://[::1]:8443/a"),
    ],
)
def test_path_and_query_are_appended(world: World, base: str, url: str, there: str) -> None:
    outcome = world.run(Fallback(base), GET._replace(url=url), answered(503), answered(200))
    assert outcome.status == 200
    assert world.sent[1].url == there


def plain(**fields: Any) -> Call:
    return GET._replace(url="https://api.example.com/v1/orders", **fields)


def test_credentials_do_not_go_to_another_origin(world: World) -> None:
    outcome = world.run(Fallback(BACKUP), plain(), answered(503), answered(200))
    there = world.sent[1]
    assert (there.anonymous, there.credential, there.identity) == (True, "", "")
    assert (outcome.response, outcome.note) == ("response 200", f"{BACKUP} answered, after 503")


@pytest.mark.parametrize("another", [Another(BACKUP, credentials=True), Another("https://API.example.com:443/v2")])
def test_they_go_where_they_may_or_where_they_came_from(world: World, another: Another) -> None:
    world.run(Fallback(another), plain(), answered(503), answered(200))
    there = world.sent[1]
    assert (there.anonymous, there.credential, there.identity) == (False, "a key", "somebody")


UNKNOWN = {
    "token=1": "token",
    "page=1&api_key=1": "api_key",
    "X-Amz-Signature=1": "X-Amz-Signature",
    "page=1;sig=2": "sig",
    "%6Bey=1": "key",
    "license=1&wskey=2": "license, wskey",
    "anything=1": "anything",
}
HARMLESS = ["page=2", "PAGE=2&Limit=3", "$filter=a&$top=5", "q=a%26key", "lang=de", "sort=a&order=desc", "", "&&page=1"]


@pytest.mark.parametrize("query", UNKNOWN)
def test_a_query_goes_only_if_all_of_it_is_known_to_be_harmless(world: World, query: str) -> None:
    call = plain()._replace(url=f"https://api.example.com/?{query}")
    outcome = world.run(Fallback(BACKUP), call, answered(503))
    assert outcome.note == (
        f"no fallback: not sent to {BACKUP}: {UNKNOWN[query]} in the query may hold a credential; name what may go "
        "there in Another(parameters=...)"
    )
    for another in (
        Another(BACKUP, credentials=True),
        Another(BACKUP, parameters=["*"]),
        Another(BACKUP, parameters=UNKNOWN[query].upper().split(", ")),
    ):
        assert world.run(Fallback(another), call, answered(503), answered(200)).status == 200


@pytest.mark.parametrize(
    "query", ["s3cret-Wq7", "czNjcmV0==", "page=1&s3cret-Wq7=", "page=1;s3cret", "a" * 41 + "=1", "%FF=1"]
)
def test_what_may_be_a_key_without_a_name_is_not_shown(world: World, query: str) -> None:
    outcome = world.run(Fallback(BACKUP), plain()._replace(url=f"https://api.example.com/?{query}"), answered(503))
    assert outcome.note == (
        f"no fallback: not sent to {BACKUP}: a parameter without a name in the query may hold a credential; name what "
        "may go there in Another(parameters=...)"
    )


def test_a_query_that_goes_along_stays_as_it_is(world: World) -> None:
    call = plain()._replace(url="https://api.example.com/?q=a;b&&c=%3B;d=1", secret_parameters=frozenset({"c"}))
    world.run(Fallback(Another(BACKUP, parameters=["*"])), call, answered(503), answered(200))
    assert world.sent[-1].url == f"{BACKUP}/?q=a;b&;d=1"


@pytest.mark.parametrize(
    "another", [Another(BACKUP), Another(BACKUP, credentials=True), Another("https://api.example.com/mirror")]
)
def test_no_region_takes_the_place_of_another_server(world: World, another: Another) -> None:
    proceed = compose([Regions(["https://eu.example.com"])])
    world.run(Fallback(another), plain(), answered(503), answered(200), proceed=proceed)
    assert [call.origin for call in world.sent] == ["https://eu.example.com", another.place]


@pytest.mark.parametrize("query", HARMLESS)
def test_other_queries_do(world: World, query: str) -> None:
    call = plain()._replace(url=f"https://api.example.com/?{query}")
    assert world.run(Fallback(BACKUP), call, answered(503), answered(200)).status == 200


def test_what_an_auth_object_has_put_into_the_query_stays_behind(world: World) -> None:
    url = "https://api.example.com/?page=1&page_key=s3cret&q=2"
    call = plain()._replace(url=url, secret_parameters=frozenset({"page_key"}))
    for another in (Another(BACKUP), Another(BACKUP, parameters=["*"])):
        world.sent.clear()
        assert world.run(Fallback(another), call, answered(503), answered(200)).status == 200
        assert world.sent[-1].url == f"{BACKUP}/?page=1&q=2"


@pytest.mark.parametrize("parameters", ["page", [1]])
def test_parameters_are_names(parameters: Any) -> None:
    with pytest.raises(ValueError, match="parameters must be"):
        Another(BACKUP, parameters=parameters)


def test_what_was_encrypted_stays_so(world: World) -> None:
    outcome = world.run(Fallback(Another("http://backup.example.com", credentials=True)), plain(), answered(503))
    assert "not encrypted" in outcome.note


def test_what_was_to_be_anonymous_stays_so(world: World) -> None:
    policy = Fallback(Another(BACKUP, credentials=True))
    world.run(policy, plain(anonymous=True), answered(503), answered(200))
    assert world.sent[1].anonymous


def test_where_the_call_went_already_it_is_not_sent_again(world: World) -> None:
    outcome = world.run(Fallback("https://api.example.com"), plain(), answered(503))
    assert outcome.note == "no fallback: not sent to https://api.example.com: the call went there already"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 404, 429, 503])
def test_answers_of_another_server_that_are_no_good(world: World, status: int) -> None:
    first = answered(500)
    outcome = world.run(Fallback(BACKUP), plain(), first, answered(status))
    assert outcome == first._replace(note=f"no fallback: {BACKUP} had {status}")


@pytest.mark.parametrize("status", [200, 201, 204, 304])
def test_answers_of_another_server_that_are_good(world: World, status: int) -> None:
    assert world.run(Fallback(BACKUP), plain(), failed(CONNECT), answered(status)).status == status


def test_what_the_user_calls_bad_is_bad_of_another_server_too(world: World) -> None:
    assert world.run(Fallback(BACKUP, on={202, 500}), plain(), answered(500), answered(202)).status == 500


def test_chains_go_on_until_something_is_good(world: World) -> None:
    second = "https://second.example.com"
    policy = Fallback("stale", BACKUP, lambda ended: None, second, Fixed(200))
    outcome = world.run(policy, plain(), answered(503), failed(CONNECT), answered(200))
    assert outcome.note == f"{second} answered, after 503"
    outcome = world.run(policy, plain(), answered(503), failed(CONNECT), answered(502))
    assert outcome.note == "a fixed response, after 503"
    outcome = world.run(Fallback(*policy.alternatives[:-1]), plain(), answered(503), failed(CONNECT), answered(502))
    assert (outcome.status, outcome.response) == (503, "response 503")
    assert outcome.note == (
        f"no fallback: no last good response, {BACKUP} had no connection, <lambda> had nothing, {second} had 502"
    )


POSTED = POST._replace(url="https://api.example.com/v1/orders")
MAYBE = [answered(500), answered(502), answered(503), answered(504), *map(failed, FAILURES[2:]), failed(EXPIRED)]
NOT = [
    failed(CONNECT),
    failed(CONNECT_TIMEOUT),
    refused(CircuitOpenError()),
    refused(RateLimitError()),
    answered(503, retry_after="1"),
    answered(429, retry_after="99")._replace(error=DeadlineExceeded(), failure=EXPIRED),
]


@pytest.mark.parametrize("ended", MAYBE)
def test_what_may_have_been_processed_is_not_sent_elsewhere(world: World, ended: Outcome) -> None:
    outcome = world.run(Fallback(BACKUP), POSTED, ended)
    assert outcome == ended._replace(note=f"no fallback: not sent to {BACKUP}: the POST may have been processed")


@pytest.mark.parametrize("ended", MAYBE)
@pytest.mark.parametrize(
    ("call", "another"),
    [
        (POSTED._replace(method="PUT"), Another(BACKUP)),
        (POSTED._replace(idempotent=True), Another(BACKUP)),
        (POSTED, Another(BACKUP, methods=None)),
        (POSTED, Another(BACKUP, methods=["post"])),
    ],
)
def test_unless_it_is_idempotent(world: World, call: Call, another: Another, ended: Outcome) -> None:
    assert world.run(Fallback(another), call, ended, answered(201)).status == 201


@pytest.mark.parametrize("ended", NOT)
def test_what_was_not_processed_is_sent_elsewhere(world: World, ended: Outcome) -> None:
    assert world.run(Fallback(BACKUP), POSTED, ended, answered(201)).status == 201


@pytest.mark.parametrize("there", [answered(500), failed(READ_TIMEOUT)])
def test_what_another_server_may_have_processed_goes_nowhere_else_and_is_not_denied(
    world: World, there: Outcome
) -> None:
    policy = Fallback(BACKUP, "https://second.example.com")
    outcome = world.run(policy, POSTED, failed(CONNECT), there)
    assert (outcome.error, outcome.status, outcome.failure) == (there.error, there.status, there.failure)
    assert "not sent to https://second.example.com: the POST may have been processed" in outcome.note


def test_what_another_server_has_not_processed_goes_on(world: World) -> None:
    policy = Fallback(BACKUP, "https://second.example.com")
    assert world.run(policy, POSTED, failed(CONNECT), answered(429), answered(201)).status == 201


def test_a_body_that_can_be_read_once_goes_where_it_has_not_been(world: World) -> None:
    policy = Fallback(BACKUP, "https://second.example.com")
    put = POSTED._replace(method="PUT", body="once")
    assert world.run(policy, put, failed(CONNECT), answered(201)).status == 201
    assert "read only once" in world.run(policy, put, answered(503, retry_after="1")).note
    outcome = world.run(policy, put, failed(CONNECT), answered(500))
    assert outcome.failure is CONNECT
    assert "second.example.com: the body can be read only once" in outcome.note


def test_after_the_deadline_nothing_is_sent(world: World) -> None:
    call = plain(deadline=30.0)
    assert world.run(Fallback(BACKUP), call, failed(READ_TIMEOUT, now=20), answered(200)).status == 200
    assert "the deadline is over" in world.run(Fallback(BACKUP), call, failed(EXPIRED, now=30)).note


# A fixed response, and functions.


def test_a_fixed_response(world: World) -> None:
    policy = Fallback(Fixed(202, {"X-Queued": "yes"}, json={"queued": True}))
    outcome = world.run(policy, POST, failed(READ_TIMEOUT, now=7))
    assert (outcome.status, outcome.body, outcome.now) == (202, b'{"queued": true}', 7)
    assert dict(outcome.headers) == {"X-Queued": "yes", "Content-Type": "application/json"}
    assert outcome.headers.get("x-queued") == "yes"


def test_an_answer_to_head_has_no_body(world: World) -> None:
    assert world.run(Fallback(Fixed(body=b"x")), GET._replace(method="HEAD"), answered(500)).body == b""


def test_json_is_written_when_the_response_is_made() -> None:
    value = {"items": [1]}
    fixed = Fixed(json=value)
    value["items"].append(2)
    assert fixed.body == b'{"items": [1]}'
    assert Fixed(json=None).body == b"null"
    assert Fixed(body="ü").headers == (("Content-Type", "text/plain; charset=utf-8"),)
    assert Fixed(headers={"content-type": "text/csv"}, body="a").headers == (("content-type", "text/csv"),)


def test_the_time_of_a_call_that_never_began_is_when_it_began(world: World) -> None:
    assert world.run(Fallback(Fixed()), GET._replace(started=5.0), refused(CircuitOpenError())).now == 5


def test_a_function_is_told_what_happened(world: World) -> None:
    told: list[FailedCall] = []
    policy = Fallback(lambda ended: told.append(ended))
    error = OSError("read timeout")
    world.run(policy, POST._replace(url="https://me:pw@Api.example.com/a;b?token=hidden#c"), failed(READ_TIMEOUT))
    world.run(policy, GET, answered(503))
    world.run(policy, GET, refused(error, READ_TIMEOUT))
    first = told[0]
    assert (first.method, first.url, first.reason) == ("POST", "https://api.example.com/a;b", "read timeout")
    assert (first.status, first.failure, first.response) == (0, "read timeout", None)
    assert (told[1].status, told[1].failure, told[1].error, told[1].response) == (503, "", None, "response 503")
    assert told[2].error is error
    assert repr(told[2]) == "<FailedCall GET https://api.example.com/orders: read timeout>"


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        (Fixed(203, body=b"x"), 203, b"x"),
        (b"bytes", 200, b"bytes"),
        ("text", 200, b"text"),
        ({"a": 1}, 200, b'{"a": 1}'),
        ([], 200, b"[]"),
    ],
)
def test_what_a_function_may_return(world: World, given: Any, status: int, body: bytes) -> None:
    def instead(ended: FailedCall) -> Any:
        return given

    outcome = world.run(Fallback(instead), GET, answered(503))
    assert (outcome.status, outcome.body, outcome.note) == (status, body, "what instead returned, after 503")


def test_a_function_may_return_a_response(world: World) -> None:
    response = requests.Response()
    response.status_code, response.headers["A"] = 207, "b"
    outcome = world.run(Fallback(lambda ended: response), GET, failed(CONNECT))
    assert (outcome.response, outcome.status, outcome.headers["a"]) == (response, 207, "b")
    assert (outcome.error, outcome.failure) == (None, None)


def test_what_a_function_raises_goes_to_the_caller(world: World) -> None:
    def broken(ended: FailedCall) -> None:
        raise KeyError("mine")

    outcome = world.run(Fallback(broken, Fixed()), GET, answered(503))
    assert (repr(outcome.error), outcome.failure) == ("KeyError('mine')", UNCLASSIFIED)
    assert (outcome.response, outcome.note) == (None, "broken raised this, after 503")


def test_a_function_that_returns_nonsense_is_told_so(world: World) -> None:
    async def later() -> None: ...

    for function in (lambda ended: 5, lambda ended: later()):
        error = world.run(Fallback(function), GET, answered(503)).error
        assert isinstance(error, TypeError)
        assert "a fallback function may return a Fixed" in str(error)


def test_an_error_that_a_function_raises_again_is_not_kept_alive(world: World) -> None:
    class Mine(Exception):
        pass

    def again(ended: FailedCall) -> None:
        error = ended.error
        del ended
        try:
            raise error
        finally:
            del error

    gc.disable()
    try:
        outcome = world.run(Fallback(again), GET, refused(Mine(), READ_TIMEOUT))
        watched = weakref.ref(outcome.error)
        del outcome
        assert watched() is None
    finally:
        gc.enable()


# Settings.


async def asynchronous(ended: FailedCall) -> None: ...


class Asynchronous:
    async def __call__(self, ended: FailedCall) -> None: ...


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fallback("fresh"), "url='fresh'"),
        (lambda: Fallback("/relative"), "url='/relative'"),
        (lambda: Fallback("//host/path"), "absolute"),
        (lambda: Fallback("ftp://host/"), "http://"),
        (lambda: Fallback("https://"), "absolute"),
        (lambda: Fallback("https://host:99999"), "absolute"),
        (lambda: Fallback("https://host:0"), "absolute"),
        (lambda: Fallback("https://höst/"), "ASCII"),
        (lambda: Fallback("https://host/a b"), "ASCII"),
        (lambda: Fallback("https://host/?a=b"), "without query"),
        (lambda: Fallback("https://host/#a"), "without query"),
        (lambda: Fallback("https://me:pw@host/"), "no user name"),
        (lambda: Fallback(None), "Fallback(None)"),
        (lambda: Fallback(b"body"), "b'body'"),
        (lambda: Fallback({"json": 1}), "an alternative must be"),
        (lambda: Fallback(["stale"]), "an alternative must be"),
        (lambda: Fallback(Fixed), "an alternative must be"),
        (lambda: Fallback(asynchronous), "not asynchronous"),
        (lambda: Fallback(Asynchronous()), "not asynchronous"),
        (lambda: Fallback(Fixed(), "stale"), "nothing after a Fixed"),
        (lambda: Fallback("stale", StaleCache(max_age=5)), "may be one"),
        (lambda: Fallback(BACKUP, BACKUP), "may be one"),
        (lambda: Fallback(on=(), exceptions=()), "never applies"),
        (lambda: Fallback(on={99}), "on={99}"),
        (lambda: Fallback(on=503), "on=503"),
        (lambda: Fallback(exceptions=("timeout",)), "exceptions="),
        (lambda: Fallback(max_age=0), "max_age=0"),
        (lambda: Fallback(max_age=float("nan")), "max_age=nan"),
        (lambda: Fallback(BACKUP, max_age=5), "max_age=5"),
        (lambda: StaleCache(max_age=-1), "max_age=-1"),
        (lambda: StaleCache(max_age="1"), "max_age='1'"),
        (lambda: StaleCache(max_entries=0), "max_entries=0"),
        (lambda: StaleCache(max_bytes=7), "max_bytes=7"),
        (lambda: Another(5), "url=5"),
        (lambda: Another(BACKUP, credentials="yes"), "credentials='yes'"),
        (lambda: Another(BACKUP, methods="POST"), "methods='POST'"),
        (lambda: Fixed(99), "status=99"),
        (lambda: Fixed(101), "status=101"),
        (lambda: Fixed(600), "status=600"),
        (lambda: Fixed(True), "status=True"),
        (lambda: Fixed("200"), "status='200'"),
        (lambda: Fixed(204, body=b"x"), "body=b'x'"),
        (lambda: Fixed(302, {"location": "/"}), "status=302"),
        (lambda: Fixed(headers={"a b": "c"}), "headers={'a b': 'c'}"),
        (lambda: Fixed(headers={"a": "b\r\nc: d"}), "headers="),
        (lambda: Fixed(headers={"a": "→"}), "headers="),
        (lambda: Fixed(headers={"a": 1}), "headers={'a': 1}"),
        (lambda: Fixed(headers=["a"]), "headers=['a']"),
        (lambda: Fixed(body=5), "body=5"),
        (lambda: Fixed(body=b"x", json=1), "not both"),
        (lambda: Fixed(json={1, 2}), "json={1, 2}"),
        (lambda: Fixed(json=float("nan")), "json=nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        make()
    assert "pw" not in str(caught.value)


def test_policies_are_values() -> None:
    policy = Fallback("stale", BACKUP, Fixed(json=[1]), max_age=60)
    assert policy == Fallback("stale", BACKUP, Fixed(json=[1]), max_age=60)
    assert policy != Fallback(BACKUP)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert len({policy, Fallback("stale", BACKUP, Fixed(json=[1]), max_age=60)}) == 1
    with pytest.raises(AttributeError):
        policy.on = ()


def test_stale_is_what_there_is_by_default() -> None:
    assert Fallback().alternatives == Fallback("stale").alternatives == (StaleCache(),)
    assert Fallback(max_age=60).alternatives == (StaleCache(max_age=60),)


def test_headers_are_found_in_any_case() -> None:
    headers = Headers((("Age", "1"), ("X-Y", "2"), ("AGE", "3")))
    assert (headers["age"], headers["AGE"], headers.get("x-y"), headers.get("z")) == ("3", "3", "2", None)
    assert (len(headers), dict(headers), "Age" in headers) == (2, {"AGE": "3", "X-Y": "2"}, True)
    assert repr(headers) == "Headers(['age', 'x-y'])"
