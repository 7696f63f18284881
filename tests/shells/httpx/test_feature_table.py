"""The table of features in docs/transports.md is true: each row is tried in each shell, in both directions."""

from __future__ import annotations

import asyncio
import io
import pickle
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from urllib3.util import Retry

import polvo_adapters as polvo
from polvo_adapters.policies.asked_retry import AskedRetry
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Fallback, Fixed
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.request_ids import RequestIDs
from polvo_adapters.policies.resume import Resume
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing import FailureServer
from tests.support.cutting_server import Entity, serve
from tests.support.shells import SHELLS, AsyncHTTPXShell, HTTPXShell, RequestsShell, Shell

PAGE = Path(__file__).parents[3] / "docs" / "transports.md"
RETRY = ExponentialBackoff(base=0.001, jitter="none")
Kind = type[Shell]
Check = Callable[[Kind, FailureServer], bool]

CHECKS: dict[str, Check] = {}


def row(name: str) -> Callable[[Check], Check]:
    """Register the check of a row; it returns whether the feature works."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


@contextmanager
def using(kind: Kind, *policies: Any, **keywords: Any) -> Iterator[Shell]:
    shell = kind(*policies, **keywords)
    try:
        yield shell
    finally:
        shell.close()


@row("Retries, within a budget")
def retries(kind: Kind, server: FailureServer) -> bool:
    with using(kind, RETRY) as shell:
        answer = shell.get(server.url + "/fault/truncated?times=2")
        return (answer.status, len(answer.report.attempts)) == (200, 3)


@row("A urllib3 `Retry` that decides")
def asked_retries(kind: Kind, server: FailureServer) -> bool:
    retry = Retry(total=2, status_forcelist=[503], backoff_factor=0, raise_on_status=False)
    with using(kind, AskedRetry(retry)) as shell:
        answer = shell.get(server.url + "/fault/status?times=2")
        return (answer.status, len(answer.report.attempts)) == (200, 3)


@row("One deadline for the whole call, also for a body that is streamed")
def deadlines(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Deadline(0.3), RETRY) as shell:
        hanging = shell.get(server.url + "/fault/hang")
        dripping = shell.stream(server.url + "/fault/drip?size=500&interval=0.05")
        return all(isinstance(each.error, polvo.DeadlineExceeded) for each in (hanging, dripping))


@row("Rate limits, known or learned")
def rate_limits(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Deadline(0.2), TokenBucket(rate=0.001, capacity=1)) as shell:
        first, second = shell.get(server.url + "/echo"), shell.get(server.url + "/echo")
        return first.status == 200 and isinstance(second.error, polvo.RateLimitError)


@row("Circuit breaker, and `circuit(url)` to control it")
def circuits(kind: Kind, server: FailureServer) -> bool:
    with using(kind, CircuitBreaker(failure_threshold=2)) as shell:
        shell.get(server.url + "/fault/reset"), shell.get(server.url + "/fault/reset")
        refused = shell.get(server.url + "/echo")
        is_open = shell.below.circuit(server.url).state == "open"
        shell.below.circuit(server.url).close()
        return is_open and isinstance(refused.error, polvo.CircuitOpenError) and shell.get(server.url).status != 0


@row("Bulkhead; a body that is streamed holds its slot until it is closed")
def bulkheads(kind: Kind, server: FailureServer) -> bool:
    refused: list[Any] = []
    store = polvo.stores.MemoryStore()
    bulkhead = Bulkhead(1, acquisition_timeout=0.0)
    with using(kind, bulkhead, store=store) as shell, using(RequestsShell, bulkhead, store=store) as other:
        shell.stream(server.url + "/echo?size=3000000", lambda: refused.append(other.get(server.url + "/echo").error))
        return isinstance(refused[0], polvo.PoolTimeoutError) and other.get(server.url + "/echo").status == 200


@row("Hedging")
def hedges(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Hedge(delay=0.05, budget=None)) as shell:
        answer = shell.get(server.url + "/fault/hang?times=1", timeout=5)
        return answer.status == 200


@row("The attempt that loses a race is cut off at once")
def cut_losers(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Hedge(delay=0.05, budget=None)) as shell:
        answer = shell.get(server.url + "/fault/hang?times=1", timeout=3)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            if isinstance(shell, AsyncHTTPXShell):
                shell.loop.run_until_complete(asyncio.sleep(0.02))
            if answer.status == 200 and server.open_connections <= 1:
                return True
            time.sleep(0.02)
        time.sleep(1.7)  # until its own timeout ends it
        return False


@row("Regions, also several at once")
def regions(kind: Kind, server: FailureServer) -> bool:
    down = "http://127.0.0.1:1"
    with using(kind, Regions([down, server.url])) as one, using(kind, Regions([down, server.url], mode="race")) as race:
        return [one.get(down + "/echo").status, race.get(down + "/echo").status] == [200, 200]


@row("Fallback to the last good response")
def stale(kind: Kind, server: FailureServer) -> bool:
    with using(kind, *standard(retry=False, fallback="stale")) as shell:
        url = server.url + "/fault/status?after=1"
        return (shell.get(url).status, shell.get(url).status) == (200, 200)


@row("Fallback to another server or function")
def alternatives(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Fallback(Fixed(json={"made": 1}))) as shell:
        return b"made" in shell.get(server.url + "/fault/status").body


@row("Idempotency keys")
def keys(kind: Kind, server: FailureServer) -> bool:
    with using(kind, IdempotencyKeys(), RETRY) as shell:
        answer = shell.call("POST", server.url + "/fault/reset?times=1", body=b"x")
        sent = {record.headers.get("idempotency-key") for record in server.requests}
        return answer.status == 200 and len(sent) == 1 and None not in sent


@row("Record of idempotency keys")
def records(kind: Kind, server: FailureServer) -> bool:
    headers = {"Idempotency-Key": "order-1"}
    with using(kind, IdempotencyKeys(record=True)) as shell:
        for _ in range(2):
            answer = shell.call("POST", server.url + "/echo", body=b"x", headers=headers)
        return answer.status == 200 and answer.report.replayed and len(server.requests) == 1


@row("Request ids")
def request_ids(kind: Kind, server: FailureServer) -> bool:
    with using(kind, RequestIDs(), RETRY) as shell:
        answer = shell.get(server.url + "/fault/status?times=1")
        sent = {record.headers.get("x-request-id") for record in server.requests}
        return sent == {answer.report.request_id}


@row("State of each tenant apart")
def tenants(kind: Kind, server: FailureServer) -> bool:
    with using(kind, Deadline(0.1), TokenBucket(rate=0.001, capacity=1)) as shell:
        statuses = []
        for name in ("a", "b", "a"):
            with polvo.tenant(name):
                statuses.append(shell.get(server.url + "/echo").status)
        return statuses == [200, 200, 0]


@row("`polvo.call(...)`")
def one_call(kind: Kind, server: FailureServer) -> bool:
    told: list[Any] = []
    with using(kind, RETRY) as shell, polvo.call(retry=False, labels={"job": "x"}, listeners=[told.append]):
        answer = shell.get(server.url + "/fault/status")
        return len(answer.report.attempts) == 1 and dict(answer.report.labels) == {"job": "x"} and bool(told)


@row("Report of each call")
def reports(kind: Kind, server: FailureServer) -> bool:
    with using(kind, RETRY) as shell:
        refused = shell.get("http://127.0.0.1:1/")
        return len(refused.report.attempts) == 3 and bool(shell.get(server.url + "/echo").report.attempts[0].phases)


@row("`polvo.install`")
def installs(kind: Kind, server: FailureServer) -> bool:
    url = server.url + "/fault/status?times=1"
    with using(kind) as shell:
        client: Any = shell.session if isinstance(shell, RequestsShell) else shell.client  # type: ignore[attr-defined]
        polvo.install(client, retry={"base": 0.001})
        return shell.get(url).status == 200


@row("Uploads from iterators, sent once")
def iterators(kind: Kind, server: FailureServer) -> bool:
    with using(kind, RETRY) as shell:
        answer = shell.call("PUT", server.url + "/fault/status", body=(part for part in (b"a", b"b")))
        return answer.status == 503 and [record.body_length for record in server.requests] == [2]


@row("Uploads from files, sent again")
def files(kind: Kind, server: FailureServer) -> bool:
    class File(io.BytesIO):
        async def __aiter__(self) -> Any:
            yield self.read()

    with using(kind, RETRY) as shell:
        answer = shell.call("PUT", server.url + "/fault/status?times=1", body=File(b"abc"))
        return answer.status == 200 and [record.body_length for record in server.requests] == [3, 3]


@row("Multipart uploads of files, sent again")
def multipart(kind: Kind, server: FailureServer) -> bool:
    files, url = {"file": io.BytesIO(b"abc")}, server.url + "/fault/status?times=1"
    with using(kind, RETRY) as shell:
        if isinstance(shell, AsyncHTTPXShell):
            status = shell.loop.run_until_complete(shell.client.put(url, files=files)).status_code
        else:
            client: Any = shell.session if isinstance(shell, RequestsShell) else shell.client  # type: ignore[attr-defined]
            status = client.put(url, files=files).status_code
        lengths = {record.body_length for record in server.requests}
        return status == 200 and len(server.requests) == 2 and len(lengths) == 1


@row("Broken downloads go on where they broke off (`resume`)")
def resumes(kind: Kind, server: FailureServer) -> bool:
    whole = bytes(range(256)) * 20
    with serve(Entity(whole), cuts=[1000, 3]) as cutting, using(kind, Resume(), RETRY) as shell:
        answer = shell.stream(cutting.url)
        return answer.body == whole and cutting.seen[1].headers.get("range") == "bytes=1000-"


@row("HTTP/2")
def http2(kind: Kind, server: FailureServer) -> bool:
    try:
        with using(kind, RETRY, http2=True):
            return True
    except (TypeError, ImportError):
        return False


@row("Proxies; a refused CONNECT is not repeated")
def proxies(kind: Kind, server: FailureServer) -> bool:
    url = "https://unknown.invalid/"
    if kind is RequestsShell:
        with using(RequestsShell, RETRY) as shell:
            shell.session.proxies = {"https": server.url}  # type: ignore[attr-defined]
            report = shell.get(url).report
    else:
        with using(kind, RETRY, proxy=server.url) as shell:
            report = shell.get(url).report
    return [attempt.failure for attempt in report.attempts] == ["proxy refused"]


@row("Deadlines through a transport that opens sockets of its own")
def foreign_deadlines(kind: Kind, server: FailureServer) -> bool:
    inner: Any = {RequestsShell: _SlowAdapter, HTTPXShell: _SlowTransport, AsyncHTTPXShell: _SlowAsyncTransport}[kind]()
    with using(kind, Deadline(0.1), inner=inner) as shell:
        began = time.monotonic()
        shell.get("http://a.example/")
        return time.monotonic() - began < 1


class _SlowAdapter(requests.adapters.BaseAdapter):
    def send(self, request: Any, **_: Any) -> Any:
        time.sleep(1.5)
        response = requests.Response()
        response.status_code, response.request, response._content = 200, request, b""
        return response

    def close(self) -> None:
        """Nothing to close."""


class _SlowTransport(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        time.sleep(1.5)
        return httpx.Response(200)


class _SlowAsyncTransport(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(1.5)
        return httpx.Response(200)


@row("Pickles")
def pickles(kind: Kind, server: FailureServer) -> bool:
    with using(kind, RETRY) as shell:
        try:
            pickle.loads(pickle.dumps(shell.below))
        except (TypeError, AttributeError, pickle.PicklingError):
            return False
        return True


def read_table() -> dict[str, list[str]]:
    """Return the cells of the table, by the names of its rows."""
    text = PAGE.read_text()
    lines = re.findall(r"^\|(.*)\|$", text[text.index("## What works where") :].partition("\n## ")[0], re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [name.strip("` ") for name in cells[0][1:]] == ["requests", "httpx, sync", "httpx, async"]
    return {name: rest for name, *rest in cells[2:]}


TABLE = read_table()


def test_each_row_is_checked() -> None:
    assert list(TABLE) == list(CHECKS)


@pytest.mark.parametrize("cell", [cell for cells in TABLE.values() for cell in cells])
def test_a_cell_says_yes_or_why_not(cell: str) -> None:
    assert re.fullmatch(r"yes|no: .{10,}", cell)


@pytest.mark.parametrize("kind", SHELLS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", CHECKS)
def test_a_row_is_true(name: str, kind: Kind, server: FailureServer) -> None:
    claim = TABLE[name][SHELLS.index(kind)]
    assert CHECKS[name](kind, server) is (claim == "yes"), claim
