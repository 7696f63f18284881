"""Tenants: for which one a call is made, where its request names it, and what two of them never share."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import itertools
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import polvo_adapters as polvo
from polvo_adapters.context.tenant import TenantScope, current_tenant, validate_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import compose
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.shells.requests.url_reading import parse_as_requests
from polvo_adapters.shells.tenancy import Tenancy
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.simulation.simulation import ScriptedReply, Simulation
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

API = "http://api.acme.test"
HEADER = Tenancy(header="X-Tenant-ID")
ONE = TokenBucket(rate=0.001, capacity=1, max_wait=0)
FRAGILE = CircuitBreaker(failure_threshold=1)
FAILING = "fault/status?code=503"


@pytest.fixture
def other() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


def prepared(session: polvo.Session, url: str = API + "/x", **keywords: Any) -> requests.PreparedRequest:
    """Return what a session would send."""
    sent: list[requests.PreparedRequest] = []
    session.send = lambda request, **_: (sent.append(request), requests.Response())[1]
    try:
        session.get(url, **keywords)
    finally:
        del session.send
    return sent[0]


def seen_by(session: polvo.Session) -> str:
    """Return the tenant that an auth object sees while the session prepares a call."""
    seen: list[str] = []

    def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        seen.append(current_tenant())
        return request

    session.prepare_request(requests.Request("GET", API, auth=auth))
    return seen[0]


# Names.


class Customer(str, enum.Enum):
    ACME = "acme"


class Number(int, enum.Enum):
    SEVEN = 7


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("acme", "acme"),
        (7, "7"),
        (0, "0"),
        (-1, "-1"),
        ("a b", "a b"),
        ("müller", "müller"),
        ("x" * 255, "x" * 255),
        (Customer.ACME, "acme"),
        (Number.SEVEN, "7"),
        ("../etc", "../etc"),
    ],
)
def test_text_and_whole_numbers_name_a_tenant(identifier: Any, name: str) -> None:
    assert (validate_tenant(identifier), type(validate_tenant(identifier))) == (name, str)
    with polvo.tenant(identifier) as entered:
        assert entered == current_tenant() == name


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("", "must have a name"),
        ("x" * 256, "255 characters at most"),
        (10**255, "255 characters at most"),
        pytest.param(10**9999, "255 characters at most", id="very long"),
        ("a\r\nb", "control characters"),
        ("a\0", "control characters"),
        ("a\x7f", "control characters"),
        ("a\x85", "control characters"),
        ("a\u2028", "control characters"),
        ("a\ud800", "control characters"),
        (None, "not NoneType"),
        (True, "not bool"),
        (1.5, "not float"),
        (b"acme", "not bytes"),
        (["acme"], "not list"),
    ],
)
def test_what_names_no_tenant_is_refused(identifier: Any, message: str) -> None:
    session = polvo.Session()
    makers: list[Callable[[Any], object]] = [polvo.tenant, session.tenant]
    if identifier is not None:
        makers.append(session.set_tenant)
    for make in makers:
        with pytest.raises(polvo.ConfigurationError, match=message) as caught:
            make(identifier)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
    assert current_tenant() == ""


@given(st.one_of(st.text(max_size=300), st.integers()))
def test_every_text_and_number_is_a_name_or_refused(identifier: str | int) -> None:
    try:
        name = validate_tenant(identifier)
    except polvo.ConfigurationError:
        return
    assert 1 <= len(name) <= 255
    name.encode()


# Blocks.


def test_blocks_nest_and_end() -> None:
    block = polvo.tenant("a")
    with block, polvo.tenant("b"), block:
        assert current_tenant() == "a"
        with block:
            pass
        assert current_tenant() == "a"
    assert current_tenant() == ""


def test_a_block_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), polvo.tenant("a"):
        raise ZeroDivisionError
    assert current_tenant() == ""


def test_blocks_of_generators_may_end_in_any_order_and_leave_nothing() -> None:
    def items(name: str) -> Iterator[str]:
        with polvo.tenant(name):
            yield current_tenant()

    with polvo.tenant("outer"):
        generator = items("inner")
        assert next(generator) == "inner"
    assert current_tenant() == "inner"  # the generator is still within its block
    assert next(generator, None) is None
    assert current_tenant() == ""


def test_a_block_that_ends_in_another_context_does_no_harm() -> None:
    block = polvo.tenant("a")
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert current_tenant() == ""


def test_decorators() -> None:
    @polvo.tenant("acme")
    def name(prefix: str) -> str:
        """Tell."""
        return prefix + current_tenant()

    @polvo.tenant(7)
    async def later() -> str:
        await asyncio.sleep(0)
        return current_tenant()

    session = polvo.Session()

    @session.tenant("own")
    def within() -> tuple[str, str]:
        return seen_by(session), seen_by(polvo.Session())

    assert (name("to "), name.__doc__, asyncio.run(later()), within()) == ("to acme", "Tell.", "7", ("own", ""))
    assert current_tenant() == ""


def test_a_decorated_function_may_call_itself_in_many_threads() -> None:
    @polvo.tenant("acme")
    def down(depth: int) -> set[str]:
        return {current_tenant()} | (down(depth - 1) if depth else set())

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(down, range(40))) == {"acme"}
        assert set(pool.map(lambda _: current_tenant(), range(16))) == {""}


def test_generator_functions_are_no_functions_to_decorate() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def asynchronous() -> Any:
        yield 1

    for function in (generator, asynchronous):
        with pytest.raises(TypeError, match=f"put `with` into {function.__name__}"):
            polvo.tenant("a")(function)


class Precedence(RuleBasedStateMachine):
    """Blocks opened and closed in any order, beside what two sessions are set to, against a list."""

    names = st.sampled_from(["a", "b", "c"])
    owners = st.sampled_from([None, 0, 1])

    def __init__(self) -> None:
        super().__init__()
        self.sessions = [polvo.Session(), polvo.Session()]
        self.set = ["", ""]
        self.open: list[tuple[TenantScope, int | None]] = []

    @rule(name=names, owner=owners)
    def enter(self, name: str, owner: int | None) -> None:
        block = polvo.tenant(name) if owner is None else self.sessions[owner].tenant(name)
        block.__enter__()
        self.open.append((block, owner))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        block, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        block.__exit__(None, None, None)

    @rule(name=st.one_of(st.none(), names), session=st.sampled_from([0, 1]))
    def settle(self, name: str | None, session: int) -> None:
        self.sessions[session].set_tenant(name)
        self.set[session] = name or ""

    @invariant()
    def all_see_their_own(self) -> None:
        for number, session in enumerate(self.sessions):
            blocks = [block.name for block, owner in self.open if owner in (None, number)]
            assert seen_by(session) == [self.set[number], *blocks][-1]
        assert current_tenant() == ["", *(block.name for block, owner in self.open if owner is None)][-1]

    def teardown(self) -> None:
        for block, _ in self.open:
            block.__exit__(None, None, None)
        assert current_tenant() == ""


TestPrecedence = Precedence.TestCase
TestPrecedence.settings = settings(max_examples=60, stateful_step_count=25)


# Threads, tasks and calls.


def test_threads_have_their_own_and_take_one_along_in_a_copied_context() -> None:
    seen: dict[str, str] = {}
    session = polvo.Session()
    with polvo.tenant("acme"), session.tenant("own"):
        copied = contextvars.copy_context()
    threads = [
        threading.Thread(target=lambda: seen.update(bare=current_tenant(), bare_session=seen_by(session))),
        threading.Thread(target=copied.run, args=(lambda: seen.update(copied=current_tenant()),)),
        threading.Thread(target=copied.copy().run, args=(lambda: seen.update(copied_session=seen_by(session)),)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == {"bare": "", "bare_session": "", "copied": "acme", "copied_session": "own"}


def test_a_tenant_that_is_set_counts_in_all_threads() -> None:
    session = polvo.Session()
    session.set_tenant("acme")
    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(seen_by, session).result(10) == "acme"
    session.set_tenant(None)
    assert seen_by(session) == ""


def test_tasks_have_their_own() -> None:
    async def one(name: str) -> list[str]:
        with polvo.tenant(name):
            before = current_tenant()
            await asyncio.sleep(0)
            inner = await asyncio.create_task(inherited())
            in_thread = await asyncio.to_thread(current_tenant)
        return [before, inner, in_thread, current_tenant()]

    async def inherited() -> str:
        await asyncio.sleep(0)
        return current_tenant()

    async def run() -> list[list[str]]:
        return await asyncio.gather(*map(one, "abc"))

    assert asyncio.run(run()) == [[name, name, name, ""] for name in "abc"]


def test_the_tenant_of_a_call_is_seen_by_auth_hooks_and_hops_and_by_no_later_call(server: FailureServer) -> None:
    seen: list[tuple[str, str]] = []
    session = polvo.Session(server.url)
    session.set_tenant("acme")
    stranger = polvo.Session(server.url)

    def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        seen.append(("auth", current_tenant()))
        session.set_tenant("late")  # the call has begun
        return request

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(("hook", current_tenant()))
        seen.append(("stranger", seen_by(stranger)))
        with polvo.tenant("inner"):
            seen.append(("inner", current_tenant()))

    session.get("fault/redirect?to=/echo", auth=auth, hooks={"response": hook})
    session.set_tenant(None)
    seen_before, seen[:] = seen[:], []
    session.get("echo", auth=auth, hooks={"response": hook})
    assert seen[:2] == [("auth", ""), ("hook", "")]
    seen[:] = seen_before
    hop = [("hook", "acme"), ("stranger", ""), ("inner", "inner")]
    assert seen == [("auth", "acme"), *hop, *hop]
    assert current_tenant() == ""


def test_a_call_without_a_tenant_within_a_call_with_one_has_none(server: FailureServer) -> None:
    outer, inner = polvo.Session(server.url, circuit_breaker=True), polvo.Session(server.url, circuit_breaker=True)
    names: list[str] = []
    with outer.tenant("acme"):
        outer.get("echo", hooks={"response": lambda *_, **__: names.append(inner.circuit().name)})
        names.append(outer.circuit().name)
    assert names == [f"circuit {server.url}", f"circuit {server.url} of tenant acme"]


# Where a request says so.


def test_a_header() -> None:
    session = polvo.Session(API, tenancy=HEADER)
    assert "X-Tenant-ID" not in prepared(session).headers
    with session.tenant("acme"):
        assert prepared(session, "x").headers["X-Tenant-ID"] == "acme"
        assert prepared(session, API + "/x").headers["X-Tenant-ID"] == "acme"
        assert prepared(polvo.Session(tenancy=HEADER)).headers.get("X-Tenant-ID") is None
        given_: Any
        for given_ in (
            {"x-tenant-id": "other"},
            {"X-Tenant-ID": "one", "x-tenant-id": "two"},
            {"X-Tenant-ID": "one", b"X-TENANT-ID": b"two"},
            {"X-Tenant-ID": None},
        ):
            request = prepared(session, headers=given_)
            assert [(name, value) for name, value in request.headers.items() if "enant" in name.lower()] == [
                ("X-Tenant-ID", "acme")
            ]


def test_a_header_of_the_session_is_for_calls_without_a_tenant() -> None:
    session = polvo.Session(API, tenancy=HEADER)
    session.headers["X-Tenant-ID"] = "default"
    assert prepared(session).headers["X-Tenant-ID"] == "default"
    with session.tenant("acme"):
        for given_ in ({}, {"X-TENANT-id": "other"}, {b"X-Tenant-ID": b"other"}):
            assert prepared(session, headers=given_).headers["X-Tenant-ID"] == "acme"


def test_the_request_of_the_caller_is_left_as_it_is() -> None:
    session = polvo.Session(API, tenancy=Tenancy(header="X-Tenant-ID", path="/t/{tenant}"))
    request = requests.Request("GET", API + "/x", headers={"A": "b"})
    with session.tenant("acme"):
        sent = session.prepare_request(request)
    assert (sent.url, sent.headers["X-Tenant-ID"], sent.headers["A"]) == (API + "/t/acme/x", "acme", "b")
    assert (request.url, request.headers) == (API + "/x", {"A": "b"})


@pytest.mark.parametrize(
    ("base", "url", "sent"),
    [
        (API, "orders", "http://acme.api.acme.test/orders"),
        (API, "?page=2", "http://acme.api.acme.test/?page=2"),
        (API + ":8080/v1", "orders", "http://acme.api.acme.test:8080/v1/orders"),
        (API, API + "/orders", "http://acme.api.acme.test/orders"),
        (API, "http://API.acme.test:80/orders", "http://acme.api.acme.test:80/orders"),
        (API, "http://acme.api.acme.test/orders?page=2", "http://acme.api.acme.test/orders?page=2"),
        (API, "http://other.api.acme.test/orders", "http://other.api.acme.test/orders"),
        (API, "http://api.acme.test.evil.test/orders", "http://api.acme.test.evil.test/orders"),
        (API, "https://api.acme.test/orders", "https://api.acme.test/orders"),
        (None, API + "/orders", "http://acme.api.acme.test/orders"),
        (None, "http://user:pw@api.acme.test/orders#x", "http://user:pw@acme.api.acme.test/orders#x"),
        ("http://bücher.test", "orders", "http://acme.xn--bcher-kva.test/orders"),
        ("http://bücher.test", "http://xn--bcher-kva.test/x", "http://acme.xn--bcher-kva.test/x"),
    ],
)
def test_a_subdomain(base: str | None, url: str, sent: str) -> None:
    session = polvo.Session(base, tenancy=Tenancy(subdomain=True))
    with polvo.tenant("acme"):
        assert prepared(session, url).url == sent


@pytest.mark.parametrize(
    ("base", "url", "sent"),
    [
        (API, "orders", API + "/t/acme/orders"),
        (API, "", API + "/t/acme/"),
        (API, "?page=2", API + "/t/acme/?page=2"),
        (API + "/v1/", "orders/7?a=b#c", API + "/t/acme/v1/orders/7?a=b#c"),
        (API + "/v1", API + "/t/acme/v1/orders?page=2", API + "/t/acme/v1/orders?page=2"),
        (API, API + "/t/acme", API + "/t/acme"),
        (API, API + "/t/acme2/orders", API + "/t/acme/t/acme2/orders"),
        (API, "t/acme/orders", API + "/t/acme/t/acme/orders"),
        (API, "../other/orders", API + "/t/acme/other/orders"),
        (API, "%2e%2E/%2e./other/orders", API + "/t/acme/other/orders"),
        (API, API + "/t/acme/../other/orders", API + "/t/acme/t/other/orders"),
        (API, API + "/t/acme/%2e%2e/other/orders", API + "/t/acme/t/other/orders"),
        (API, "http://other.test/orders", "http://other.test/orders"),
        (None, API + "/orders", API + "/t/acme/orders"),
    ],
)
def test_a_path(base: str | None, url: str, sent: str) -> None:
    tenancy = Tenancy(path="/t/{tenant}/")
    session = polvo.Session(base, tenancy=tenancy)
    with polvo.tenant("acme"):
        assert prepared(session, url).url == sent
    if "://" in url:
        assert tenancy.address(url, "acme", base, parse=parse_as_requests) == sent
        assert tenancy.address(url, "", base, parse=parse_as_requests) == url


@pytest.mark.parametrize("url", ["foo://[", "a://b:x", "http://[", "http://api.acme.test:99999/", "foo://"])
@pytest.mark.parametrize("tenancy", [None, HEADER, Tenancy(path="/t/{tenant}")])
def test_what_is_no_url_is_refused_as_requests_does(url: str, tenancy: Tenancy | None) -> None:
    with polvo.tenant("acme"), pytest.raises(requests.RequestException):
        polvo.Session(API, tenancy=tenancy).get(url)


def test_a_tenant_fills_a_path_as_one_segment() -> None:
    session = polvo.Session(API, tenancy=Tenancy(path="/t/{tenant}"))
    for name, segment in [
        ("a/b", "a%2Fb"),
        ("evil.com/#?", "evil.com%2F%23%3F"),
        ("...", "..."),
        ("a b", "a%20b"),
        ("müller", "m%C3%BCller"),
        ("a\\b", "a%5Cb"),
        ("{tenant}", "%7Btenant%7D"),
    ]:
        with polvo.tenant(name):
            assert prepared(session, "x").url == f"{API}/t/{segment}/x"


PARTS = st.lists(st.sampled_from(["..", ".", "%2e", "%2E%2e", "/", "//", "\\", ";", "?", "#", "@", ":", "a", "t"])).map(
    "".join
)


@given(st.text(min_size=1, max_size=40) | PARTS.filter(bool), st.text(max_size=40) | PARTS)
def test_no_name_and_no_url_leaves_the_path_of_the_tenant(name: str, url: str) -> None:
    session = polvo.Session(API, tenancy=Tenancy(path="/t/{tenant}"))
    if "://" in url:  # goes elsewhere, and without the tenant
        return
    try:
        with polvo.tenant(name):
            sent = requests.compat.urlsplit(prepared(session, "/" + url).url)
    except (polvo.ConfigurationError, requests.exceptions.InvalidURL, requests.exceptions.MissingSchema):
        return
    segments = sent.path.split("/")
    assert (sent.netloc, segments[1], requests.compat.unquote(segments[2])) == ("api.acme.test", "t", name)
    assert not {".", ".."} & {requests.compat.unquote(segment) for segment in segments}


HOSTILE = [
    "a\u00e9",
    "a b",
    "\u0660",
    "evil.com/#",
    "..",
    ".",
    "a/b",
    "a.b",
    "-a",
    "a-",
    "a_b",
    "a:80",
    "a@b",
    "x" * 64,
    "x" * 255,
    "[::1]",
    "%2e",
    "a\\",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("tenancy", [Tenancy(subdomain=True), Tenancy(host="{tenant}.acme.test")])
def test_a_host_takes_a_label_only(name: str, tenancy: Tenancy, server: FailureServer) -> None:
    session = polvo.Session("http://localhost" + server.url[16:], tenancy=tenancy)
    with polvo.tenant(name), pytest.raises(polvo.ConfigurationError, match="one DNS label") as caught:
        session.get("echo")
    assert str(caught.value).startswith(f"tenant {name[:60]!r}")
    assert len(server.requests) == 0


@pytest.mark.parametrize("name", ["é", "a b", "a\u0660", "名前"])
def test_a_header_takes_visible_ascii_only(name: str, server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=HEADER)
    with polvo.tenant(name), pytest.raises(polvo.ConfigurationError, match="X-Tenant-ID takes visible ASCII only"):
        session.get("echo")
    assert len(server.requests) == 0


@pytest.mark.parametrize("name", [".", "..", "../b", "%2e%2e", "..;b", "a/../b", "\uff0e\uff0e", "..\\b"])
def test_a_path_takes_no_dots(name: str, server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=Tenancy(path="/t/{tenant}"))
    with polvo.tenant(name), pytest.raises(polvo.ConfigurationError, match="another directory"):
        session.get("echo")
    assert len(server.requests) == 0


CLIMBING = [
    "..%2Fglobex/secret",
    "..%5Cglobex/secret",
    "..;/globex/secret",
    "x/..;a=1/..;a=1/globex",
    "%252e%252e/globex",
    "%25252e./globex",
    "%c0%ae%c0%ae/globex",
    "\uff0e\uff0e/globex",
    "x%2F..%2F..%2Fglobex",
    "..%00/globex",
]


@pytest.mark.parametrize("base", ["", "/v1", "/t"])
@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_some_server_reads_as_that_of_another_tenant(path: str, base: str, server: FailureServer) -> None:
    session = polvo.Session(server.url + base, tenancy=Tenancy(path="/t/{tenant}"))
    urls = [
        path,
        "/" + path,
        f"{server.url}/t/acme/{path}",
        f"{server.url}/{path}",
        f"{server.url}/t/acme/{path}?a=b#c",
    ]
    for url, send in itertools.product(urls, (session.get, session.circuit)):
        with session.tenant("acme"), pytest.raises(polvo.ConfigurationError, match=r"may lead out of /t/acme: .*sent"):
            send(url)
    assert len(server.requests) == 0


PASSING = [
    "group%2Fproject/issues",
    "a..b",
    "...",
    "a%20b",
    ".well-known/x",
    "x?next=../y&z=..%2F",
    "DOMAIN%5Cme",
    "a;b",
]


@pytest.mark.parametrize("path", PASSING)
def test_a_path_that_climbs_nowhere_is_sent_as_it_is(path: str, server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=Tenancy(path="/t/{tenant}"))
    with session.tenant("acme"):
        session.get(path)
        session.get(f"{server.url}/t/acme/{path}")
    assert {record.path for record in server.requests} == {f"/t/acme/{path}"}


def test_a_url_in_a_path_stays_below_the_tenant(server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=Tenancy(path="/t/{tenant}"), auth=("me", "secret"))
    with session.tenant("acme"):
        session.get("redirect/https://example.com/x")
    assert [record.path for record in server.requests] == ["/t/acme/redirect/https://example.com/x"]
    assert server.requests[0].headers["authorization"]


def test_an_address_has_no_subdomains() -> None:
    for base in ("http://127.0.0.1:8000", "http://[::1]"):
        session = polvo.Session(base, tenancy=Tenancy(subdomain=True))
        with polvo.tenant("acme"), pytest.raises(polvo.ConfigurationError, match="can have no subdomain"):
            session.get("echo")


def test_a_long_host_is_refused() -> None:
    session = polvo.Session(API, tenancy=Tenancy(host="x.{tenant}." + ".".join(["y" * 60] * 4)))
    with polvo.tenant("t" * 63), pytest.raises(polvo.ConfigurationError, match="makes no host name"):
        prepared(session)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"required": 1},
        {"subdomain": "yes"},
        {"header": ""},
        {"header": "Host"},
        {"header": "content-length"},
        {"header": "Authorization"},
        {"header": "X Tenant"},
        {"header": "X\r\nTenant"},
        {"header": 5},
        {"host": "acme.test"},
        {"host": "{tenant}.{tenant}.acme.test"},
        {"host": "{tenant}.acme.test/x"},
        {"host": "{tenant}.acme.test\r\n"},
        {"host": "{tenant}..acme.test"},
        {"host": "{other}.{tenant}.test"},
        {"host": "{tenant}.acme.test:99999999"},
        {"path": "t/{tenant}"},
        {"path": "/t"},
        {"path": "/t/{tenant}?x"},
        {"path": "/t/{tenant}#x"},
        {"path": "/../{tenant}"},
        {"path": "/%2e%2e/{tenant}"},
        {"path": "//{tenant}"},
        {"path": "/{tenant} "},
        {"path": 5},
        {"subdomain": True, "host": "{tenant}.acme.test"},
    ],
)
def test_what_cannot_work_is_refused_at_once(keywords: Any) -> None:
    with pytest.raises(polvo.ConfigurationError, match=r"Tenancy\((\w+=.*: \w+ must be|\): name a)"):
        Tenancy(**keywords)


def test_regions_know_no_host_of_a_tenant() -> None:
    regions = ["http://eu.acme.test", "http://us.acme.test"]
    polvo.Session(API, tenancy=HEADER, regions=regions)
    for tenancy in (Tenancy(subdomain=True), Tenancy(host="{tenant}.acme.test")):
        with pytest.raises(polvo.ConfigurationError, match="would not know the tenant"):
            polvo.Session(API, tenancy=tenancy, regions=regions)
    with pytest.raises(TypeError, match="expected Tenancy"):
        polvo.Session(tenancy={"header": "X-Tenant-ID"})


def test_a_tenant_may_be_required(server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=Tenancy(required=True))
    ready = requests.Request("GET", server.url + "/echo").prepare()
    for call in (lambda: session.get("echo"), lambda: session.get(API), lambda: session.send(ready), session.circuit):
        with pytest.raises(polvo.ConfigurationError, match="there is no tenant"):
            call()
    assert len(server.requests) == 0
    with polvo.tenant("acme"):
        assert session.get("echo").status_code == session.send(ready).status_code == 200


# On the wire.


def test_the_wire(server: FailureServer) -> None:
    session = polvo.Session(
        server.url, tenancy=Tenancy(header="X-Tenant-ID", host="{tenant}.acme.test", path="/fault/redirect{tenant}")
    )
    with session.tenant("a-1"):
        session.get("echo")
    record = server.requests[0]
    assert (record.path, record.headers["host"]) == ("/fault/redirecta-1/echo", "a-1.acme.test")
    assert record.headers["x-tenant-id"] == "a-1"


def test_the_session_s_credentials_go_to_the_tenant_s_subdomain_only(server: FailureServer) -> None:
    session = polvo.Session(API, auth=("user", "pass"), tenancy=Tenancy(header="X-Tenant-ID", subdomain=True))
    session.proxies = {"http": server.url}  # which answers for every host
    with session.tenant("acme"):
        for url in (
            "echo",
            "http://acme.api.acme.test/echo",
            "http://other.api.acme.test/echo",
            "http://evil.test/echo",
            "http://acme.api.acme.test.evil.test/echo",
            "http://evil.test\\@api.acme.test/echo",
            "http://evil.test\\@acme.api.acme.test/echo",
        ):
            session.get(url)
    sent = [(record.headers["host"], "authorization" in record.headers) for record in server.requests]
    assert sent == [
        ("acme.api.acme.test", True),
        ("acme.api.acme.test", True),
        ("other.api.acme.test", False),
        ("evil.test", False),
        ("acme.api.acme.test.evil.test", False),
        ("evil.test", False),
        ("evil.test", False),
    ]
    assert [record.headers.get("x-tenant-id") for record in server.requests] == ["acme"] * 2 + [None] * 5


def test_credentials_stay_where_readers_of_a_url_disagree(server: FailureServer) -> None:
    session = polvo.Session(API, auth=("user", "pass"))
    session.proxies = {"http": server.url}
    session.get("http://evil.test\\@api.acme.test/echo")
    record = server.requests[0]
    assert (record.headers["host"], record.headers.get("authorization")) == ("evil.test", None)


TOLD = Tenancy(header="X-Tenant-ID", host="{tenant}.acme.test")


@pytest.mark.parametrize("with_base", [True, False])
def test_a_redirect_keeps_the_tenant_from_another_origin(
    with_base: bool, server: FailureServer, other: FailureServer
) -> None:
    session = polvo.Session(server.url if with_base else None, tenancy=TOLD)
    with session.tenant("acme"):
        session.get(f"{server.url}/fault/redirect?to=/fault/redirect%3Fkey%3D2%26to%3D{other.url}/echo")
    assert [record.headers.get("x-tenant-id") for record in server.requests] == ["acme", "acme"]
    assert [record.headers["host"] for record in server.requests] == ["acme.acme.test"] * 2
    assert [record.headers.get("x-tenant-id") for record in other.requests] == [None]
    assert [record.headers["host"] for record in other.requests] == [other.url[7:]]


def test_an_absolute_url_keeps_the_tenant_from_another_origin(server: FailureServer, other: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=Tenancy(header="X-Tenant-ID", host="{tenant}.test", path="/t/{tenant}"))
    with session.tenant("a/b"):  # would fit nowhere but into the path
        session.get(other.url + "/echo")
    record = other.requests[0]
    assert (record.path, record.headers["host"], record.headers.get("x-tenant-id")) == ("/echo", other.url[7:], None)


def test_tenants_that_hosts_tell_apart_have_cookies_of_their_own(other: FailureServer) -> None:
    for tenancy, base in ((Tenancy(host="{tenant}.acme.test"), other.url), (Tenancy(subdomain=True), API)):
        session = polvo.Session(base, tenancy=tenancy)
        session.proxies = {"http": other.url} if base == API else {}
        for name in ("a", "b"):
            host = f"{name}.acme.test" if base == other.url else f"{name}.api.acme.test"
            session.cookies.set("who", name, domain=host)
        with session.tenant("a"):
            assert session.get("echo").json()["headers"]["cookie"] == "who=a"


# What two tenants never share.


def outcome(call: Callable[[], Any]) -> str:
    """Return a status, or the name of an error."""
    try:
        return str(call().status_code)
    except (polvo.CircuitOpenError, polvo.RateLimitError) as error:
        return type(error).__name__


def mounted(server: FailureServer, *policies: Any) -> requests.Session:
    session = requests.Session()
    session.mount(server.url, polvo.PolicyAdapter(*policies))
    return session


def test_tenants_have_circuits_of_their_own(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=False, circuit_breaker=FRAGILE)
    with session.tenant("bad"):
        session.get(FAILING)
        assert outcome(lambda: session.get("echo")) == "CircuitOpenError"
        assert session.circuit("echo").state == "open"
    for name in ("good", "bad2", "ba"):
        with session.tenant(name):
            assert outcome(lambda: session.get("echo")) == "200"
            assert session.circuit("echo").state == "closed"
    assert outcome(lambda: session.get("echo")) == "200"
    with session.tenant("bad"), pytest.raises(polvo.CircuitOpenError, match=f"circuit {server.url} of tenant bad: "):
        session.get("echo")


def test_tenants_have_buckets_of_their_own(server: FailureServer) -> None:
    session = mounted(server, ONE)
    asked = ["a", "a", "b", "b", None]
    told = []
    for name in asked:
        with ExitStack() as stack:
            if name:
                stack.enter_context(polvo.tenant(name))
            told.append(outcome(lambda: session.get(server.url + "/echo")))
    assert told == ["200", "RateLimitError", "200", "RateLimitError", "200"]
    with polvo.tenant("a"):
        assert outcome(lambda: session.get(server.url + "/echo")) == "RateLimitError"


def test_the_circuit_of_an_adapter_is_that_of_the_current_tenant(server: FailureServer) -> None:
    adapter = polvo.BreakerAdapter(FRAGILE)
    with polvo.tenant("a"):
        adapter.circuit(server.url).open()
        assert adapter.circuit(server.url).state == "isolated"
    assert adapter.circuit(server.url).state == "closed"


@pytest.mark.parametrize("url", ["http://other.test", "http://b.api.acme.test"])
def test_the_circuit_of_a_url_elsewhere_is_that_of_the_url(url: str) -> None:
    session = polvo.Session(API, circuit_breaker=True, tenancy=Tenancy(subdomain=True))
    with session.tenant("a"):
        assert session.circuit(url).name == f"circuit {url} of tenant a"
        assert session.circuit("x").name == session.circuit(API).name == "circuit http://a.api.acme.test of tenant a"


def test_threads_with_tenants_of_their_own_do_not_meet(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=False, circuit_breaker=FRAGILE, tenancy=HEADER)

    def work(number: int) -> tuple[str, ...]:
        bad = number % 2 == 1
        with session.tenant(number):
            return tuple(outcome(lambda: session.get(FAILING if bad else "echo")) for _ in range(4))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(16)))
    assert set(results[::2]) == {("200",) * 4}
    assert set(results[1::2]) == {("503", *["CircuitOpenError"] * 3)}
    counted = dict.fromkeys(map(str, range(16)), 0)
    for record in server.requests:
        counted[record.headers["x-tenant-id"]] += 1
    assert counted == {str(number): 1 if number % 2 else 4 for number in range(16)}


def test_tasks_with_tenants_of_their_own_do_not_meet(server: FailureServer) -> None:
    async def told(client: httpx.AsyncClient, url: str) -> str:
        try:
            return str((await client.get(url)).status_code)
        except (polvo.CircuitOpenError, polvo.RateLimitError) as error:
            return type(error).__name__

    async def work(client: httpx.AsyncClient, number: int) -> tuple[str, ...]:
        with polvo.tenant(number):
            return tuple([await told(client, f"{server.url}/{FAILING if number % 2 else 'echo'}") for _ in range(3)])

    async def run() -> list[tuple[str, ...]]:
        bucket = TokenBucket(rate=0.001, capacity=2, max_wait=0)
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(FRAGILE, bucket)) as client:
            return await asyncio.gather(*(work(client, number) for number in range(10)))

    results = asyncio.run(run())
    assert set(results[::2]) == {("200", "200", "RateLimitError")}
    assert set(results[1::2]) == {("503", "CircuitOpenError", "CircuitOpenError")}


def test_a_hedge_is_sent_for_the_tenant_of_its_call(server: FailureServer) -> None:
    store = MemoryStore()
    inner = polvo.PolicyAdapter(TokenBucket(rate=0.001, capacity=2, max_wait=0), store=store)
    session = requests.Session()
    session.mount(server.url, polvo.HedgeAdapter(0.01, inner=inner))
    url = server.url + "/fault/slow-headers?interval=0.005&times=1"
    for name in ("a", "b"):
        with polvo.tenant(name):
            assert session.get(f"{url}&key={name}").status_code == 200


def test_the_last_good_answer_of_a_tenant_is_served_to_no_other(server: FailureServer) -> None:
    session = mounted(server, Fallback("stale"))
    url = server.url + "/fault/status?code=503&after=2&key=k"
    bodies = {}
    for name in ("a", "b"):
        with polvo.tenant(name):
            bodies[name] = session.get(url).text
    assert bodies["a"] == bodies["b"]  # the response does not show the tenant
    for name, status in (("a", 200), ("c", 503), ("b", 200)):
        with polvo.tenant(name):
            assert session.get(url).status_code == status
    assert session.get(url).status_code == 503


def test_the_transports_know_the_tenant(server: FailureServer) -> None:
    transport = PolicyTransport(FRAGILE)
    with httpx.Client(transport=transport) as client:
        with polvo.tenant("bad"):
            client.get(f"{server.url}/{FAILING}")
            assert transport.circuit(server.url).state == "open"
        assert client.get(f"{server.url}/echo").status_code == 200
        assert transport.circuit(server.url).state == "closed"


def test_tenants_do_not_meet_in_virtual_time() -> None:
    class Server:
        def reply(self, call: Call, now: float) -> ScriptedReply:
            return ScriptedReply(503 if call.tenant == "bad" else 200, seconds=0.1)

    simulation = Simulation(Server(), seed=1)
    stack = compose([FRAGILE, TokenBucket(rate=1, capacity=1)])
    calls = {
        name: [simulation.call(stack, Call("GET", API, tenant=name), at=2.0 * number) for number in range(5)]
        for name in ("bad", "good", "")
    }
    simulation.run()
    told = {name: [call.outcome.status if call.outcome else None for call in made] for name, made in calls.items()}
    assert told == {"bad": [503, 0, 0, 0, 0], "good": [200] * 5, "": [200] * 5}
    assert all(not call.entries[1:] or name == "bad" for name, made in calls.items() for call in made)


def test_without_tenants_the_keys_are_what_they_were(server: FailureServer) -> None:
    keys = []

    class Listening(MemoryStore):
        def decide(self, events: Any) -> Any:
            keys.extend(event.key for event in events)
            return super().decide(events)

    session = polvo.Session(
        server.url, circuit_breaker=True, rate_limit=ONE, bulkhead=3, fallback="stale", store=Listening()
    )
    session.get("echo")
    without = set(keys)
    assert {f"circuit {server.url}", f"bulkhead of 3 {server.url}", f"{ONE.kind} {server.url} "} <= without
    keys.clear()
    with polvo.tenant("acme"):
        session.get("echo")
    end = " of tenant acme"
    assert set(keys) - without == {f"circuit {server.url}{end}", f"{ONE.kind} {server.url} {end}"}


def test_many_tenants_take_no_more_room_than_the_store_has(server: FailureServer) -> None:
    store = MemoryStore(max_keys=50)
    session = polvo.Session(server.url, circuit_breaker=True, rate_limit=TokenBucket(1000), store=store)
    for number in range(200):
        with session.tenant(number):
            session.get("echo")
    assert len(store) <= 50


# Copies.


def test_a_session_with_a_tenant_pickles(server: FailureServer) -> None:
    session = polvo.Session(server.url, tenancy=HEADER)
    session.set_tenant("acme")
    copied = pickle.loads(pickle.dumps(session))
    copied.get("echo")
    assert copied.tenancy == HEADER
    assert server.requests[0].headers["x-tenant-id"] == "acme"


def test_a_session_that_was_pickled_before_there_were_tenants() -> None:
    session = polvo.Session(API)
    state = session.__getstate__()
    del state["_tenant"], state["tenancy"]
    old = polvo.Session.__new__(polvo.Session)
    old.__setstate__(state)
    assert seen_by(old) == ""


def test_representations() -> None:
    assert repr(polvo.tenant("acme")) == "<tenant 'acme'>"
    assert pickle.loads(pickle.dumps(TOLD)) == TOLD
    assert hash(TOLD) == hash(Tenancy(header="X-Tenant-ID", host="{tenant}.acme.test"))
