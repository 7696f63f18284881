"""Idempotency keys against real servers: one key per call through all that happens to it, and one execution."""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.keyed_server import KeyedServer

QUICK = {"base": 0.001}
RECORD = polvo.idempotency.Record(lease=5)


@pytest.fixture
def keyed() -> Iterator[KeyedServer]:
    with KeyedServer() as keyed:
        yield keyed


def session(**keywords: Any) -> polvo.Session:
    made = polvo.Session(**{"idempotency": True, "retry": QUICK, **keywords})
    made.trust_env = False
    return made


def keys_of(server: FailureServer, header: str = "idempotency-key") -> list[str | None]:
    return [record.headers.get(header) for record in server.requests]


# One key per call.


@pytest.mark.parametrize("fault", ["reset", "status?code=503", "truncated", "garbage"])
def test_all_attempts_carry_one_key_and_each_call_another(server: FailureServer, fault: str) -> None:
    mark = "&" if "?" in fault else "?"
    with session() as api:
        for number in range(2):
            response = api.post(f"{server.url}/fault/{fault}{mark}times=2&key={number}", json={"a": 1})
            assert (response.status_code, len(response.polvo.attempts)) == (200, 3)
    keys = keys_of(server)
    assert len(keys) == 6
    assert len(set(keys[:3])) == len(set(keys[3:])) == 1
    assert keys[0] != keys[3]


def test_without_a_key_a_post_is_not_repeated(server: FailureServer) -> None:
    with session(idempotency=None) as api, pytest.raises(requests.ConnectionError):
        api.post(server.url + "/fault/reset?times=1")
    with session(idempotency={"supported": False}) as api, pytest.raises(requests.ConnectionError):
        api.post(server.url + "/fault/reset?times=1&key=b")
    assert [key is None for key in keys_of(server)] == [True, False]


def test_a_hedge_carries_the_key(server: FailureServer) -> None:
    with session(hedge={"delay": 0.05, "budget": None}, retry=False) as api:
        response = api.post(server.url + "/fault/hang?times=1", data=b"x", timeout=5)
    assert response.status_code == 200
    keys = keys_of(server)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_hedge_does_not_take_at_work_for_an_answer(keyed: KeyedServer) -> None:
    keyed.hold = threading.Event()
    releasing = threading.Timer(0.3, keyed.hold.set)
    releasing.start()
    with session(hedge={"delay": 0.05, "budget": None}, retry=False) as api:
        response = api.post(keyed.url + "/work", json={"operation": "a"})
    releasing.join()
    assert (response.status_code, len(response.polvo.waits)) == (201, 0)
    assert keyed.done == {"a": 1}


@pytest.mark.parametrize("code", [307, 308])
def test_redirects_carry_the_key(server: FailureServer, code: int) -> None:
    with session() as api:
        api.post(f"{server.url}/fault/redirect?code={code}&times=1", data=b"x")
    keys = keys_of(server)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_replay_by_auth_carries_the_key(server: FailureServer) -> None:
    class Again(requests.auth.AuthBase):
        """Replays once, as digest authentication does."""

        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.register_hook("response", self.again)
            return request

        def again(self, response: requests.Response, **keywords: Any) -> requests.Response:
            if response.status_code != 401:
                return response
            response.close()
            return response.connection.send(response.request.copy(), **keywords)  # type: ignore[attr-defined, no-any-return]

    with session(idempotency={"record": RECORD}) as api:
        url = server.url + "/fault/status?code=401&times=1"
        assert api.post(url, data=b"x", auth=Again()).status_code == 200
    keys = keys_of(server)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_redirect_does_not_stand_in_its_own_way(server: FailureServer) -> None:
    with session(idempotency={"record": RECORD}) as api:
        for code, expected in ((307, "POST"), (303, "GET")):
            url = f"{server.url}/fault/redirect?code={code}&times=1&key={code}"
            assert api.post(url, data=b"x").json()["method"] == expected


def test_regions_are_not_taken_for_one_server(server: FailureServer) -> None:
    regions = [server.url, server.url.replace("127.0.0.1", "localhost")]
    with session(regions=regions, retry=False) as api:
        with pytest.raises(requests.ConnectionError):
            api.post(server.url + "/fault/reset?times=1")
        assert api.put(server.url + "/fault/reset?times=1&key=put").status_code == 200
    assert len(server.requests) == 3


