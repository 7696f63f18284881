"""The local engine where a job ends otherwise than by its response: cancelled, closed, killed, or on a full disk."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.services.ezthrottle import (
    ArgumentError,
    EZThrottle,
    EZThrottleError,
    InDoubtError,
    LocalEngine,
    Step,
)
from polvo_adapters.services.ezthrottle.engines.local_queue import MemoryQueue
from polvo_adapters.services.ezthrottle.engines.local_records import DiskRecords, JobRecord, MemoryRecords
from tests.support.ezthrottle_server import EZThrottleServer, Reply, wait_until
from tests.support.leaping_clock import Leap


@pytest.fixture(params=["memory", "disk"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalEngine]:
    with LocalEngine(None if request.param == "memory" else tmp_path / "jobs", webhook_backoff=0.01) as made:
        yield made


def later(milliseconds: int) -> int:
    return int(time.time() * 1000) + milliseconds


def wait_until_due(server: EZThrottleServer, engine: LocalEngine, leap: Leap) -> None:
    """Let an hour pass, and return when the engine has looked at what is due."""
    leap()
    step = Step(EZThrottle(engine=engine)).url(server.url + "/work/last").idempotent_key("last")
    assert step.execute().wait(20)["status"] == "success"


def test_a_job_that_was_cancelled_is_not_executed_when_it_is_due(
    server: EZThrottleServer, engine: LocalEngine, leap: Leap
) -> None:
    step = Step(EZThrottle(engine=engine)).url(server.url + "/target/200").method("POST").body("1")
    step.webhooks([{"url": server.url + "/hook/a"}])
    result = step.retry_at(later(300_000)).execute()
    assert wait_until(lambda: engine._dispatcher._later)
    assert result.cancel()
    assert engine.drain(0)
    wait_until_due(server, engine, leap)
    assert (result.status()["status"], server.received) == ("cancelled", server.at("/work/last"))


def test_the_old_item_of_a_job_that_was_scheduled_anew_does_nothing(
    server: EZThrottleServer, engine: LocalEngine, leap: Leap
) -> None:
    step = Step(EZThrottle(engine=engine)).url(server.url + "/target/200").idempotent_key("k").body("1")
    assert step.retry_at(later(300_000)).execute().cancel()
    assert step.retry_at(later(0)).execute().wait(20)["status"] == "success"
    engine._files.records.prune(time.time() + 1)  # as if it had ended long ago
    wait_until_due(server, engine, leap)
    assert len(server.at("/target")) == 1


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_older_item_never_takes_the_place_of_a_newer_one(kind: str, tmp_path: Path) -> None:
    records = MemoryRecords() if kind == "memory" else DiskRecords(str(tmp_path / "jobs.db"))
    ended = JobRecord("a", "d", 2, "success", changed=1.0)
    records.add(ended, 0.0)
    assert records.add(JobRecord("a", "d", 1), 5.0) == ended
    assert records.add(JobRecord("a", "d", 3), 5.0).item == 3
    records.close()


def test_a_job_that_may_have_been_processed_cannot_be_cancelled(server: EZThrottleServer) -> None:
    server.lose = lambda: True
    with LocalEngine(honours_keys=True, retry=False) as engine:
        step = Step(EZThrottle(engine=engine)).url(server.url + "/work/a").method("POST").body("a")
        result = step.execute()
        assert wait_until(lambda: any("runs" in task for *_, task in engine._dispatcher._later))
        assert result.cancel() is False


def test_a_directory_is_free_once_the_job_that_outlasted_close_has_ended(
    server: EZThrottleServer, tmp_path: Path
) -> None:
    go = threading.Event()
    server.routes["/slow"] = lambda _: Reply(200) if go.wait(30) else Reply(500)
    first = LocalEngine(tmp_path / "jobs")
    slow = Step(EZThrottle(engine=first)).url(server.url + "/slow").method("POST").body("1").execute()
    assert wait_until(lambda: server.at("/slow"))
    first.close(timeout=0.01)
    with LocalEngine(tmp_path / "jobs") as second:
        client = EZThrottle(engine=second)
        other = Step(client).url(server.url + "/target/200").execute()
        time.sleep(0.3)
        assert other.status()["status"] == "queued"
        go.set()
        assert other.wait(5)["status"] == client.find_job(slow["job_id"])["status"] == "success"
    assert len(server.at("/slow")) == 1


@pytest.mark.parametrize(("method", "status"), [("POST", "in_doubt"), ("GET", "success")])
def test_a_job_that_a_process_had_begun_before_keys_were_forgotten_is_in_doubt(
    server: EZThrottleServer, method: str, status: str
) -> None:
    with LocalEngine(keep=60) as engine:
        engine._dispatcher.stop()
        assert wait_until(lambda: not engine._dispatcher.is_working)
        step = Step(EZThrottle(engine=engine)).url(server.url + "/target/200").method(method).body("1")
        result = step.execute()
        old = time.time() - 61
        engine._files.records.change(result["job_id"], lambda record: record._replace(status="running", changed=old))
        taken = engine._files.queue.take()
        assert taken is not None
        engine._jobs.do(*taken)
        assert result.status()["status"] == status
    assert len(server.received) == (status == "success")


class SetBack:
    """A clock that can be set back."""

    offset = 0.0

    def wall(self) -> float:
        return SYSTEM.wall() + self.offset

    def __getattr__(self, name: str) -> Any:
        return getattr(SYSTEM, name)


def test_a_clock_that_is_set_back_makes_no_pause_longer(server: EZThrottleServer) -> None:
    replies = [Reply(500), Reply(200)]
    server.routes["/hook"] = lambda _: replies.pop(0)
    clock: Any = SetBack()
    with LocalEngine(clock=clock, webhook_backoff=0.3) as engine:
        client = EZThrottle(engine=engine)
        step = Step(client).url(server.url + "/target/200").webhooks([{"url": server.url + "/hook/a"}])
        step.execute()
        far = Step(client).url(server.url + "/target/204").retry_at(later(10_000)).execute()
        assert wait_until(lambda: len(server.at("/hook")) == 1 and len(engine._dispatcher._later) == 2)
        clock.offset = -3600.0
        assert wait_until(lambda: len(server.at("/hook")) == 2, 8)
        assert far.status()["status"] == "queued"


# ---- A disk that is full


def refuse(*_: Any, **__: Any) -> Any:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_submission_that_may_be_in_the_queue_is_in_doubt(
    server: EZThrottleServer, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step(EZThrottle(engine=engine)).url(server.url + "/target/200")
    with monkeypatch.context() as patch:
        patch.setattr(engine._files.records, "add", refuse)
        with pytest.raises(InDoubtError, match="disk is full"):
            step.execute()
        patch.setattr(engine._files.queue, "put", refuse)
        with pytest.raises(EZThrottleError) as caught:
            step.execute()
        assert not isinstance(caught.value, InDoubtError)
        patch.setattr(engine._files.records, "count_open", refuse)
        with pytest.raises(EZThrottleError, match="disk is full"):
            engine.drain(1)


def test_a_commit_that_fails_leaves_no_transaction_behind(tmp_path: Path) -> None:
    records = DiskRecords(str(tmp_path / "jobs.db"))
    records.add(JobRecord("a", "d", 1), 0.0)
    real = records._connection

    class Failing:
        in_transaction = True

        def execute(self, statement: str, *rest: Any) -> Any:
            return refuse() if statement == "COMMIT" else real.execute(statement, *rest)

    records._connection = Failing()  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError):
        records.change("a", lambda old: old._replace(status="running"), sure=True)
    records._connection = real
    after = records.change("a", lambda old: old._replace(status="success"), sure=True)
    assert after is not None
    assert after.status == "success"
    records.close()


def test_a_job_waits_while_the_record_of_keys_cannot_be_written(
    server: EZThrottleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalEngine(tmp_path / "jobs") as engine:
        store: Any = engine._files.store
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "_try_file", lambda *_: (None, sqlite3.OperationalError("disk is full")))
            step = Step(EZThrottle(engine=engine)).url(server.url + "/work/a").method("POST").body("a")
            result = step.execute()
            assert wait_until(lambda: engine._dispatcher._later)
            assert not server.received
        assert wait_until(lambda: result.status()["status"] == "success")
    assert server.executions == {"a": 1}


def test_a_queue_in_memory_forgets_what_was_acknowledged_before_it_was_taken() -> None:
    queue = MemoryQueue()
    first, second = queue.put({"a": 1}), queue.put({"a": 2})
    queue.acknowledge(first)
    assert queue.take() == (second, {"a": 2})
    assert queue.take() is None
    assert (queue.holds(first), queue.holds(second)) == (False, True)


@pytest.mark.parametrize("role", ["on_success", "on_failure", "fallback"])
def test_steps_of_a_chain_cannot_share_a_key(server: EZThrottleServer, role: str) -> None:
    step = Step().url(server.url + "/target/200").idempotent_key("k")
    getattr(step, role)(Step().url(server.url + "/target/201").idempotent_key("k"))
    with LocalEngine() as engine, pytest.raises(ArgumentError, match="idempotent_key"):
        step.execute(EZThrottle(engine=engine))
    assert not server.received


def test_what_follows_and_is_not_executed_is_told(server: EZThrottleServer, caplog: pytest.LogCaptureFixture) -> None:
    with LocalEngine() as engine:
        client = EZThrottle(engine=engine)
        Step(client).url(server.url + "/target/200").idempotent_key("k").execute()
        child = Step().url(server.url + "/target/201").idempotent_key("k")
        Step(client).url(server.url + "/target/202").on_success(child).execute()
        assert engine.drain(5)
    assert "on_success" in caplog.text
