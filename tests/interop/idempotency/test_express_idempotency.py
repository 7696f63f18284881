"""Keys at a server that somebody else has written: express-idempotency, as its package comes."""

from __future__ import annotations

import subprocess
import threading
import uuid
from pathlib import Path

import pytest
import requests

import polvo_adapters as polvo
from tests.support.node_packages import install_packages

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def express():
    """Return the URL of the server, in a process of its own."""
    install_packages(HERE)
    process = subprocess.Popen(["node", str(HERE / "express_server.mjs")], stdout=subprocess.PIPE, text=True)
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "READY"
        yield url
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def api(express):
    """Return a session with keys, without a record: the server alone sees to it that nothing is done twice."""
    with polvo.Session(express, idempotency=True, retry={"base": 0.001}) as session:
        session.trust_env = False
        yield session


@pytest.fixture
def name():
    return uuid.uuid4().hex


def done(api, name):
    return api.get(f"/done/{name}").json()["done"]


def test_a_lost_answer_is_asked_for_again(api, name):
    response = api.post("/work", json={"name": name, "lose": True})
    assert response.json() == {"name": name, "number": 1}
    assert [attempt.status or attempt.failure for attempt in response.polvo.attempts] == ["disconnected", 201]
    assert done(api, name) == 1


def test_each_call_is_an_operation_of_its_own(api, name):
    assert [api.post("/work", json={"name": name}).json()["number"] for _ in range(2)] == [1, 2]


def test_equal_requests_are_one_operation_under_a_hash(express, name):
    with polvo.Session(express, idempotency="hash") as api:
        api.trust_env = False
        assert [api.post("/work", json={"name": name}).json()["number"] for _ in range(2)] == [1, 1]


def test_while_it_is_at_work_a_second_call_waits(api, name):
    body, answers = {"name": name, "seconds": 0.4}, []
    calls = [
        threading.Thread(target=lambda: answers.append(api.post("/work", json=body, idempotency_key=name)))
        for _ in range(4)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join(20)
    assert [answer.json()["number"] for answer in answers] == [1] * 4
    assert {wait.reason for answer in answers for wait in answer.polvo.waits} == {"409, idempotency key at work"}
    assert done(api, name) == 1


def test_a_timeout_is_followed_by_the_result(api, name):
    body = {"name": name, "seconds": 0.5}
    with polvo.Session(api.base_url, idempotency=True, retry=False) as impatient:
        impatient.trust_env = False
        with pytest.raises(requests.ReadTimeout):
            impatient.post("/work", json=body, idempotency_key=name, timeout=0.1)
    assert api.post("/work", json=body, idempotency_key=name).json()["number"] == 1
    assert done(api, name) == 1


def test_a_key_that_was_used_for_another_request_is_refused(api, name):
    api.post("/work", json={"name": name}, idempotency_key=name)
    with pytest.raises(polvo.IdempotencyConflictError) as caught:
        api.post("/work", json={"name": name + "2"}, idempotency_key=name)
    assert caught.value.response.status_code == 417
    assert caught.value.attempts == 1
    assert done(api, name + "2") == 0