def test_a_fallback_is_not_taken_for_the_same_server(server: FailureServer) -> None:
    another = polvo.fallback.Another(server.url.replace("127.0.0.1", "localhost"), credentials=True)
    with session(fallback=another, retry=False) as api:
        with pytest.raises(requests.ConnectionError):
            api.post(server.url + "/fault/reset?times=1")
        assert len(server.requests) == 1
        assert api.put(server.url + "/fault/reset?times=1&key=put").status_code == 200


def test_a_request_that_was_prepared_once_is_sent_twice(keyed: KeyedServer) -> None:
    with session() as api:
        request = api.prepare_request(requests.Request("POST", keyed.url + "/work", json={"operation": "a"}))
        assert [api.send(request).status_code for _ in range(2)] == [201, 201]
    assert keyed.done == {"a": 2}
    assert len(set(keyed.keys)) == 2


def test_a_mounted_adapter_does_as_a_session(keyed: KeyedServer) -> None:
    plain, theirs = requests.Session(), {"Accept": "*/*"}
    plain.trust_env = False
    plain.mount("http://", polvo.IdempotencyAdapter("hash", max_wait=5))
    for replayed in (False, True):
        response: Any = plain.post(keyed.url + "/work", json={"operation": "a"}, headers=theirs)
        assert (response.status_code, response.polvo.replayed) == (201, replayed)
        assert ("a replayed response" in str(response.polvo)) is replayed
    assert (keyed.done, theirs) == ({"a": 1}, {"Accept": "*/*"})
    plain.close()


@pytest.mark.parametrize("policy", [None, True, "unique", "hash", {}, polvo.idempotency.IdempotencyKeys("hash")])
def test_the_adapter_takes_a_policy_in_many_forms(policy: Any) -> None:
    with requests.Session() as plain:
        plain.mount("http://", polvo.IdempotencyAdapter(policy))
    assert polvo.IdempotencyAdapter(style="structured", record=True).policies[0].record == polvo.idempotency.Record()
    assert polvo.IdempotencyAdapter(True, strategy="hash").policies == (polvo.idempotency.IdempotencyKeys("hash"),)
    with pytest.raises(TypeError):
        polvo.IdempotencyAdapter(polvo.idempotency.IdempotencyKeys(), style="bare")
    with pytest.raises(TypeError):
        polvo.IdempotencyAdapter(False)


def test_an_adapter_with_keys_can_be_pickled(keyed: KeyedServer) -> None:
    adapter = pickle.loads(pickle.dumps(ResilientAdapter(idempotency="hash", request_id=True)))
    with requests.Session() as plain:
        plain.trust_env = False
        plain.mount("http://", adapter)
        response = plain.post(keyed.url + "/work", json={"operation": "a"})
    copy = pickle.loads(pickle.dumps(response))
    assert (copy.polvo.replayed, copy.polvo.request_id) == (False, response.polvo.request_id)  # type: ignore[attr-defined]
    assert len(copy.polvo.request_id) == 36


# The key of a session's caller.


def test_the_keyword_of_a_session(keyed: KeyedServer) -> None:
    with session(idempotency={"style": "structured"}) as api:
        for _ in range(2):
            assert api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="order-1").ok
    assert keyed.keys == ['"order-1"'] * 2


@pytest.mark.parametrize(
    ("keywords", "key", "headers"),
    [
        ({"idempotency": None}, "order-1", {}),
        ({}, "order\n1", {}),
        ({}, "x" * 256, {}),
        ({}, "", {}),
        ({}, 7, {}),
        ({}, "order-1", {"idempotency-key": "order-2"}),
    ],
)
def test_keys_that_cannot_be_sent_are_refused_before_anything_is(
    keywords: dict[str, Any], key: Any, headers: dict[str, str], keyed: KeyedServer
) -> None:
    with session(**keywords) as api, pytest.raises(polvo.ConfigurationError):
        api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key=key, headers=headers)
    assert keyed.keys == []


def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(keyed: KeyedServer) -> None:
    with session(idempotency="hash") as api, pytest.raises(polvo.IdempotencyKeyError):
        api.post(keyed.url + "/work", data=iter([b"{}"]))
    assert keyed.keys == []


# What the server says of keys.


def test_a_call_waits_while_the_server_is_at_work_on_an_earlier_one(keyed: KeyedServer) -> None:
    keyed.hold = threading.Event()
    url = keyed.url + "/work"
    with session(retry=False) as api:
        with pytest.raises(requests.ReadTimeout):
            api.post(url, json={"operation": "a"}, idempotency_key="k", timeout=0.2)
        releasing = threading.Timer(0.2, keyed.hold.set)
        releasing.start()
        response = api.post(url, json={"operation": "a"}, idempotency_key="k", timeout=5)
        releasing.join()
    assert (response.status_code, response.polvo.replayed, keyed.done) == (201, True, {"a": 1})
    assert [wait.reason for wait in response.polvo.waits][:1] == ["409, idempotency key at work"]


