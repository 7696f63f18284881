"""What `polvo.Session` and `polvo.AsyncSession` do alike: each test runs with both, and some with both at once."""

from __future__ import annotations

import json
import pickle
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.policies.defaults import DefaultDeadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from tests.support.leaping_clock import Leap
from tests.support.twin_sessions import KINDS, Twin

FAST = {"base": 0.001}
DRIP = "/fault/drip?size=8&interval=0.06"  # takes 0.48 s
QUICK = "/fault/drip?size=8&interval=0.005"
API = "http://api.acme.test"
Make = Callable[..., Twin]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """A function that makes twins of one kind, and closes them at the end."""
    made: list[Twin] = []

    def make(*args: Any, **keywords: Any) -> Twin:
        made.append(Twin(request.param, *args, **keywords))
        return made[-1]

    yield make
    for twin in made:
        twin.close()


@pytest.fixture
def other() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a default deadline of a minute be 0.15 s, which is shorter than a dripping body."""
    seconds = DefaultDeadline.seconds
    monkeypatch.setattr(DefaultDeadline, "seconds", lambda *given: seconds(*given) and seconds(*given) / 400)


# URLs and credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("http://api.example.com", "orders", "http://api.example.com/orders"),
        ("http://api.example.com/", "/orders", "http://api.example.com/orders"),
        ("http://api.example.com/v1", "orders/7", "http://api.example.com/v1/orders/7"),
        ("http://api.example.com/v1/", "/orders", "http://api.example.com/v1/orders"),
        ("http://api.example.com/v1", "", "http://api.example.com/v1"),
        ("http://api.example.com/v1", "?page=2", "http://api.example.com/v1?page=2"),
        ("http://api.example.com", "orders?next=http://x/", "http://api.example.com/orders?next=http://x/"),
        ("http://api.example.com", "http://other.example.com/x", "http://other.example.com/x"),
        ("http://api.example.com", "//evil.example.com/x", "http://api.example.com/evil.example.com/x"),
        ("http://api.example.com", "@evil.example.com/x", "http://api.example.com/@evil.example.com/x"),
        ("http://api.example.com/v1", "orders:search", "http://api.example.com/v1/orders:search"),
        ("http://api.example.com/v1", "../x", "http://api.example.com/x"),
        (None, "http://api.example.com/x", "http://api.example.com/x"),
    ],
)
def test_base_url(make: Make, base: str | None, url: str, expected: str) -> None:
    assert make(base).prepare(url)[0] == expected


@pytest.mark.parametrize("base", ["api.example.com", 5])
def test_what_is_no_base_url_is_refused(make: Make, base: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="base_url"):
        make(base)


def test_without_a_base_a_relative_url_is_refused(make: Make) -> None:
    twin = make()
    with pytest.raises(twin.library_error):
        twin.get("orders")


def test_credentials_stay_with_the_base_url(make: Make, server: FailureServer, other: FailureServer) -> None:
    twin = make(server.url, auth=("user", "pass"))
    twin.session.headers["Authorization"] = "Bearer s3cret"
    twin.get("echo")
    twin.get(other.url + "/echo")
    twin.get(other.url + "/echo", auth=("their", "own"))
    twin.get(other.url + "/echo", headers={"Authorization": "Bearer theirs"})
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    sent = [record.headers.get("authorization") for record in other.requests]
    assert sent == [None, "Basic dGhlaXI6b3du", "Bearer theirs"]


def test_a_redirect_keeps_credentials_and_tenant_from_another_origin(
    make: Make, server: FailureServer, other: FailureServer
) -> None:
    twin = make(server.url, auth=("user", "pass"), tenancy=polvo.Tenancy(header="X-Tenant"))
    with twin.session.tenant("acme"):
        twin.get("fault/redirect?key=a&to=" + quote(other.url + "/echo", safe=""))
        twin.get("fault/redirect?key=b&to=" + quote("/echo", safe=""))
    (elsewhere,) = other.requests
    assert "authorization" not in elsewhere.headers
    assert "x-tenant" not in elsewhere.headers
    assert server.requests[-1].headers["authorization"].startswith("Basic ")
    assert server.requests[-1].headers["x-tenant"] == "acme"


def test_a_redirect_keeps_the_credential_for_a_proxy_from_another_origin(
    make: Make, server: FailureServer, other: FailureServer
) -> None:
    for base in (server.url, None):
        twin = make(base)
        twin.session.headers["Proxy-Authorization"] = "Basic s3cret"
        twin.get(server.url + f"/fault/redirect?key={bool(base)}&to=" + quote(other.url + "/echo", safe=""))
    assert ["proxy-authorization" in record.headers for record in other.requests] == [False, False]


@pytest.mark.parametrize("auth", [5, ("user",), polvo.auth.OAuth2])
def test_what_is_no_auth_is_refused(make: Make, auth: Any) -> None:
    with pytest.raises(TypeError, match="auth"):
        make(auth=auth)


def test_an_auth_object_of_polvo_serves_both(make: Make, server: FailureServer, other: FailureServer) -> None:
    twin = make(server.url, auth=polvo.auth.bearer("t0ken"))
    twin.get("echo")
    twin.get(other.url + "/echo")
    assert server.requests[0].headers["authorization"] == "Bearer t0ken"
    assert "authorization" not in other.requests[0].headers


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_429_that_outlives_the_retries_is_an_error(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=FAST)
    with pytest.raises(polvo.RateLimitError) as caught:
        twin.get("fault/status?code=429&retry_after=0")
    error: Any = caught.value
    assert isinstance(error, twin.status_error)
    assert (error.retry_after, error.attempts, error.status_code) == (0, 3, 429)
    assert (error.response.status_code, error.request.method) == (429, "GET")
    assert len(error.polvo.attempts) == len(error.response.polvo.attempts) == 3
    assert re.sub(r"in [0-9.e-]+ s", "in 1 s", str(error)) == (
        f"GET {server.url[7:]}/fault/status: 429 Too Many Requests after 3 attempts in 1 s; call again after 0 s"
    )


def test_so_is_one_that_is_streamed(make: Make, server: FailureServer) -> None:
    with pytest.raises(polvo.RateLimitError):
        make(server.url, retry=False).get("fault/status?code=429", stream=True)


def test_a_long_retry_after_is_an_error_at_once(make: Make, server: FailureServer) -> None:
    with pytest.raises(polvo.RateLimitError) as caught:
        make(server.url).get("fault/status?code=429&retry_after=3600")
    assert (caught.value.retry_after, len(server.requests)) == (3600, 1)


def test_other_statuses_are_returned(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=FAST)
    assert twin.get("fault/status?code=500").status_code == 500
    assert twin.get("fault/status?code=404").status_code == 404


@pytest.mark.parametrize(("code", "kind"), [(404, polvo.NotFoundError), (503, polvo.ServiceUnavailableError)])
def test_raise_for_status(make: Make, code: int, kind: type[polvo.StatusError], server: FailureServer) -> None:
    twin = make(server.url, retry=FAST, raise_for_status=True)
    with pytest.raises(kind) as caught:
        twin.get(f"fault/status?code={code}&secret=hidden")
    assert isinstance(caught.value, twin.status_error)
    assert caught.value.status_code == code
    assert "hidden" not in str(caught.value)
    assert twin.get("echo").status_code == 200


def test_a_quota_that_is_used_up_is_an_error_where_the_wait_is_too_long(make: Make, server: FailureServer) -> None:
    twin = make(server.url, rate_limit={"max_wait": 5})
    twin.get("quota?limit=1&window=3600&dialect=draft-7")
    with pytest.raises(polvo.RateLimitError, match="beyond max_wait, 5 s") as caught:
        twin.get("quota?limit=1&window=3600&dialect=draft-7")
    assert 3590 <= (caught.value.retry_after or 0) <= 3610
    assert isinstance(caught.value, twin.library_error)
    assert len(server.requests) == 1


def test_a_body_that_is_no_json_says_where_and_what_it_is(make: Make, server: FailureServer) -> None:
    response = make(server.url).get("echo?size=3")
    with pytest.raises(json.JSONDecodeError) as caught:
        response.json()
    message = str(caught.value)
    assert f"GET {server.url[7:]}/echo: the body is no JSON; the status is 200 OK" in message
    assert "begins with 'xxx'" in message
    copied = pickle.loads(pickle.dumps(response))
    assert copied.text == response.text == "xxx"
    with pytest.raises(json.JSONDecodeError):
        copied.json()
    assert make(server.url).get("echo").json()["method"] == "GET"


def test_a_refused_connection_is_that_of_the_library_with_its_report(make: Make) -> None:
    twin = make("http://127.0.0.1:9", retry=FAST)
    with pytest.raises(twin.library_error) as caught:
        twin.get("x")
    error: Any = caught.value
    assert not isinstance(error, polvo.PolvoError)
    assert len(error.polvo.attempts) == 3


@pytest.mark.parametrize(
    "keyword", ["retries", "rate_limits", "max_retries", "pool_maxsize", "inner", "proxies", "hooks", "base"]
)
def test_an_unknown_keyword_is_a_type_error(make: Make, keyword: str) -> None:
    with pytest.raises(TypeError, match=keyword):
        make(**{keyword: 1})


@pytest.mark.parametrize("keyword", ["retries", "alow_redirects"])
def test_an_unknown_keyword_of_a_call_is_a_type_error(make: Make, keyword: str, server: FailureServer) -> None:
    with pytest.raises(TypeError, match=keyword):
        make(server.url).get("echo", **{keyword: 1})
    assert not server.requests


# Policies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [(True, 3), (False, 1), (None, 1), ({"max_attempts": 2, **FAST}, 2), (ExponentialBackoff(4, base=0.001), 4)],
)
def test_retry_takes_many_forms(make: Make, server: FailureServer, retry: Any, attempts: int) -> None:
    response = make(server.url, retry=FAST if retry is True else retry).get("fault/status")
    assert len(response.polvo.attempts) == len(server.requests) == attempts


def test_what_is_said_for_one_call(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=FAST)
    assert len(twin.get("fault/status?key=a", retry=False).polvo.attempts) == 1
    assert len(twin.get("fault/status?key=b", retry={"max_attempts": 2}, labels={"job": 7}).polvo.attempts) == 2
    with polvo.call(retry=False, labels={"job": 7}):
        report = twin.get("fault/status?key=c").polvo
    assert (len(report.attempts), report.labels) == (1, (("job", "7"),))
    assert len(twin.get("fault/status?key=d").polvo.attempts) == 3


def test_a_dead_host_is_left_alone_after_ten_calls(make: Make) -> None:
    twin = make("http://127.0.0.1:9", retry=False)
    ends = []
    for _ in range(12):
        with pytest.raises(twin.library_error) as caught:
            twin.get("x")
        ends.append(isinstance(caught.value, polvo.CircuitOpenError))
    assert ends == [False] * 10 + [True] * 2
    assert twin.session.circuit("x").state == "open"
    assert twin.session.circuit("http://127.0.0.1:8/").state == "closed"


def test_a_key_of_an_operation(make: Make, server: FailureServer) -> None:
    twin = make(server.url, idempotency={"record": True}, retry=FAST, auth=("user", "pass"))
    twin.post("echo", json={"a": 1}, idempotency_key="order-1")
    assert server.requests[0].headers["idempotency-key"] == "order-1"
    assert twin.session.operation("echo", "order-1").state == "done"
    assert twin.session.operation("echo", "order-2").state == "not sent"
    with pytest.raises(polvo.IdempotencyConflictError) as caught:
        twin.post("echo", json={"a": 2}, idempotency_key="order-1")
    assert isinstance(caught.value, twin.library_error)
    with pytest.raises(polvo.ConfigurationError, match="among the headers"):
        twin.post("echo", idempotency_key="x", headers={"idempotency-KEY": "y"})
    with pytest.raises(polvo.ConfigurationError, match="idempotency=True"):
        make(server.url).post("echo", idempotency_key="x")


def test_keys_of_requests_and_their_ids(make: Make, server: FailureServer) -> None:
    twin = make(server.url, idempotency=True, request_id=True, retry=FAST)
    response = twin.post("fault/status?times=1", json={"a": 1})
    assert response.status_code == 200
    keys = {record.headers["idempotency-key"] for record in server.requests}
    assert (len(server.requests), len(keys)) == (2, 1)
    assert response.polvo.request_id == server.requests[-1].headers["x-request-id"]


# Time -----------------------------------------------------------------------------------------------------------------


def test_timeouts(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=False, timeout=0.1)
    with pytest.raises(twin.timeout_error):
        twin.get("fault/hang")
    assert twin.get("fault/slow-headers?interval=0.005", timeout=None).status_code == 200
    with pytest.raises(twin.timeout_error):
        make(server.url, retry=False).get("fault/hang", timeout=(5, 0.1))


@pytest.mark.parametrize("timeout", ["5", True, 0, -1, (1, "2")])
def test_what_is_no_timeout_is_refused(make: Make, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout"):
        make(timeout=timeout)


def test_one_deadline_covers_all_hops(make: Make, server: FailureServer) -> None:
    slow = quote("/fault/drip?size=500&interval=0.05", safe="")
    twin = make(server.url, deadline=0.3)
    started = time.monotonic()
    with pytest.raises(polvo.DeadlineExceeded) as caught:
        twin.get(f"/fault/redirect?to={slow}")
    assert isinstance(caught.value, twin.timeout_error)
    with pytest.raises(polvo.DeadlineExceeded):
        twin.get(f"/fault/redirect?to={slow}", deadline=0.2)
    assert time.monotonic() - started < 10
    assert make(server.url, deadline=60).get("echo").status_code == 200


@pytest.mark.usefixtures("impatient")
class TestDefaultDeadline:
    def test_a_dripping_body_ends(self, make: Make, server: FailureServer) -> None:
        with pytest.raises(polvo.DeadlineExceeded):
            make(server.url).get(DRIP)

    def test_it_is_switched_off_or_longer(self, make: Make, server: FailureServer) -> None:
        assert len(make(server.url, deadline=None).get(DRIP).content) == 8
        assert len(make(server.url).get(DRIP, timeout=(30, 2000)).content) == 8

    def test_the_headers_of_a_stream_are_bound(self, make: Make, server: FailureServer) -> None:
        with pytest.raises(polvo.DeadlineExceeded):
            make(server.url).get("fault/slow-headers?interval=0.1", stream=True)

    def test_a_deadline_that_is_named_binds_streams(self, make: Make, server: FailureServer) -> None:
        with pytest.raises(polvo.DeadlineExceeded):
            make(server.url, deadline=0.15).get(DRIP, stream=True)
        with pytest.raises(polvo.DeadlineExceeded):
            make(server.url).get(DRIP, stream=True, deadline=0.15)


class TestWithoutDeadline:
    """What the default deadline leaves out."""

    def test_a_body_that_is_streamed_takes_as_long_as_it_takes(
        self, make: Make, server: FailureServer, leap: Leap
    ) -> None:
        assert len(make(server.url).get(QUICK, stream=True, hook=lambda _: leap()).content) == 8

    def test_an_upload_takes_as_long_as_it_takes(self, make: Make, server: FailureServer, leap: Leap) -> None:
        def pieces() -> Iterator[bytes]:
            for _ in range(5):
                leap()
                yield b"x"

        assert make(server.url).post("echo", data=pieces()).status_code == 200

    def test_it_binds_no_call_that_a_hook_makes(self, make: Make, server: FailureServer, leap: Leap) -> None:
        found: list[Any] = []
        twin = make(server.url)

        def hook(_: Any) -> Any:
            if found:
                return None
            found.append(0)
            leap()
            if twin.is_async:
                return ask()
            with polvo.Session(server.url) as other:
                found.append(len(other.get(QUICK).content))
            return None

        async def ask() -> None:
            async with polvo.AsyncSession(server.url) as other:
                found.append(len((await other.get(QUICK)).content))

        assert twin.get("echo", hook=hook).status_code == 200
        assert found == [0, 8]

    def test_waits_between_attempts_do_not_count(self, make: Make, server: FailureServer, leaping_sleep: Leap) -> None:
        """Also those of an earlier hop."""
        began = leaping_sleep.now()
        twin = make(server.url, retry={"base": 3600, "cap": 3600, "jitter": "none"})
        to = quote("/fault/status?times=1&key=second", safe="")
        response = twin.get(f"fault/redirect?to={to}")
        assert (response.status_code, len(response.polvo.attempts)) == (200, 2)
        assert leaping_sleep.now() - began >= 3600


# Redirects and reports ------------------------------------------------------------------------------------------------


def test_redirects_are_followed_and_every_hop_has_its_report(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=FAST)
    url = "/fault/redirect?to=" + quote("/fault/status?times=1&retry_after=0", safe="")
    response = twin.get(url)
    assert [len(each.polvo.attempts) for each in (*response.history, response)] == [1, 2]
    assert twin.get("/fault/redirect?key=x", allow_redirects=False).status_code == 302


@pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_verb_sends_its_method(make: Make, verb: str, server: FailureServer) -> None:
    twin = make(server.url)
    assert twin.verb(verb, "echo").polvo.method == verb.upper()
    assert [record.method for record in server.requests] == [verb.upper()]


def test_head_does_not_follow_redirects_and_get_does(make: Make, server: FailureServer) -> None:
    twin = make(server.url)
    assert twin.verb("head", "/fault/redirect?key=a").status_code == 302
    assert twin.verb("get", "/fault/redirect?key=b&to=/echo").status_code == 200


# Tenants --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tenancy", "base", "url", "expected"),
    [
        (polvo.Tenancy(subdomain=True), API, "orders", "http://acme.api.acme.test/orders"),
        (polvo.Tenancy(subdomain=True), API, "?page=2", "http://acme.api.acme.test/?page=2"),
        (polvo.Tenancy(subdomain=True), API + ":8080/v1", "orders", "http://acme.api.acme.test:8080/v1/orders"),
        (polvo.Tenancy(subdomain=True), API, API + "/orders", "http://acme.api.acme.test/orders"),
        (polvo.Tenancy(subdomain=True), API, "http://other.test/x", "http://other.test/x"),
        (polvo.Tenancy(subdomain=True), None, API + "/orders", "http://acme.api.acme.test/orders"),
        (polvo.Tenancy(path="/t/{tenant}"), API, "orders", API + "/t/acme/orders"),
        (polvo.Tenancy(path="/t/{tenant}"), API + "/v1/", "orders/7?a=b", API + "/t/acme/v1/orders/7?a=b"),
        (polvo.Tenancy(path="/t/{tenant}"), API, "../other/orders", API + "/t/acme/other/orders"),
        (polvo.Tenancy(path="/t/{tenant}"), API, API + "/t/acme/orders", API + "/t/acme/orders"),
        (polvo.Tenancy(path="/t/{tenant}"), API, "http://other.test/x", "http://other.test/x"),
    ],
)
def test_the_tenant_is_in_the_url(make: Make, tenancy: Any, base: str | None, url: str, expected: str) -> None:
    twin = make(base, tenancy=tenancy)
    with polvo.tenant("acme"):
        assert twin.prepare(url)[0].replace(".test?", ".test/?") == expected
    assert "acme/" not in twin.prepare("http://other.test/x")[0]


def test_the_tenant_is_in_headers(make: Make) -> None:
    twin = make(API, tenancy=polvo.Tenancy(header="X-Tenant", host="{tenant}.example.com"))
    twin.session.headers["X-Tenant"] = "another"
    with twin.session.tenant("acme"):
        _, headers = twin.prepare("orders", headers={"x-tenant": "evil"})
        assert (headers["X-Tenant"], headers["Host"]) == ("acme", "acme.example.com")
        _, headers = twin.prepare("http://other.test/x")
        assert headers.get("Host") != "acme.example.com"
    twin.session.set_tenant(7)
    assert twin.prepare("orders")[1]["X-Tenant"] == "7"
    twin.session.set_tenant(None)
    assert twin.prepare("orders")[1]["X-Tenant"] == "another"


@pytest.mark.parametrize(
    "path", ["..%2Fother", "%2e%2e%2fother", "x/..%5c..%5cother", "..;/other", "%252e%252e%252fother"]
)
def test_no_path_leads_out_of_that_of_the_tenant(make: Make, path: str) -> None:
    twin = make(API, tenancy=polvo.Tenancy(path="/t/{tenant}"))
    with polvo.tenant("acme"):
        try:
            url = twin.prepare(path)[0]
        except polvo.ConfigurationError:
            return
    assert url.startswith(API + "/t/acme/")
    assert "%2" not in url.lower()
    assert ".." not in url


def test_a_tenant_may_be_required(make: Make, server: FailureServer) -> None:
    twin = make(server.url, tenancy=polvo.Tenancy(header="X-Tenant", required=True))
    with pytest.raises(polvo.ConfigurationError, match="nothing was sent") as caught:
        twin.get("echo")
    assert isinstance(caught.value, twin.library_error)
    with polvo.tenant("acme"):
        twin.get("echo")
    assert [record.headers["x-tenant"] for record in server.requests] == ["acme"]


def test_tenants_have_circuits_of_their_own(make: Make, server: FailureServer) -> None:
    twin = make(server.url, retry=False, circuit_breaker={"failure_threshold": 1})
    with twin.session.tenant("acme"):
        twin.get("fault/status")
        assert twin.session.circuit("x").state == "open"
    with twin.session.tenant("other"):
        assert twin.session.circuit("x").state == "closed"


def test_the_session_s_credentials_go_to_the_tenant_s_subdomain(make: Make) -> None:
    twin = make(API, tenancy=polvo.Tenancy(subdomain=True))
    twin.session.headers["Authorization"] = "Bearer s3cret"
    with polvo.tenant("acme"):
        assert "Authorization" in twin.prepare("http://acme.api.acme.test/x")[1]
        assert "Authorization" in twin.prepare("x")[1]
        assert "Authorization" not in twin.prepare("http://other.api.acme.test/x")[1]


# Both at once ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[KINDS, KINDS[::-1]], ids=["requests first", "httpx first"])
def pair(request: pytest.FixtureRequest) -> Iterator[Callable[..., tuple[Twin, Twin]]]:
    """A function that makes a session of each kind, which share a store."""
    made: list[Twin] = []

    def make(*args: Any, **keywords: Any) -> tuple[Twin, Twin]:
        store = MemoryStore()
        made.extend(Twin(kind, *args, store=store, **keywords) for kind in request.param)
        return made[0], made[1]

    yield make
    for twin in made:
        twin.close()


Pair = Callable[..., tuple[Twin, Twin]]


def test_a_quota_that_one_has_used_is_seen_by_the_other(pair: Pair, server: FailureServer) -> None:
    one, two = pair(server.url, rate_limit={"max_wait": 1})
    one.get("quota?limit=1&window=3600&dialect=draft-7")
    with pytest.raises(polvo.RateLimitError, match="max_wait"):
        two.get("quota?limit=1&window=3600&dialect=draft-7")
    assert len(server.requests) == 1


def test_a_circuit_that_one_has_opened_is_open_for_the_other(pair: Pair, server: FailureServer) -> None:
    one, two = pair(server.url, retry=False, circuit_breaker={"failure_threshold": 1})
    one.get("fault/status")
    assert two.session.circuit("x").state == "open"
    with pytest.raises(polvo.CircuitOpenError):
        two.get("echo")
    two.session.circuit("x").close()
    assert one.get("echo").status_code == 200


def test_a_key_that_one_has_used_is_known_to_the_other(pair: Pair, server: FailureServer) -> None:
    one, two = pair(server.url, idempotency={"record": True}, auth=("user", "pass"))
    one.post("echo", json={"a": 1}, idempotency_key="order-1")
    assert two.session.operation("echo", "order-1").state == "done"
    with pytest.raises(polvo.IdempotencyConflictError):
        two.post("echo", json={"a": 2}, idempotency_key="order-1")


def test_a_slot_that_one_holds_is_taken_for_the_other(pair: Pair, server: FailureServer) -> None:
    one, two = pair(server.url, bulkhead={"max_concurrency": 1, "acquisition_timeout": 0.05})
    if one.is_async:
        one, two = two, one
    with one.session.get("fault/drip?size=3&interval=0.02", stream=True), pytest.raises(polvo.PoolTimeoutError):
        two.get("echo")
    assert two.get("echo").status_code == 200


def test_a_retry_budget_is_shared(pair: Pair, server: FailureServer) -> None:
    one, two = pair(server.url, circuit_breaker=None, retry=FAST)
    assert len(two.get("fault/status").polvo.attempts) == 3
    while len(one.get("fault/status").polvo.attempts) > 1:
        pass
    assert len(two.get("fault/status").polvo.attempts) == 1  # the other has spent what both had


def test_responses_pass_code_that_looks_at_both() -> None:
    """The report is at the same place; the classes are those of the libraries."""
    with FailureServer() as server, Twin("requests", server.url) as one, Twin("httpx", server.url) as two:
        found = [one.get("echo"), two.get("echo")]
    assert [type(each).__module__.partition(".")[0] for each in found] == ["requests", "httpx"]
    assert isinstance(found[0], requests.Response)
    assert {each.polvo.host for each in found} == {server.url[7:]}
