"""Every recorded answer against every reader of verdicts: one table says what each of them is to do."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import is_declined, verdict_of, was_served
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.verdict import KINDS, SERVED, Kind, Verdict
from polvo_adapters.errors import IdempotencyError, InDoubtError, QuotaExceededError, RateLimitError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead
from polvo_adapters.policies.fallback import Fallback, Fixed
from polvo_adapters.policies.idempotency import IdempotencyKeys, Record
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.recorded_answers import ANSWERS, RecordedAnswer
from tests.support.virtual_worlds import LoopClock

PACKAGE = Path(polvo.__file__).parent
URL = "https://api.example.com/items"
CALL = Call("GET", URL)
FINE = RecordedAnswer("fine", 200, {}, b"{}", "served")
RETRY = ExponentialBackoff(base=0.25, jitter="none", retry_after_cap=600, budget=None)

every_answer = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)


class Server(BaseAdapter):
    """Gives answers in their order, and then fine ones; notes when it was asked."""

    def __init__(self, clock: VirtualClock, *answers: RecordedAnswer) -> None:
        super().__init__()
        self.clock = clock
        self.answers = list(answers)
        self.asked: list[float] = []

    def next(self) -> RecordedAnswer:
        self.asked.append(self.clock.now())
        return self.answers.pop(0) if self.answers else FINE

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        answer = self.next()
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status, request.url or "", request
        response.headers.update(answer.headers)
        raw: Any = urllib3.HTTPResponse(io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False)
        response.raw = raw
        return response

    def close(self) -> None:
        pass

    def handle(self, request: httpx.Request) -> httpx.Response:
        answer = self.next()
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


Ask = Callable[[str, tuple[Any, ...], RecordedAnswer], Server]


def ask_by_requests(method: str, policies: tuple[Any, ...], answer: RecordedAnswer) -> Server:
    clock = VirtualClock()
    server = Server(clock, answer)
    session = requests.Session()
    session.mount("https://", PolicyAdapter(*policies, inner=server, clock=clock))
    session.request(method, URL, data=b"x" if method == "POST" else None)
    return server


def ask_by_httpx(method: str, policies: tuple[Any, ...], answer: RecordedAnswer) -> Server:
    clock = VirtualClock()
    server = Server(clock, answer)
    inner = httpx.MockTransport(server.handle)
    with httpx.Client(transport=PolicyTransport(*policies, inner=inner, clock=clock)) as client:
        client.request(method, URL, content=b"x" if method == "POST" else None)
    return server


def ask_by_asyncio(method: str, policies: tuple[Any, ...], answer: RecordedAnswer) -> Server:
    clock = LoopClock()
    server = Server(clock, answer)
    inner = httpx.MockTransport(server.handle)

    async def main() -> None:
        transport: Any = AsyncPolicyTransport(*policies, inner=inner, clock=clock)
        async with httpx.AsyncClient(transport=transport) as client:
            await client.request(method, URL, content=b"x" if method == "POST" else None)

    clock.run(main())
    return server


def outcome_of(answer: RecordedAnswer, judged: Any = None) -> Outcome:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Outcome("response", answer.status, headers, body=answer.body, wall=1_700_000_000.0, judged=judged)


# What each kind makes of each reader.

REPEATED = {"throttled", "concurrent", "unavailable", "failed"}
PAUSES = {"throttled", "unavailable", "exhausted"}
OPENS = {"failed", "unavailable"}
LOWERS = {"throttled", "concurrent", "unavailable"}
NOT_PROCESSED = {"throttled", "concurrent", "unavailable", "exhausted"}
RAISES = {"throttled", "concurrent", "exhausted"}


@every_answer
def test_the_verdict(answer: RecordedAnswer) -> None:
    verdict = verdict_of(CALL, outcome_of(answer))
    got = (verdict.kind, verdict.retry_after, verdict.scope, verdict.processed)
    assert got == (answer.kind, answer.retry_after, answer.scope, answer.processed)
    assert verdict.until == (None if answer.retry_after is None else 1_700_000_000.0 + answer.retry_after)


@every_answer
@pytest.mark.parametrize("ask", [ask_by_requests, ask_by_httpx, ask_by_asyncio])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_retry(answer: RecordedAnswer, ask: Ask, method: str) -> None:
    server = ask(method, (RETRY,), answer)
    again = answer.kind in REPEATED
    if method == "POST" and (answer.kind == "failed" or answer.processed):
        again = False  # the server may have processed it
    assert len(server.asked) == 1 + again
    if again:
        assert server.asked[1] >= (0.25 if answer.retry_after is None else answer.retry_after)


@every_answer
def test_the_retry_does_not_repeat_a_denial_for_a_403_in_its_list(answer: RecordedAnswer) -> None:
    server = ask_by_requests("GET", (ExponentialBackoff(retry_on={403, 429, 500, 502, 503}, budget=None),), answer)
    again = answer.kind in REPEATED or (answer.status == 403 and answer.kind == "served")
    assert (len(server.asked) > 1) == (again and (answer.retry_after or 0) <= 120)


@every_answer
@pytest.mark.parametrize("retry_on", [(), (500,)], ids=str)
def test_who_does_not_want_a_429_repeated_gets_nothing_throttled_repeated(
    answer: RecordedAnswer, retry_on: Any
) -> None:
    policy = ExponentialBackoff(retry_on=retry_on, retry_after_on=(), budget=None)
    server = ask_by_requests("GET", (policy,), answer)
    assert (len(server.asked) > 1) == (answer.status in retry_on and answer.kind in ("failed", "throttled"))


@every_answer
@pytest.mark.parametrize("limit", [TokenBucket(1000, max_wait=9e9), SlidingWindow(1000, 1, max_wait=9e9)], ids=repr)
def test_the_limit_of_a_known_rate(answer: RecordedAnswer, limit: Any) -> None:
    pause = pause_after(answer, limit)
    if answer.kind in PAUSES:
        assert pause >= (0.5 if answer.retry_after is None else answer.retry_after)
    elif answer.kind == "concurrent":
        assert pause == (answer.retry_after or 0.0)
    else:
        assert pause == answer.pause


@every_answer
def test_the_adaptive_limit(answer: RecordedAnswer) -> None:
    pause = pause_after(answer, AdaptiveRateLimit(max_wait=9e9))
    if answer.kind in PAUSES and answer.retry_after is not None:
        assert pause >= answer.retry_after
    elif answer.kind in PAUSES:
        assert pause > 0
    elif answer.kind == "concurrent":
        assert pause == (answer.retry_after or 0.0)
    else:
        assert pause == answer.pause


def pause_after(answer: RecordedAnswer, limit: Any) -> float:
    clock = VirtualClock()
    server = Server(clock, answer)
    session = requests.Session()
    session.mount("https://", PolicyAdapter(limit, inner=server, clock=clock))
    session.get(URL)
    session.get(URL)
    return server.asked[1] - server.asked[0]


@every_answer
def test_the_circuit_breaker(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    adapter = PolicyAdapter(CircuitBreaker(failure_threshold=1), inner=Server(clock, answer), clock=clock)
    session = requests.Session()
    session.mount("https://", adapter)
    session.get(URL)
    opened = adapter.circuit(URL).state == "open"
    assert opened == (answer.kind in OPENS)


@every_answer
def test_a_throttled_success_neither_counts_for_the_circuit_nor_ends_a_row(answer: RecordedAnswer) -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    permit = breaker.transition(breaker.initial, breaker.ask_event(CALL, ""), 0.0)[1]
    event = breaker.result_event(CALL, permit, outcome_of(answer))
    if answer.status < 400:
        assert event.result == ("success" if answer.kind == "served" else "reachable")


@every_answer
def test_the_bulkhead(answer: RecordedAnswer) -> None:
    bulkhead = AdaptiveBulkhead(initial_limit=10)
    state, slot = bulkhead.transition(bulkhead.initial, bulkhead.ask_event(CALL, ""), 1.0)
    state, _ = bulkhead.transition(state, bulkhead.result_event(CALL, slot, outcome_of(answer)), 2.0)
    lowered = answer.kind in LOWERS or (answer.kind == "failed" and answer.status in (502, 503, 504))
    assert (bulkhead.count_slots(state.limit) < 10) == lowered


@every_answer
@pytest.mark.parametrize("with_429", [True, False])
def test_the_fallback(answer: RecordedAnswer, with_429: bool) -> None:
    clock = VirtualClock()
    statuses = {500, 502, 503, 504} | ({429} if with_429 else set())
    session = requests.Session()
    fallback = Fallback(Fixed(body=b"instead"), on=statuses)
    session.mount("https://", PolicyAdapter(fallback, inner=Server(clock, answer), clock=clock))
    bad = answer.status in statuses or (with_429 and answer.kind in RAISES)
    bad = bad or answer.kind == "unavailable"
    assert (session.get(URL).content == b"instead") == bad


@every_answer
def test_the_record_of_keys(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    server = Server(clock, answer)
    session = requests.Session()
    keys = IdempotencyKeys(supported=False, record=Record(max_body=1 << 20))
    session.mount("https://", PolicyAdapter(keys, inner=server, clock=clock))
    session.post(URL, data=b"x", headers={"Idempotency-Key": "order-1"})
    try:
        session.post(URL, data=b"x", headers={"Idempotency-Key": "order-1"})
        seen = "stored" if len(server.asked) == 1 else "sent again"
    except InDoubtError:
        seen = "in doubt"
    except IdempotencyError as error:
        seen = str(error)
    if answer.kind in NOT_PROCESSED and not answer.processed:
        assert seen == "sent again"
    elif answer.status < 400:
        assert seen == "stored"
    else:
        assert seen == ("in doubt" if answer.status >= 500 else "sent again")


@every_answer
def test_the_session(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    api = polvo.Session(retry=False, circuit_breaker=False, clock=clock)
    api.mount("https://", polvo.ResilientAdapter(retry=False, clock=clock, inner=Server(clock, answer)))
    expected: Any = None
    if answer.kind in RAISES and answer.status >= 400:
        expected = QuotaExceededError if answer.kind == "exhausted" else RateLimitError
    if expected is None:
        assert api.get(URL).status_code == answer.status
        return
    with pytest.raises(expected) as caught:
        api.get(URL)
    assert type(caught.value) is expected
    assert caught.value.retry_after == answer.retry_after
    assert caught.value.response.status_code == answer.status


@every_answer
def test_what_counts_as_served_and_as_declined(answer: RecordedAnswer) -> None:
    outcome = outcome_of(answer)
    served = answer.kind in ("served", "refused") or (answer.kind == "replayed" and answer.status < 500)
    assert was_served(CALL, outcome) == served
    assert is_declined(CALL, outcome) == (answer.kind in NOT_PROCESSED and not answer.processed)


REFUSALS = [each for each in ANSWERS if each.kind in RAISES and not each.processed]
every_refusal = pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer.name)


@every_refusal
def test_a_refusal_of_another_server_is_no_alternative(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    down = FINE._replace(status=503)
    fallback = Fallback("https://backup.example.com", Fixed(body=b"instead"))
    session = requests.Session()
    session.mount("https://", PolicyAdapter(fallback, inner=Server(clock, down, answer), clock=clock))
    assert session.get(URL).content == b"instead"


@every_refusal
def test_a_refusal_of_a_region_sends_the_call_to_another_one(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    regions = Regions(("https://api.example.com", "https://eu.example.com"), reroute_codes={429})
    server = Server(clock, answer)
    session = requests.Session()
    session.mount("https://", PolicyAdapter(regions, inner=server, clock=clock))
    assert session.post(URL, data=b"x").status_code == 200
    assert len(server.asked) == 2


@every_refusal
def test_a_request_that_was_refused_has_its_key_when_it_is_sent_again(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    session = requests.Session()
    session.mount("https://", PolicyAdapter(IdempotencyKeys(), inner=Server(clock, answer), clock=clock))
    request = session.prepare_request(requests.Request("POST", URL, data=b"x"))
    keys = []
    for _ in range(3):
        session.send(request)
        keys.append(request.headers["Idempotency-Key"])
    assert keys[0] == keys[1] != keys[2]


@every_refusal
def test_a_refused_request_that_was_given_up_is_sent_once_by_the_code_above(answer: RecordedAnswer) -> None:
    clock = VirtualClock()
    server = Server(clock, *[answer] * 10)
    session = requests.Session()
    session.mount("https://", PolicyAdapter(RETRY, inner=server, clock=clock))
    session.get(URL)
    first = len(server.asked)
    session.get(URL)
    assert (first, len(server.asked)) == ((1, 2) if answer.kind == "exhausted" else (3, 4))


def test_all_kinds_that_servers_give_are_in_the_table() -> None:
    assert {answer.kind for answer in ANSWERS} == KINDS - {"at work", "key refused"}


def test_the_page_on_retries_has_the_same_table() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "retry.md").read_text()
    lines = text.partition("| Verdict |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    told = {name.strip("`"): cells for name, *cells in rows}
    assert set(told) == set(get_args(Kind))
    for kind, (_, repeated, limit, circuit, bulkhead, unprocessed) in told.items():
        assert (repeated in ("yes", "if safe")) == (kind in REPEATED)
        assert (limit == "pauses") == (kind in PAUSES)
        assert (circuit == "a failure") == (kind in OPENS)
        assert bulkhead.startswith("fewer calls") == (kind in LOWERS or kind == "failed")
        assert (unprocessed == "yes") == (kind in NOT_PROCESSED)


# Once for each answer, and nothing for a fine one.


@every_answer
def test_an_answer_is_judged_once(answer: RecordedAnswer) -> None:
    asked: list[str] = []

    def judge(given: Any) -> None:
        asked.append(f"{given.status}")

    stack = (
        IdempotencyKeys(judge=judge, record=True),
        Fallback(Fixed(299), on={429, 500, 503}),
        ExponentialBackoff(max_attempts=1, budget=None),
        CircuitBreaker(),
        AdaptiveBulkhead(),
        AdaptiveRateLimit(judge=None),
    )
    ask_by_requests("POST", stack, answer)
    assert asked.count(str(answer.status)) == 1
    assert len(asked) == len(set(asked))  # that of the fallback is another one


def test_a_fine_answer_is_the_same_verdict_without_a_new_object() -> None:
    judged: list[Verdict] = []
    assert verdict_of(CALL, outcome_of(FINE, judged)) is SERVED
    assert judged == [SERVED]


def test_a_streamed_body_is_not_read_for_a_verdict() -> None:
    answer = next(each for each in ANSWERS if each.name == "MediaWiki, lag")
    assert verdict_of(CALL, outcome_of(answer)._replace(body=None)) is SERVED


def test_the_report_shows_the_verdict() -> None:
    clock = VirtualClock()
    answer = next(each for each in ANSWERS if each.name == "Google, user")
    session = requests.Session()
    policy = ExponentialBackoff(max_attempts=1)
    session.mount("https://", PolicyAdapter(policy, inner=Server(clock, answer, FINE), clock=clock))
    first, second = session.get(URL), session.get(URL)
    shown: Any = first.polvo  # type: ignore[attr-defined]
    assert shown.verdict == Verdict("throttled", reason="403, userRateLimitExceeded")
    assert second.polvo.verdict is None  # type: ignore[attr-defined]


def test_the_log_and_the_report_say_why_a_listed_status_is_not_repeated() -> None:
    answer = next(each for each in ANSWERS if each.name == "OpenAI, no money")
    clock = VirtualClock()
    session = requests.Session()
    session.mount("https://", PolicyAdapter(RETRY, inner=Server(clock, answer), clock=clock))
    note = session.get(URL).polvo.note  # type: ignore[attr-defined]
    assert note == "not repeated: 429, insufficient_quota, which stays the same"


def test_retry_if_has_the_last_word() -> None:
    answer = next(each for each in ANSWERS if each.name == "Google, denied")
    policy = ExponentialBackoff(retry_if=lambda given: given.status == 403 or None, budget=None)
    assert len(ask_by_requests("GET", (policy,), answer).asked) == 2


def test_the_server_has_a_word_about_a_denial() -> None:
    answer = next(each for each in ANSWERS if each.name == "Google, denied")
    answer = answer._replace(headers={"X-Should-Retry": "true"})
    assert len(ask_by_requests("GET", (RETRY,), answer).asked) == 2


# Judges of the user's own.


@pytest.mark.parametrize(
    ("judge", "kind"),
    [
        (lambda _: "throttled", "throttled"),
        (lambda _: Verdict("exhausted", 5.0), "exhausted"),
        (lambda _: polvo.headers.Throttled("concurrency"), "concurrent"),
        (lambda _: None, "served"),
        (lambda _: "nonsense", "served"),
        (lambda _: 5, "served"),
        (lambda _: Verdict("throttled", -1.0), "served"),
        (lambda _: Verdict("throttled", float("nan")), "served"),
        (lambda _: Verdict("other"), "served"),  # type: ignore[arg-type]
        (lambda _: {}["key"], "served"),
        (lambda headers, status, body, now: polvo.headers.Throttled("rate"), "throttled"),
        (lambda headers, status, body, now: None, "served"),
    ],
)
def test_what_a_judge_may_say(judge: Any, kind: str) -> None:
    limit = TokenBucket(100, judge=judge)
    verdict = verdict_of(CALL._replace(judges=limit.judges), outcome_of(FINE._replace(status=418)))
    assert verdict.kind == kind


def test_a_judge_of_the_limit_is_one_of_the_retry_too() -> None:
    def judge(answer: polvo.retry.Answer) -> str | None:
        return "throttled" if answer.status == 420 else None

    teapot = FINE._replace(status=420)
    stack = (RETRY, TokenBucket(100, judge=judge))  # type: ignore[arg-type]
    for ask in (ask_by_requests, ask_by_httpx, ask_by_asyncio):
        assert len(ask("POST", stack, teapot).asked) == 2


def test_a_success_that_a_judge_calls_failed_counts_as_a_500() -> None:
    def judge(answer: polvo.retry.Answer) -> str | None:
        return "failed" if b"oops" in (answer.body or b"") else None

    oops = FINE._replace(body=b"oops")
    stack = (RETRY, CircuitBreaker(failure_threshold=1, recovery_timeout=0.1), TokenBucket(100, judge=judge))  # type: ignore[arg-type]
    for ask in (ask_by_requests, ask_by_httpx, ask_by_asyncio):
        assert len(ask("GET", stack, oops).asked) == 2
        assert len(ask("POST", stack, oops).asked) == 1
    keys = (IdempotencyKeys(supported=False, record=True), *stack[2:])
    clock = VirtualClock()
    session = requests.Session()
    session.mount("https://", PolicyAdapter(*keys, inner=Server(clock, oops), clock=clock))
    session.post(URL, headers={"Idempotency-Key": "order-1"})
    with pytest.raises(InDoubtError):
        session.post(URL, headers={"Idempotency-Key": "order-1"})
    clock = VirtualClock()
    adapter = PolicyAdapter(*stack[1:], inner=Server(clock, oops), clock=clock)
    session = requests.Session()
    session.mount("https://", adapter)
    session.get(URL)
    assert adapter.circuit(URL).state == "open"


def test_a_judge_that_raises_is_told_of_in_the_reason() -> None:
    limit = TokenBucket(100, judge=lambda answer: [][answer.status])
    verdict = verdict_of(CALL._replace(judges=limit.judges), outcome_of(FINE._replace(status=404)))
    assert verdict.reason == "404; judge raised IndexError"


@pytest.mark.parametrize("judge", ["stripe", lambda one, two: None, lambda: None])
@pytest.mark.parametrize(
    "make", [lambda **given: TokenBucket(1, **given), lambda **given: SlidingWindow(1, 1, **given), AdaptiveRateLimit]
)
def test_a_judge_of_another_form_is_refused_with_what_to_change(make: Any, judge: Any) -> None:
    with pytest.raises(ValueError, match=r"judge must be a function of (one|an) Answer"):
        make(judge=judge)


# A new reader cannot forget the verdict.

READ = {"core/judgement.py", "core/judges.py"}
"""The modules that work the verdict out."""
EXCEPTIONS = {
    "policies/retry.py": "headers.retry_after, to name the header in the reason of a wait that the verdict has set",
    "shells/requests/one_shot.py": "the answers of token endpoints and of secret stores, which have rules of their own",
    "shells/httpx/one_shot.py": "the answers of secret stores, which have rules of their own",
    "shells/httpx/failures.py": "messages of httpcore about proxies",
    "shells/requests/failures.py": "answers of proxies",
    "shells/status_error.py": "429 raises in sessions whatever a judge says of it",
    "shells/requests/wire/recording_retry.py": "the caller's own Retry decides for itself",
    "core/verdict.py": "429 stands for what is throttled",
    "policies/ratelimit/pauses.py": "pauses that successes ask for",
}


def find_own_judgements(path: Path) -> list[str]:
    """Return where a module looks itself at what the verdict knows: 429 and 529, Retry-After, refusals in bodies."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            constants = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if constants & {429, 529}:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("throttled", "retry_after"):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_else_judges_answers() -> None:
    found = {}
    for folder in ("core", "policies", "drivers", "shells"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            name = path.relative_to(PACKAGE).as_posix()
            own = find_own_judgements(path)
            if own and name not in READ:
                found[name] = own
    assert {name: own for name, own in found.items() if name not in EXCEPTIONS} == {}, (
        "ask verdict_of(call, outcome), so that all policies are of one mind"
    )


# Whatever a server sends, a verdict comes of it.

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "code", "type", "extensions", "data", "retry_after", "lag", "message"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(0, 999), values, st.sampled_from(["", "{", "["]), st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_answer_is_beyond_a_verdict(status: int, value: Any, before: str, headers: dict[str, str]) -> None:
    import json

    for body in (json.dumps(value).encode(), f'{before}{{"error": "THROTTLED rate limit'.encode(), None):
        verdict = verdict_of(CALL, Outcome("response", status, headers, body=body, wall=1.7e9))
        assert verdict.kind in KINDS
        assert verdict.retry_after is None or verdict.retry_after >= 0
        assert verdict.to_throttled() is None or verdict.is_refusal