@pytest.mark.parametrize("raising", [True, False])
def test_a_key_that_was_used_for_another_request_is_an_error(keyed: KeyedServer, raising: bool) -> None:
    with session(raise_for_status=raising) as api:
        api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")
        with pytest.raises(polvo.IdempotencyConflictError) as caught:
            api.post(keyed.url + "/work", json={"operation": "b"}, idempotency_key="k")
    assert caught.value.response is not None
    assert caught.value.response.json() == {"title": "Idempotency-Key is already used"}
    assert len(keyed.keys) == 2


@pytest.mark.parametrize("code", [400, 409, 422])
def test_answers_about_something_else_are_passed_through(server: FailureServer, code: int) -> None:
    with session() as api:
        response = api.post(f"{server.url}/fault/status?code={code}")
    assert (response.status_code, len(response.polvo.attempts)) == (code, 1)


def test_the_ids_of_the_failure_server_are_keys() -> None:
    with FailureServer() as server, session(idempotency={"header": "X-Request-ID", "methods": ("GET",)}) as api:
        first = api.get(server.url + "/msg", idempotency_key="a").json()
        requests.post(server.url + "/fail/count/2", timeout=5)
        again = api.get(server.url + "/msg", idempotency_key="a")
        assert (again.json(), len(again.polvo.attempts)) == (first, 3)
        assert api.get(server.url + "/msg").json() != first


# The record.


