"""The local engine: retries, regions, chains, webhooks, and what is in doubt."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.services.ezthrottle import (
    ArgumentError,
    DuplicateJobError,
    EZThrottle,
    EZThrottleError,
    IdempotentStrategy,
    JobResult,
    LocalEngine,
    ReplayMemory,
    Step,
    verify_webhook_signature,
)
from polvo_adapters.stores.memory import MemoryStore
from tests.support.ezthrottle_server import EZThrottleServer, Received, Reply, wait_until
from tests.support.leaping_clock import Leap

SECRETS = ["n" * 16, "o" * 16]
FAST = {"base": 0.01}


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(webhook_backoff=0.001, webhook_secrets=SECRETS, retry=FAST) as made:
        yield made


@pytest.fixture
def client(engine: LocalEngine) -> EZThrottle:
    return EZThrottle(engine=engine)


def answers(server: EZThrottleServer, path: str, *replies: Reply) -> None:
    """Answer the requests below a path in turn, and the rest by the last reply."""
    left = list(replies)
    server.routes[path] = lambda request: left.pop(0) if len(left) > 1 else left[0]


def run(step: Step) -> JobResult:
    return step.execute().wait(15)


# ---- Retries


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_code_that_is_named_is_retried_in_place(server: EZThrottleServer, client: EZThrottle, method: str) -> None:
    answers(server, "/own", Reply(418), Reply(418), Reply(200))
    step = Step(client).url(server.url + "/own").method(method)
    result = run(step.retry_policy({"max_retries": 2, "retry_codes": [418]}))
    assert (result["status"], result["attempts"], len(server.received)) == ("success", 3, 3)


def test_retries_end_and_a_code_that_is_not_named_is_final(server: EZThrottleServer, client: EZThrottle) -> None:
    answers(server, "/own", Reply(503))
    step = Step(client).url(server.url + "/own").retry_policy({"max_retries": 1, "retry_codes": [503]})
    assert (run(step)["status"], len(server.received)) == ("failed", 2)
    other = Step(client).url(server.url + "/own").body("2").retry_policy({"max_retries": 1, "retry_codes": [429]})
    assert (run(other)["status_code"], len(server.received)) == (503, 3)


def test_a_post_whose_answer_is_lost_is_in_doubt_and_nothing_follows(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    server.honours_keys = False
    server.lose = lambda: True
    after = Step().url(server.url + "/target/200")
    step = Step(client).url(server.url + "/work/pay").method("POST").body("a").retry_policy({"max_retries": 3})
    step.on_failure(after).fallback(after).webhooks([{"url": server.url + "/hook/a"}])
    result = run(step)
    assert result["status"] == "in_doubt"
    assert "find out" in result["error"] or result["error"]
    assert engine.drain(5)
    assert server.executions == {"a": 1}
    assert not server.at("/target")
    told = json.loads(server.at("/hook")[0].body)
    assert (told["status"], told["in_doubt"]) == ("failed", True)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer t"}])
def test_a_job_in_doubt_can_be_resolved_either_way(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine, headers: dict[str, str]
) -> None:
    server.honours_keys = False
    server.lose = lambda: len(server.executions) < 3 and sum(server.executions.values()) < 3
    done = run(_pay(client, server, "done", **headers))
    lost = run(_pay(client, server, "lost", **headers))
    assert done["status"] == lost["status"] == "in_doubt"
    assert _pay(client, server, "lost", **headers).execute()["duplicate"]
    server.lose = lambda: False
    engine.resolve(done["job_id"], done=True)
    engine.resolve(lost["job_id"], done=False)
    assert done.wait(5)["status"] == lost.wait(5)["status"] == "success"
    assert server.executions == {"done": 1, "lost": 2}
    with pytest.raises(ArgumentError, match="not in doubt"):
        engine.resolve(done["job_id"], done=True)


def _pay(client: EZThrottle, server: EZThrottleServer, body: str, **headers: str) -> Step:
    return Step(client).url(server.url + "/work/pay").method("POST").headers(headers).body(body)


def test_a_server_that_honours_keys_is_asked_again_with_the_same_key(server: EZThrottleServer) -> None:
    lost = iter([True] * 3)
    server.lose = lambda: next(lost, False)
    with LocalEngine(honours_keys=True, retry=FAST) as engine:
        result = run(_pay(EZThrottle(engine=engine), server, "a"))
    assert result["status"] == "success"
    assert server.executions == {"a": 1}
    keys = {request.headers["Idempotency-Key"] for request in server.received}
    assert len(server.received) == 4
    assert keys == {result["job_id"]}


def test_a_key_is_executed_once_and_belongs_to_one_request(server: EZThrottleServer, client: EZThrottle) -> None:
    step = Step(client).url(server.url + "/work/a").method("POST").body("1").idempotent_key("order 1 ä")
    first = run(step)
    again = step.execute()
    assert again["duplicate"] is True
    assert again["status"] == "success"
    with pytest.raises(DuplicateJobError):
        step.body("2").execute()
    unique = Step(client).url(server.url + "/work/a").method("POST").idempotent_strategy(IdempotentStrategy.UNIQUE)
    assert run(unique)["job_id"] != run(unique)["job_id"]
    assert server.executions["1"] == 1
    assert server.executions["/work/a"] == 2
    assert first["job_id"] == again["job_id"]


def test_a_result_is_forgotten_after_its_time_and_the_key_is_free(server: EZThrottleServer, leap: Leap) -> None:
    with LocalEngine(keep=1800.0) as engine:
        client = EZThrottle(engine=engine)
        for _ in range(2):
            assert "duplicate" not in run(Step(client).url(server.url + "/target/200"))
            leap()
    assert len(server.received) == 2


def test_a_job_begins_at_its_time(server: EZThrottleServer, client: EZThrottle) -> None:
    at = time.time() + 0.4
    later = Step(client).url(server.url + "/target/200").retry_at(int(at * 1000)).execute()
    now = Step(client).url(server.url + "/target/201").execute()
    assert now.wait(5)["status"] == "success"
    status = later.status()["status"]
    assert status == "queued" or time.time() >= at
    assert later.wait(5)["status"] == "success"
    assert time.time() >= at


@pytest.mark.parametrize("resolved", [{"resolved": True}, {"resolved": False}, {}])
def test_an_item_whose_process_died_before_the_job_was_its_own_is_executed_if_it_is_wanted(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine, resolved: dict[str, bool]
) -> None:
    server.honours_keys = False
    server.lose = lambda: sum(server.executions.values()) < 2
    result = run(_pay(client, server, "a"))
    record = engine._files.records.find(result["job_id"])
    assert record is not None
    task = {"kind": "job", "job_id": record.job_id, "job": record.result["job"], "replaces": record.item}
    engine._files.queue.put({**task, **resolved})
    engine._dispatcher.wake()
    if resolved:
        assert wait_until(lambda: result.status()["status"] == "success")
    else:
        time.sleep(0.1)
        assert result.status()["status"] == "in_doubt"
    assert server.executions["a"] == (2 if resolved == {"resolved": False} else 1)


def test_a_job_that_is_in_the_queue_twice_is_executed_for_one_of_its_items(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    """As it is where two processes submit it at the same moment."""
    server.slow = 0.2
    step = Step(client).url(server.url + "/target/slow").on_success(Step().url(server.url + "/target/201"))
    result = step.execute()
    for _ in range(3):
        engine._files.queue.put({"kind": "job", "job_id": result["job_id"], "job": step.to_job()})
    engine._dispatcher.wake()
    assert result.wait(5)["status"] == "success"
    assert engine.drain(5)
    assert [request.path for request in server.received] == ["/target/slow", "/target/201"]


def test_what_a_limit_of_this_process_holds_up_is_tried_again(server: EZThrottleServer) -> None:
    with LocalEngine(rate_limit=TokenBucket(10, 1, max_wait=0.01)) as engine:
        client = EZThrottle(engine=engine)
        results = [Step(client).url(f"{server.url}/target/200?{number}").execute() for number in range(4)]
        assert [result.wait(10)["status"] for result in results] == ["success"] * 4
    assert len(server.received) == 4


def test_a_job_waits_while_a_circuit_is_open(server: EZThrottleServer) -> None:
    answers(server, "/own", Reply(503), Reply(503), Reply(200))
    breaker = {"failure_threshold": 2, "recovery_timeout": 0.3}
    with LocalEngine(circuit_breaker=breaker, retry=False, workers=1) as engine:
        client = EZThrottle(engine=engine)
        results = [Step(client).url(f"{server.url}/own?{number}").execute() for number in range(3)]
        assert [result.wait(10)["status"] for result in results] == ["failed", "failed", "success"]
    assert len(server.received) == 3


def test_a_job_that_never_left_or_was_cancelled_may_be_submitted_again(server: EZThrottleServer) -> None:
    with LocalEngine(retry=False) as engine:
        client = EZThrottle(engine=engine)
        gone = Step(client).url("http://127.0.0.1:9/").method("POST")
        assert run(gone)["status"] == "failed"
        assert "duplicate" not in gone.execute()
        step = Step(client).url(server.url + "/target/200").retry_at(4_000_000_000_000)
        assert step.execute().cancel() is True
        assert run(step.retry_at(1_700_000_000_000))["status"] == "success"
        failed = Step(client).url(server.url + "/target/404")
        assert run(failed)["status"] == failed.execute()["status"] == "failed"
    assert len(server.received) == 2


def test_an_engine_in_memory_tells_of_jobs_that_are_lost_with_it(
    server: EZThrottleServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = LocalEngine()
    engine.submit({"url": server.url + "/target/200", "retry_at": 4_000_000_000_000})
    engine.close()
    assert "1 jobs were in memory only" in caplog.text


@pytest.mark.parametrize(
    ("field", "keywords"),
    [
        ("workers", {"workers": 0}),
        ("keep", {"keep": -1}),
        ("webhook_backoff", {"webhook_backoff": "1"}),
        ("webhook_secrets", {"webhook_secrets": ["s", ""]}),
        ("regions", {"regions": {"iad": "iad.example.com"}}),
        ("idempotency", {"idempotency": True}),
        ("store", {"path": "jobs", "store": MemoryStore()}),
    ],
)
def test_a_setting_that_cannot_work_is_named(field: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        LocalEngine(**keywords)
    assert caught.value.reason == field


# ---- Regions


@pytest.fixture
def regions() -> Iterator[dict[str, EZThrottleServer]]:
    servers = {name: EZThrottleServer() for name in ("iad", "lax", "ord")}
    for server in servers.values():
        server.__enter__()
    yield servers
    for server in servers.values():
        server.__exit__()


def urls(regions: dict[str, EZThrottleServer]) -> dict[str, str]:
    return {name: server.url for name, server in regions.items()}


def counts(regions: dict[str, EZThrottleServer]) -> list[int]:
    return [len(server.received) for server in regions.values()]


def test_a_race_returns_the_fastest_region_and_counts_the_losers(regions: dict[str, EZThrottleServer]) -> None:
    for name in ("iad", "ord"):
        regions[name].routes["/own"] = lambda request: Reply(200, b"", delay=30)
    regions["lax"].routes["/own"] = lambda request: Reply(200 if wait_until(lambda: all(counts(regions))) else 500, b"")
    with LocalEngine(regions=urls(regions), retry=FAST) as engine:
        began = time.monotonic()
        step = Step(EZThrottle(engine=engine)).url("http://api.example.com/own").regions(["iad", "lax", "ord"])
        result = run(step)
        assert time.monotonic() - began < 15
    assert (result["status"], result["cancelled_attempts"]) == ("success", 2)
    assert regions["lax"].url.partition("://")[2] in result["note"]


def test_a_post_is_not_raced_but_sent_to_one_region_after_the_other(regions: dict[str, EZThrottleServer]) -> None:
    regions["iad"].routes["/own"] = lambda request: Reply(500)
    with LocalEngine(regions=urls(regions), retry=FAST) as engine:
        client = EZThrottle(engine=engine)
        step = Step(client).url("http://api.example.com/own").method("POST").regions(["iad", "lax", "ord"])
        assert run(step.body("1"))["status"] == "failed"  # it may have been processed
        assert counts(regions) == [1, 0, 0]
        named = {"reroute_codes": [500], "max_reroutes": 1, "max_retries": 0}
        assert run(step.body("2").retry_policy(named))["status"] == "success"
        assert counts(regions) == [2, 1, 0]


def test_a_fan_out_does_the_work_in_each_region(regions: dict[str, EZThrottleServer]) -> None:
    with LocalEngine(regions=urls(regions), retry=FAST) as engine:
        step = Step(EZThrottle(engine=engine)).url("http://api.example.com/work/a").method("POST").body("x")
        assert run(step.regions(["iad", "ord"]).execution_mode("fanout"))["status"] == "success"
    assert [server.executions["x"] for server in regions.values()] == [1, 0, 1]


def test_a_region_that_is_down_is_replaced_unless_the_policy_is_strict(regions: dict[str, EZThrottleServer]) -> None:
    down = {**urls(regions), "iad": "http://127.0.0.1:9"}
    with LocalEngine(regions=down, retry=FAST) as engine:
        client = EZThrottle(engine=engine)
        step = Step(client).url("http://api.example.com/own").method("POST").regions(["iad"])
        assert run(step.body("1"))["status"] == "success"
        assert run(step.body("2").region_policy("strict"))["status"] == "failed"
        with pytest.raises(ArgumentError, match="'fra' has no base URL"):
            step.regions(["fra"]).execute()


def test_a_region_without_a_base_url_is_where_the_url_leads(server: EZThrottleServer, client: EZThrottle) -> None:
    step = Step(client).url(server.url + "/target/200").regions(["iad", "lax"]).execution_mode("fanout")
    assert run(step)["status"] == "success"
    assert len(server.received) == 1


# ---- Chains


def test_what_follows_is_a_job_of_its_own_for_each_parent(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    after = Step().url(server.url + "/work/after").method("POST")
    alert = Step().url(server.url + "/target/202")
    for number in (1, 2):
        run(Step(client).url(f"{server.url}/target/200?{number}").on_success(after).on_failure(alert))
        run(Step(client).url(f"{server.url}/target/404?{number}").on_success(after).on_failure(alert))
    assert engine.drain(5)
    assert server.executions["/work/after"] == 2
    assert len(server.at("/target/202")) == 2


def test_fallbacks_take_the_place_of_a_job_where_their_trigger_fits(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    server.slow = 20
    one, two = Step().url(server.url + "/target/404"), Step().url(server.url + "/target/200")
    step = Step(client).url(server.url + "/target/404").fallback(two, [500]).fallback(one, [404]).fallback(two, [404])
    result = run(step)
    assert (result["status"], result["fallback"]) == ("success", 3)
    slow = Step(client).url(server.url + "/target/slow").method("POST").fallback(two, trigger_on_timeout=200)
    assert run(slow)["fallback"] == 1
    failing = Step(client).url(server.url + "/target/slow").on_failure(two, timeout_ms=200)
    assert run(failing)["status"] == "failed"


# ---- Webhooks


def test_a_webhook_is_signed_with_every_secret_and_tells_the_result(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    step = Step(client).url(server.url + "/target/201").metadata({"order": 7}).idempotent_key("order-7")
    result = run(step.webhooks([{"url": server.url + "/hook/a"}]))
    assert engine.drain(5)
    (hook,) = server.at("/hook")
    told = json.loads(hook.body)
    assert (told["job_id"], told["idempotent_key"], told["status"]) == (result["job_id"], "order-7", "success")
    assert told["metadata"] == {"order": 7}
    assert (told["response"]["status_code"], told["response"]["body"]) == (201, '{"t": 1}')
    for secret in SECRETS:
        assert verify_webhook_signature(hook.body, hook.headers["X-EZThrottle-Signature"], secret) == (True, "valid")
    assert not verify_webhook_signature(hook.body, hook.headers["X-EZThrottle-Signature"], "x" * 16)[0]


def test_a_webhook_is_tried_again_and_recognizable(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    answers(server, "/hook/a", Reply(500), Reply(drop=True), Reply(204))
    result = run(Step(client).url(server.url + "/target/200").webhooks([{"url": server.url + "/hook/a"}]))
    assert engine.drain(10)
    hooks = server.at("/hook")
    assert len(hooks) >= 3
    assert len({hook.headers["X-EZThrottle-Delivery"] for hook in hooks}) == 1
    assert result.status()["webhooks"] == {"delivered": 1, "pending": 0, "failed": 0, "quorum": "reached"}


def test_a_quorum_counts_the_webhooks_that_have_a_vote(
    server: EZThrottleServer, client: EZThrottle, engine: LocalEngine
) -> None:
    server.routes["/hook/bad"] = lambda request: Reply(500)
    good, bad = server.url + "/hook/good", server.url + "/hook/bad"
    hooks: list[dict[str, Any]] = [{"url": good}, {"url": bad}, {"url": good + "2", "has_quorum_vote": False}]
    one = run(Step(client).url(server.url + "/target/200").webhooks(hooks))
    two = run(Step(client).url(server.url + "/target/201").webhooks(hooks).webhook_quorum(2))
    assert engine.drain(20)
    assert one.status()["webhooks"] == {"delivered": 2, "pending": 0, "failed": 1, "quorum": "reached"}
    assert two.status()["webhooks"]["quorum"] == "missed"


def test_a_replayed_webhook_is_refused(server: EZThrottleServer, client: EZThrottle, engine: LocalEngine) -> None:
    memory = ReplayMemory()
    seen: list[tuple[bool, str]] = []

    def receive(request: Received) -> Reply:
        header = request.headers["X-EZThrottle-Signature"]
        seen.extend(verify_webhook_signature(request.body, header, SECRETS[1], replays=memory) for _ in range(2))
        return Reply(204)

    server.routes["/hook"] = receive
    run(Step(client).url(server.url + "/target/200").webhooks([{"url": server.url + "/hook/a"}]))
    assert engine.drain(5)
    assert seen == [(True, "valid"), (False, "replayed")]


# ---- On disk


@pytest.mark.slow
def test_jobs_that_were_not_begun_are_taken_up_by_the_next_engine(server: EZThrottleServer, tmp_path: Path) -> None:
    path = tmp_path / "new" / "jobs"
    with LocalEngine(path) as engine:
        client = EZThrottle(engine=engine)
        done = run(Step(client).url(server.url + "/target/200"))
        at = int(time.time() * 1000) + 700
        waiting = Step(client).url(server.url + "/target/201").retry_at(at).execute()
    assert os.stat(path).st_mode & 0o077 == 0
    with LocalEngine(path) as engine:
        assert EZThrottle(engine=engine).find_job(done["job_id"])["response"] == '{"t": 1}'
        assert engine.wait(waiting["job_id"], 10)["status"] == "success"
        assert engine.submit({"url": server.url + "/target/200"})["duplicate"] is True
    assert len(server.received) == 2


@pytest.mark.slow
def test_one_engine_works_and_another_hands_in_and_takes_over(server: EZThrottleServer, tmp_path: Path) -> None:
    first, second = LocalEngine(tmp_path / "jobs"), LocalEngine(tmp_path / "jobs")
    try:
        assert wait_until(lambda: first._files.is_locked_here or second._files.is_locked_here)
        worker, other = (first, second) if first._files.is_locked_here else (second, first)
        job_id = other.submit({"url": server.url + "/target/200"})["job_id"]
        assert other.wait(job_id, 10)["status"] == "success"
        assert not other._files.is_locked_here
        worker.close()
        job_id = other.submit({"url": server.url + "/target/201"})["job_id"]
        assert other.wait(job_id, 10)["status"] == "success"
    finally:
        first.close()
        second.close()
    assert len(server.received) == 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_hands_in_jobs_too(server: EZThrottleServer, tmp_path: Path) -> None:
    with LocalEngine(tmp_path / "jobs") as engine:
        engine.wait(engine.submit({"url": server.url + "/target/200"})["job_id"], 10)
        child = os.fork()
        if child == 0:
            try:
                job_id = engine.submit({"url": server.url + "/target/201"})["job_id"]
                os._exit(0 if engine.wait(job_id, 10)["status"] == "success" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert engine.submit({"url": server.url + "/target/201"})["duplicate"] is True
    assert len(server.received) == 2


@pytest.mark.slow
def test_a_broken_queue_is_an_error_of_ours(server: EZThrottleServer, tmp_path: Path) -> None:
    path = tmp_path / "jobs"
    with LocalEngine(path) as engine:
        engine._files.records._connection.execute("DROP TABLE jobs")  # type: ignore[attr-defined]
        with pytest.raises(EZThrottleError, match="cannot be used"):
            engine.submit({"url": server.url + "/target/200"})
    (path / "queue.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(ArgumentError, match="path"):
        LocalEngine(path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
def test_files_are_closed_when_close_returns(server: EZThrottleServer, tmp_path: Path) -> None:
    """By whichever of the two threads saw the end first."""
    for number in range(20):
        path = tmp_path / str(number)
        with LocalEngine(path) as engine:
            engine.submit({"url": server.url + "/target/200"})
        opened = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
        assert [each for each in opened if each.startswith(str(path) + "/")] == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_jobs_are_for_their_owner_even_in_a_directory_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o755)
    with LocalEngine(tmp_path / "jobs") as engine:
        engine.submit({"url": "https://api.example.com/", "retry_at": 4_000_000_000_000})
        modes = {each.name: each.stat().st_mode & 0o077 for each in (tmp_path / "jobs").iterdir()}
    assert set(modes.values()) == {0}, modes


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_directory_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(ArgumentError, match="path"):
        LocalEngine(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArgumentError, match="path"):
        LocalEngine(tmp_path / "file")
