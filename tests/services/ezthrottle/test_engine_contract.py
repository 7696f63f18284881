"""What every engine owes a client: the hosted service, and this process with its queue in memory and on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services.ezthrottle import (
    ArgumentError,
    Engine,
    EZThrottle,
    EZThrottleError,
    HostedEngine,
    JobTimeoutError,
    LocalEngine,
    Step,
    StepType,
    UnknownJobError,
    UnsupportedError,
)
from polvo_adapters.services.ezthrottle.engines.local_results import identify
from tests.support.ezthrottle_server import KEY, EZThrottleServer, Reply, forwarded, wait_until

KINDS = ("hosted", "memory", pytest.param("disk", marks=pytest.mark.slow))


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, server: EZThrottleServer, tmp_path: Path) -> Iterator[Engine]:
    made: Engine
    if request.param == "hosted":
        seen: dict[str, str] = {}

        def accept(received: Any) -> Reply:
            job = json.loads(json.loads(received.body)["body"])
            known = identify(job) in seen
            job_id = seen.setdefault(identify(job), f"job_{len(seen)}")
            return forwarded(200 if known else 201, {"job_id": job_id, "status": "queued", "duplicate": known})

        server.routes["/api/v1/proxy"] = accept
        made = HostedEngine(KEY, server.url)
    else:
        made = LocalEngine(tmp_path / "jobs" if request.param == "disk" else None)
    yield made
    made.close()


def job(server: EZThrottleServer, part: str = "target/200", **fields: Any) -> dict[str, Any]:
    return {"url": f"{server.url}/{part}", "method": "GET", **fields}


def test_a_job_is_accepted_and_described_in_plain_values(engine: Engine, server: EZThrottleServer) -> None:
    result = engine.submit(job(server))
    assert json.loads(json.dumps(result)) == result
    assert isinstance(result["job_id"], str)
    assert result["status"] == "queued"


def test_a_job_is_not_changed_by_the_engine(engine: Engine, server: EZThrottleServer) -> None:
    given = job(server, headers={"A": "b"}, webhooks=[{"url": server.url + "/hook/a"}], regions=["iad"])
    before = json.dumps(given)
    engine.submit(given)
    assert json.dumps(given) == before


@pytest.mark.parametrize("fields", [{"idempotent_key": "k"}, {}])
def test_a_second_job_with_the_same_key_is_the_same_job(
    engine: Engine, server: EZThrottleServer, fields: dict[str, Any]
) -> None:
    first = engine.submit(job(server, **fields))
    again = engine.submit(job(server, **fields))
    other = engine.submit(job(server, idempotent_key="other"))
    assert again["job_id"] == first["job_id"] != other["job_id"]
    assert again["duplicate"] is True


def test_many_threads_may_submit(engine: Engine, server: EZThrottleServer) -> None:
    ids: list[str] = []

    def run(number: int) -> None:
        ids.extend(engine.submit(job(server, idempotent_key=f"{number}-{n}"))["job_id"] for n in range(5))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(ids)) == 30


def test_it_knows_what_became_of_a_job_or_says_that_it_does_not(engine: Engine, server: EZThrottleServer) -> None:
    job_id = engine.submit(job(server))["job_id"]
    if not engine.knows_status:
        for call in (engine.status, engine.wait, engine.cancel):
            with pytest.raises(UnsupportedError):
                call(job_id)
        return
    ended = engine.wait(job_id, 10)
    assert json.loads(json.dumps(ended)) == ended
    assert (ended["job_id"], ended["status"], ended["status_code"], ended["response"]) == (
        *(job_id, "success", 200),
        '{"t": 1}',
    )
    assert engine.status(job_id) == ended
    assert engine.cancel(job_id) is False
    with pytest.raises(UnknownJobError):
        engine.status("job_none")


def test_a_wait_has_an_end_and_the_job_goes_on(engine: Engine, server: EZThrottleServer) -> None:
    if not engine.knows_status:
        return
    server.slow = 0.3
    job_id = engine.submit(job(server, "target/slow"))["job_id"]
    with pytest.raises(JobTimeoutError):
        engine.wait(job_id, 0.05)
    assert engine.wait(job_id, 10)["status"] == "success"


def test_a_job_that_has_not_begun_can_be_taken_back(engine: Engine, server: EZThrottleServer) -> None:
    if not engine.knows_status:
        return
    job_id = engine.submit(job(server, retry_at=4_000_000_000_000))["job_id"]
    assert engine.cancel(job_id) is True
    assert engine.wait(job_id, 5)["status"] == "cancelled"
    assert not server.received


def test_a_client_works_with_it(engine: Engine, server: EZThrottleServer) -> None:
    client = EZThrottle(engine=engine)
    result = Step(client).url(server.url + "/target/200").execute()
    assert result["job_id"]
    local = Step(client).url(server.url + "/target/200").type(StepType.FRUGAL).execute()
    assert local["status"] == "success"
    forwarded_step = Step(client).url(server.url + "/target/429").type(StepType.FRUGAL).execute()
    assert forwarded_step["status"] == "queued"


@pytest.mark.parametrize("bad", [{}, {"url": ""}, {"url": "https://a.b", "method": 3}, {"url": "https://a.b", "x": 1}])
def test_the_local_engine_refuses_what_is_no_job(bad: dict[str, Any]) -> None:
    with LocalEngine() as engine, pytest.raises(ArgumentError):
        engine.submit(bad)


def test_a_closed_engine_refuses_jobs(server: EZThrottleServer) -> None:
    engine = LocalEngine()
    engine.close()
    engine.close()
    with pytest.raises(EZThrottleError, match="closed"):
        engine.submit(job(server))
    assert wait_until(lambda: not engine._dispatcher.is_working)