def stores(tmp_path: Path) -> dict[str, Any]:
    return {"memory": MemoryStore(), "file": SQLiteStore(tmp_path / "state.db")}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_many_threads_with_one_key_do_the_work_once(kind: str, tmp_path: Path) -> None:
    store = stores(tmp_path)[kind]
    with KeyedServer(honours=False) as keyed:
        keyed.hold = threading.Event()
        answers: list[Any] = []
        with session(store=store, idempotency={"record": RECORD, "supported": False, "max_wait": 30}) as api:

            def call() -> None:
                response = api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="order-1")
                answers.append((response.json(), response.polvo.replayed))

            threads = [threading.Thread(target=call) for _ in range(16)]
            for thread in threads:
                thread.start()
            assert keyed.arrived.wait(10)
            keyed.hold.set()
            for thread in threads:
                thread.join(30)
        assert (keyed.done, len(keyed.keys)) == ({"a": 1}, 1)
    assert len(answers) == 16
    assert len({str(answer) for answer, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * 15
    if kind == "file":
        store.close()


def test_doubt_is_reported_and_resolved_manually() -> None:
    with KeyedServer(honours=False, dropped=1.0) as keyed:
        url = keyed.url + "/work"
        with session(base_url=keyed.url, idempotency={"record": RECORD, "supported": False}) as api:
            with pytest.raises(requests.ConnectionError):
                api.post(url, json={"operation": "a"}, idempotency_key="order-1")
            for _ in range(2):
                with pytest.raises(polvo.InDoubtError) as caught:
                    api.post(url, json={"operation": "a"}, idempotency_key="order-1")
            assert caught.value.key == "order-1"
            operation = api.operation("/", "order-1")
            assert operation.state == "in doubt"
            operation.resolve(done=True)
            with pytest.raises(polvo.IdempotencyConflictError):
                api.post(url, json={"operation": "a"}, idempotency_key="order-1")
            with pytest.raises(polvo.ConfigurationError, match="it is done and not in doubt"):
                operation.resolve(done=False)
            operation.forget()
            assert operation.state == "not sent"
            assert repr(operation).endswith(": not sent>")
        assert keyed.done == {"a": 1}


def test_operations_need_a_record(keyed: KeyedServer) -> None:
    with session() as api, pytest.raises(polvo.ConfigurationError, match="there is no record"):
        api.operation(keyed.url, "a")
    with session() as api:
        api.mount("http://", requests.adapters.HTTPAdapter())
        with pytest.raises(polvo.ConfigurationError, match="there is no record"):
            api.operation(keyed.url, "a")
        with pytest.raises(polvo.ConfigurationError, match="idempotency is not enabled on this session"):
            api.post(keyed.url, idempotency_key="a")


def test_tenants_have_operations_of_their_own(keyed: KeyedServer) -> None:
    with session(idempotency={"record": RECORD}) as api:
        for name in ("acme", "globex"):
            with api.tenant(name):
                api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")
                assert api.operation(keyed.url, "k").state == "done"
        assert api.operation(keyed.url, "k").state == "not sent"
    assert len(keyed.keys) == 2


def test_a_redirect_whose_answer_is_lost_is_in_doubt_from_its_start() -> None:
    with KeyedServer(honours=False, dropped=1.0) as keyed:
        with session(idempotency={"record": RECORD, "supported": False}) as api:
            with pytest.raises(requests.ConnectionError):
                api.post(keyed.url + "/moved", json={"operation": "a"}, idempotency_key="k")
            for path in ("/moved", "/work"):
                with pytest.raises(polvo.InDoubtError):
                    api.post(keyed.url + path, json={"operation": "a"}, idempotency_key="k")
        assert keyed.done == {"a": 1}


def test_a_stream_is_done_but_not_replayed(keyed: KeyedServer) -> None:
    with session(idempotency={"record": RECORD}) as api:
        response = api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k", stream=True)
        assert api.operation(keyed.url, "k").state == "done"
        assert response.json()["operation"] == "a"
        with pytest.raises(polvo.IdempotencyConflictError):
            api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")


def test_what_was_broken_off_is_in_doubt_at_once(keyed: KeyedServer) -> None:
    class Interrupting(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            super().send(*args, **keywords)
            raise KeyboardInterrupt

    with session(idempotency={"record": RECORD, "supported": False}) as api:
        api.mount("http://", ResilientAdapter(inner=Interrupting(), idempotency={"record": True, "supported": False}))
        with pytest.raises(KeyboardInterrupt):
            api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")
        assert api.operation(keyed.url, "k").state == "in doubt"


def test_a_full_disk_keeps_the_request_from_leaving(keyed: KeyedServer, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    with session(store=store, idempotency={"record": RECORD}) as api:
        api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="a")
        connection = store._database.connection()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        numbers = range(60)
        full = [number for number in numbers if not posted(api, keyed, f"b{number}")]
        done = {f"b{number}" for number in numbers} & keyed.done.keys()
        assert full
        assert set(keyed.done.values()) == {1}
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with session(store=SQLiteStore(tmp_path / "state.db"), idempotency={"record": RECORD}) as api:
        states = {api.operation(keyed.url, name).state for name in done}
    assert "not sent" not in states, "what was sent was forgotten"


def posted(api: polvo.Session, keyed: KeyedServer, name: str) -> bool:
    """Return whether an operation was answered, and not refused for want of room."""
    try:
        api.post(keyed.url + "/work", json={"operation": name}, idempotency_key=name)
    except polvo.PolvoError as error:
        if error.reason != "store unusable":
            raise
        return False
    return True


def test_a_forked_child_does_not_send_what_its_parent_sends(keyed: KeyedServer) -> None:
    keyed.hold = threading.Event()
    store = MemoryStore()
    with session(store=store, idempotency={"record": RECORD, "supported": False, "max_wait": 0.1}) as api:
        sending = threading.Thread(
            target=lambda: api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")
        )
        sending.start()
        assert keyed.arrived.wait(10)
        child = os.fork()
        if child == 0:
            try:
                api.post(keyed.url + "/work", json={"operation": "a"}, idempotency_key="k")
            except polvo.IdempotencyError as error:
                os._exit(0 if error.reason == "under way" else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        keyed.hold.set()
        sending.join(10)
    assert keyed.done == {"a": 1}


# httpx.


def policies(record: bool = False, **keywords: Any) -> tuple[Any, ...]:
    return (
        polvo.request_ids.RequestIDs(),
        polvo.idempotency.IdempotencyKeys(record=record, **keywords),
        polvo.retry.ExponentialBackoff(base=0.001),
    )


def test_httpx_carries_one_key(server: FailureServer) -> None:
    with httpx.Client(transport=PolicyTransport(*policies()), follow_redirects=True) as client:
        response = client.post(server.url + "/fault/reset?times=1", json={"a": 1})
        client.post(server.url + "/fault/redirect?code=307&times=1&key=b", json={"a": 1})
    assert response.status_code == 200
    keys, ids = keys_of(server), keys_of(server, "x-request-id")
    assert [len(set(keys[:2])), len(set(keys[2:])), len(set(keys))] == [1, 1, 2]
    assert [len(set(ids[:2])), len(set(ids[2:])), len(set(ids))] == [1, 1, 2]
    assert response.extensions["polvo"].request_id == ids[0]


def test_a_request_of_httpx_that_is_sent_anew_is_another_operation(keyed: KeyedServer) -> None:
    with httpx.Client(transport=PolicyTransport(*policies())) as client:
        request = client.build_request("POST", keyed.url + "/work", json={"operation": "a"})
        assert [client.send(request).status_code for _ in range(2)] == [201, 201]
    assert (keyed.done, len(set(keyed.keys))) == ({"a": 2}, 2)


def test_httpx_keeps_a_record(keyed: KeyedServer) -> None:
    transport = PolicyTransport(*policies(record=True))
    with httpx.Client(transport=transport) as client:
        for replayed in (False, True):
            response = client.post(keyed.url + "/work", json={"operation": "a"}, headers={"Idempotency-Key": "k"})
            assert (response.status_code, response.json()["number"]) == (201, 1)
            assert response.extensions["polvo"].replayed is replayed
        assert transport.operation(keyed.url, "k").state == "done"
        with pytest.raises(polvo.IdempotencyConflictError):
            client.post(keyed.url + "/work", json={"operation": "b"}, headers={"Idempotency-Key": "k"})
    assert len(keyed.keys) == 1


async def test_httpx_with_asyncio(keyed: KeyedServer) -> None:
    keyed.hold = threading.Event()
    transport = AsyncPolicyTransport(*policies(record=True, supported=False))
    async with httpx.AsyncClient(transport=transport) as client:

        async def call() -> httpx.Response:
            return await client.post(keyed.url + "/work", json={"operation": "a"}, headers={"Idempotency-Key": "k"})

        calls = [asyncio.ensure_future(call()) for _ in range(8)]
        await asyncio.to_thread(keyed.arrived.wait, 10)
        keyed.hold.set()
        responses = await asyncio.wait_for(asyncio.gather(*calls), 20)
        assert {response.json()["number"] for response in responses} == {1}
        assert sorted(response.extensions["polvo"].replayed for response in responses) == [False] + [True] * 7
    assert keyed.done == {"a": 1}


async def test_a_cancelled_task_leaves_its_operation_in_doubt(keyed: KeyedServer) -> None:
    keyed.hold = threading.Event()
    transport = AsyncPolicyTransport(*policies(record=True, supported=False))
    async with httpx.AsyncClient(transport=transport) as client:
        task = asyncio.ensure_future(
            client.post(keyed.url + "/work", json={"operation": "a"}, headers={"Idempotency-Key": "k"})
        )
        await asyncio.to_thread(keyed.arrived.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert transport.operation(keyed.url, "k").state == "in doubt"


# Request ids.


def test_each_call_has_one_id(server: FailureServer) -> None:
    with session(idempotency=None, request_id=True) as api:
        response = api.get(server.url + "/fault/reset?times=1")
        assert api.get(server.url + "/echo", headers={"x-request-id": "mine"}).polvo.request_id == "mine"
        with polvo.correlated("job-7") as told:
            api.get(server.url + "/echo")
            api.get(server.url + "/echo", headers={"X-Correlation-ID": "mine"})
        assert told == "job-7"
        api.get(server.url + "/echo")
    ids = keys_of(server, "x-request-id")
    assert ids[0] == ids[1] == response.polvo.request_id
    assert ids[2] == "mine"
    assert len(set(ids)) == 5
    assert keys_of(server, "x-correlation-id")[-4:] == [None, "job-7", "mine", None]


def test_a_request_that_is_sent_anew_has_another_id(server: FailureServer) -> None:
    with session(idempotency=True, request_id="X-Trace") as api:
        request = api.prepare_request(requests.Request("POST", server.url + "/echo"))
        for _ in range(2):
            api.send(request)
    assert len(set(keys_of(server, "x-trace"))) == len(set(keys_of(server))) == 2


@pytest.mark.parametrize("bad", ["", "a\nb", "é", None])
def test_ids_that_cannot_be_sent(bad: Any) -> None:
    with pytest.raises(polvo.ConfigurationError), polvo.correlated(bad):
        pass


def test_an_inner_adapter_may_remove_the_id(server: FailureServer) -> None:
    class Removing(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **keywords: Any) -> requests.Response:
            del request.headers["X-Request-ID"]
            return super().send(request, *args, **keywords)

    with requests.Session() as plain:
        plain.mount("http://", ResilientAdapter(inner=Removing(), request_id=True))
        response: Any = plain.get(server.url + "/echo")
    assert (response.status_code, response.polvo.request_id) == (200, "")


def test_without_ids_there_are_none(server: FailureServer) -> None:
    with session() as api:
        assert api.get(server.url + "/echo").polvo.request_id == ""
    assert keys_of(server, "x-request-id") == [None]


# What is served in place of an answer.


@pytest.mark.parametrize(
    ("path", "supported", "state"),
    [("/fault/status?code=500", True, "in doubt"), ("/fault/reset", False, "in doubt"), (None, True, "not sent")],
    ids=["500", "lost", "never-sent"],
)
def test_a_fallback_is_no_answer_of_the_server(
    server: FailureServer, path: str | None, supported: bool, state: str
) -> None:
    address = server.url if path is not None else "http://127.0.0.1:9"
    keys = {"record": RECORD, "supported": supported}
    with session(base_url=address, idempotency=keys, retry=False, fallback=lambda _: {"queued": True}) as api:
        assert api.post(path or "/", json={}, idempotency_key="order").json() == {"queued": True}
        assert api.operation("/", "order").state == state


def test_a_fallback_to_another_server_is_an_answer(server: FailureServer) -> None:
    keys = {"record": RECORD, "supported": False}
    with session(base_url="http://127.0.0.1:9", idempotency=keys, retry=False, fallback=server.url) as api:
        assert api.post("/echo", json={}, idempotency_key="order").status_code == 200
        assert api.operation("/", "order").state == "done"


# The same prepared request, sent again.


def test_a_replay_after_401_ends_the_call_of_its_request(server: FailureServer) -> None:
    oauth = polvo.auth.OAuth2(client_id="app", client_secret="secret", token_url=f"{server.url}/oauth/token")
    with session(auth=oauth) as api:
        request = api.prepare_request(requests.Request("POST", f"{server.url}/oauth/protected", data=b"x"))
        requests.post(f"{server.url}/oauth/revoke", timeout=5)
        first = api.send(request)
        second = api.send(request)
    assert [response.status_code for response in (first, *first.history, second)] == [200, 401, 200]
    keys = [record.headers.get("idempotency-key") for record in server.requests if record.path == "/oauth/protected"]
    assert keys[0] == keys[1] != keys[-1]


def test_a_request_that_is_sent_again_is_part_of_what_it_is_sent_in(server: FailureServer) -> None:
    with session(request_id=True) as api:
        request = api.prepare_request(requests.Request("GET", f"{server.url}/echo"))
        for name in ("one", "two"):
            with polvo.correlated(name):
                api.send(request)
        api.send(request)
    assert keys_of(server, "x-correlation-id") == ["one", "two", None]


def test_names_of_headers_may_be_bytes(server: FailureServer) -> None:
    with session() as api:
        api.post(f"{server.url}/echo", headers={b"X-A": b"1"}, idempotency_key="order")
    assert keys_of(server) == ["order"]


# Credentials in the query.


@pytest.mark.parametrize("strategy", ["hash", lambda _: "order"], ids=["hash", "function"])
def test_a_rotated_credential_in_the_query_is_no_other_operation(keyed: KeyedServer, strategy: Any) -> None:
    value = "first"
    rotating = polvo.Secret(lambda: value)
    with session(idempotency={"record": RECORD, "strategy": strategy}) as api:
        api.auth = polvo.auth.api_key(rotating, query="api_key")
        first = api.post(keyed.url + "/work?shop=1", json={"operation": "a"})
        value = "second"
        rotating.invalidate()
        again = api.post(keyed.url + "/work?shop=1", json={"operation": "a"})
        assert (first.request.url, again.request.url) == tuple(
            f"{keyed.url}/work?shop=1&api_key={each}" for each in ("first", "second")
        )
        if strategy != "hash":
            with pytest.raises(polvo.IdempotencyConflictError, match="belongs to another request"):
                api.post(keyed.url + "/work?shop=2", json={"operation": "a"})
    assert (again.polvo.replayed, again.polvo.attempts, keyed.done) == (True, [], {"a": 1})


def test_a_request_with_a_record_arrives_with_the_credential_in_its_query(server: FailureServer) -> None:
    with session(idempotency={"record": RECORD}) as api:
        api.post(f"{server.url}/fault/status?code=503&times=1", auth=polvo.auth.api_key("s3cret", query="k"))
    assert [record.path for record in server.requests] == ["/fault/status?code=503&times=1&k=s3cret"] * 2
