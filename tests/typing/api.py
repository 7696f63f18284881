"""Never run, only type-checked: the public API as code that uses it sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import requests
from urllib3.util import Retry

import polvo_adapters as polvo
import polvo_adapters.client as resilient
import polvo_adapters.requests as dropin
from polvo_adapters.client import exceptions as client_errors
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, compose
from polvo_adapters.core.notices import CallEvent
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Report, StateChange
from polvo_adapters.policies.call_listeners import CallListeners
from polvo_adapters.services import double_o, ezthrottle, taruvi
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.simulation.simulation import Script, ScriptedReply, Simulation
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import (
    AsyncPolicyTransport,
    AsyncResilientTransport,
    PolicyTransport,
    ResilientTransport,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type


class Twice:
    """A policy of the user's own."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        yield from proceed(call)
        outcome: Outcome = yield from proceed(call)
        return outcome


def judge(answer: polvo.retry.Answer) -> polvo.retry.Verdict | polvo.headers.Throttled | None:
    """A judge of the user's own."""
    return polvo.headers.Throttled("rate", 5.0) if answer.status == 418 else None


def named(call: Call) -> str:
    """A key of the user's own."""
    return call.host


def told(change: StateChange) -> None:
    """A listener of the user's own."""
    print(change.what, change.before, change.after, change.reason)


def downloading(session: polvo.Session, folder: Path) -> None:
    assert_type(session.download("https://files.example.com/x", folder), Path)
    session.download("x", "x", on_change="fail", progress=lambda size, total: print(size, total), timeout=5)
    session.get("x", stream=True, resume=True)
    with polvo.call(resume=False):
        session.get("x", stream=True)
    polvo.get("https://files.example.com/x", stream=True, resume=True)
    session.mount("https://", polvo.ResilientAdapter(resume=True))
    session.mount("https://", polvo.PolicyAdapter(polvo.resume.Resume(), polvo.retry.ExponentialBackoff()))
    polvo.Session(resume=True)


async def downloading_in_a_task(session: polvo.AsyncSession, folder: Path) -> None:
    assert_type(await session.download("https://files.example.com/x", folder), Path)
    await session.download("x", "x", on_change="fail", progress=lambda size, total: print(size, total), timeout=5)
    async with session.stream("GET", "x", resume=True) as response:
        await response.aread()
    AsyncPolicyTransport(polvo.resume.Resume(), polvo.retry.ExponentialBackoff(), stream=True)
    PolicyTransport(polvo.resume.Resume(), polvo.retry.ExponentialBackoff(), stream=True)
    ResilientTransport(resume=True)
    polvo.AsyncSession(resume=True)


def mounting(session: requests.Session) -> None:
    session.mount("https://", polvo.ResilientAdapter())
    session.mount("https://", polvo.ResilientAdapter(retry=False, deadline=10.0, timeout=(3.05, 27)))
    session.mount("https://", polvo.ResilientAdapter(retry={"max_attempts": 5}, pool_maxsize=50))
    session.mount("https://", polvo.ResilientAdapter(retry=Retry(3)))
    session.mount("https://", polvo.RetryAdapter(max_attempts=5, inner=requests.adapters.HTTPAdapter()))
    session.mount("https://", polvo.RetryAdapter(polvo.retry.ExponentialBackoff(base=1)))
    session.mount(
        "https://", polvo.PolicyAdapter(polvo.deadline.Deadline(5), Twice(), store=polvo.stores.MemoryStore())
    )
    session.mount("https://", polvo.RateLimitAdapter())
    session.mount("https://", polvo.RateLimitAdapter("adaptive", max_wait=5, pool_maxsize=50))
    session.mount("https://", polvo.RateLimitAdapter(polvo.ratelimit.Adaptive(pace="burst", max_wait=5.0)))
    session.mount("https://", polvo.RateLimitAdapter(pace="even", max_wait=300))
    polvo.Session(rate_limit=polvo.ratelimit.AdaptiveRateLimit(pace="even"))
    session.mount("https://", polvo.RateLimitAdapter(polvo.ratelimit.TokenBucket(rate=5, capacity=10)))
    session.mount("https://", polvo.ResilientAdapter(rate_limit=polvo.ratelimit.SlidingWindow(50, window=2)))
    session.mount("https://", polvo.PolicyAdapter(polvo.ratelimit.Adaptive(judge=judge)))
    session.mount("https://", polvo.BreakerAdapter(failure_threshold=3, recovery_timeout=10))
    session.mount("https://", polvo.BreakerAdapter(polvo.breaker.CircuitBreaker(window=30, failure_rate=0.5)))
    session.mount("https://", polvo.BreakerAdapter(polvo.breaker.CircuitBreaker(key=named, listeners=(told,))))
    session.mount("https://", polvo.BulkheadAdapter(20, acquisition_timeout=5))
    session.mount("https://", polvo.BulkheadAdapter("adaptive", max_limit=100))
    session.mount("https://", polvo.BulkheadAdapter(polvo.bulkhead.Bulkhead(20)))
    session.mount("https://", polvo.HedgeAdapter(0.2))
    session.mount("https://", polvo.HedgeAdapter(polvo.hedge.Hedge(percentile=0.9)))
    session.mount("https://", polvo.RegionsAdapter(["https://eu.example.com", "https://us.example.com"]))
    session.mount("https://", polvo.FallbackAdapter("stale"))
    session.mount("https://", polvo.IdempotencyAdapter("hash", record=True))
    session.mount("https://", polvo.IdempotencyAdapter(polvo.idempotency.IdempotencyKeys(lambda request: request.url)))
    session.mount("https://", polvo.ResilientAdapter(idempotency={"style": "structured"}, request_id=True))
    assert_type(polvo.IdempotencyAdapter().operation("https://api.example.com/", "order-1").state, str)
    with polvo.correlated("job-7") as job:
        assert_type(job, str)
    session.mount("https://", polvo.FallbackAdapter(polvo.fallback.Fallback(polvo.fallback.Fixed(json=[]))))
    session.mount("https://", polvo.ResilientAdapter(circuit_breaker=True, bulkhead=20, hedge=True, fallback="stale"))
    adapter = polvo.ResilientAdapter(circuit_breaker={"failure_threshold": 5, "recovery_timeout": 60})
    circuit = adapter.circuit("https://api.example.com/")
    assert_type(circuit.state, str)
    assert_type(circuit.status.retry_after, float | None)
    assert_type(polvo.install(session, rate_limit="adaptive"), requests.Session)
    assert_type(polvo.install(session), requests.Session)
    assert_type(polvo.install(polvo.Session(), Twice(), prefix="https://"), polvo.Session)
    assert_type(polvo.uninstall(session), requests.Session)


async def asynchronous(url: httpx.URL) -> None:
    store = polvo.stores.MemoryStore()
    async with polvo.AsyncSession(
        "https://api.example.com",
        ("user", "pass"),
        timeout=(3, 20),
        tenancy=polvo.Tenancy(header="X-Tenant"),
        store=store,
        raise_for_status=True,
        rate_limit="adaptive",
        retry={"max_attempts": 5},
        deadline=20,
        http2=True,
        limits=httpx.Limits(max_connections=10),
        headers={"X-App": "polvo"},
    ) as session:
        assert_type(session, polvo.AsyncSession)
        assert_type(await session.get("orders", params={"a": "b"}, retry=False), httpx.Response)
        assert_type(await session.post(url, json={"a": 1}, idempotency_key="order-1"), httpx.Response)
        assert_type(await session.request("PUT", "orders", content=b"x", labels={"job": 7}), httpx.Response)
        async with session.stream("GET", "orders", deadline=None) as response:
            assert_type(response, httpx.Response)
        assert_type(await session.send(session.build_request("GET", "orders")), httpx.Response)
        assert_type(session.circuit("orders").state, str)
        assert_type(session.operation("orders", "order-1").state, str)
        with session.tenant("acme"):
            await session.delete("orders/7")
        session.set_tenant(7)
    assert_type(await polvo.aio.get(url, timeout=3), httpx.Response)
    await polvo.aio.aclose()


def faces() -> None:
    assert_type(polvo.get("https://api.example.com/", params={"a": "b"}, timeout=3), requests.Response)
    polvo.close()
    assert_type(polvo.post("https://api.example.com/", json={"a": 1}), requests.Response)
    session = polvo.Session("https://api.example.com", ("user", "pass"), retry=True, timeout=None, deadline=20)
    assert_type(session.get("orders"), requests.Response)
    polvo.Session(rate_limit="adaptive")
    polvo.Session(
        circuit_breaker={"failure_threshold": 5}, bulkhead="adaptive", hedge=0.3, regions=["https://a.example"]
    )
    assert_type(session.circuit("orders").state, str)
    polvo.Session(rate_limit={"pace": "burst"})
    polvo.Session(rate_limit=polvo.ratelimit.TokenBucket(5), retry=None)
    assert_type(dropin.get("https://api.example.com/"), requests.Response)
    assert_type(dropin.session(), dropin.Session)
    assert_type(dropin.adapters.HTTPAdapter(), requests.adapters.HTTPAdapter)
    with dropin.Session() as dropped:
        assert_type(dropped.get("https://api.example.com/"), requests.Response)


@polvo.tenant("acme")
def decorated(number: int) -> str:
    """A function of the user's own."""
    return str(number)


def tenants(session: polvo.Session) -> None:
    tenancy = polvo.Tenancy(header="X-Tenant-ID", path="/t/{tenant}", required=True)
    polvo.Session("https://api.example.com", tenancy=tenancy)
    polvo.Session(tenancy=polvo.Tenancy(subdomain=True))
    polvo.Session(tenancy=polvo.Tenancy(host="{tenant}.example.com"))
    session.set_tenant(7)
    session.set_tenant(None)
    with session.tenant("acme") as name, polvo.tenant(7):
        assert_type(name, str)
        assert_type(polvo.current_tenant(), str)
    assert_type(decorated(1), str)


@polvo.call(retry=False, timeout=(3.05, 27))
def said(number: int) -> str:
    """A function of the user's own."""
    return str(number)


def is_busy(answer: polvo.retry.Answer) -> bool | None:
    """A predicate of the user's own."""
    return answer.json() == {"error": "busy"} or None


def heard(event: CallEvent) -> None:
    """A listener of the user's own."""
    print(event.event, event.part, event.seconds, dict(event.labels))


def single_calls(session: polvo.Session) -> None:
    with polvo.call(retry=False, deadline=None, timeout=None, idempotent=True, hedge=False, rate_limit=False):
        assert_type(session.get("orders").status_code, int)
    with polvo.call(retry=5, retry_if=is_busy, deadline=5, labels={"job": "nightly", "shard": 7}, listeners=[heard]):
        session.get("orders")
    with polvo.call(idempotency_key="order-17", fallback="stale", circuit_breaker=False, bulkhead=False, regions=False):
        session.post("orders", json={})
    assert_type(said(1), str)
    polvo.call(max_attempts=1)  # type: ignore[call-arg]
    assert_type(session.get("orders", {"page": "2"}, retry={"max_attempts": 5}, timeout=3), requests.Response)
    session.post("orders", b"", {}, idempotent=True, idempotency_key="order-17", labels={"job": "nightly"})
    session.put("orders", b"", json={}, deadline=5)
    session.patch("orders", data=b"", hedge=0.5)
    session.delete("orders", fallback=False, rate_limit=False)
    session.head("orders", retry=False, allow_redirects=True)
    session.options("orders", circuit_breaker=False)
    session.get("orders", max_attempts=1)  # type: ignore[call-arg]
    session.mount("https://", polvo.ResilientAdapter(listeners=[heard], retry={"retry_if": is_busy}))
    session.mount("https://", polvo.RetryAdapter(retry_if=is_busy))
    httpx.Client(transport=PolicyTransport(CallListeners([heard]), polvo.retry.ExponentialBackoff(retry_if=is_busy)))


def credentials() -> None:
    oauth = polvo.auth.OAuth2(
        flow="client_credentials",
        client_id="app",
        client_secret=lambda: "secret",
        token_url="https://login.example.com/token",
        token_cache=polvo.stores.SQLiteStore("state.db"),
        encryption_key=["new", b"old"],
        scope=["read", "write"],
        listeners=[print],
        fetch=lambda last: {"access_token": "token" if last is None else last.access_token},
    )
    assert_type(polvo.auth.oauth2(client_id="app", token_url="https://login.example.com/token"), polvo.auth.OAuth2)
    polvo.Session(auth=oauth)
    requests.get("https://api.example.com/", auth=oauth, timeout=5)
    httpx.AsyncClient(auth=oauth.httpx())
    assert_type(oauth.token(), polvo.auth.Token)
    assert_type(oauth.token().expires_in, float | None)
    assert_type(oauth.introspect(), dict[str, Any])
    request = oauth.authorization_request("http://127.0.0.1/callback", prompt="consent")
    assert_type(oauth.complete("http://127.0.0.1/callback?code=1", request), polvo.auth.Token)
    oauth.login(lambda login: print(login.user_code))
    assert_type(polvo.auth.OAuth2.for_vendor("zoom", client_id="app", account_id="acc-1"), polvo.auth.OAuth2)
    polvo.auth.OAuth2.for_vendor("github_app", client_id="app", private_key=b"pem", installation_id=4711, timeout=5.0)
    polvo.auth.OAuth2.for_vendor("zoho", client_id="app", region=1)  # type: ignore[arg-type]
    revocation = polvo.auth.RevocationEndpoint("https://login.example.com/revoke", encoding="json", method="DELETE")
    polvo.auth.OAuth2(client_id="app", token_url="https://login.example.com/token", revocation_url=revocation)
    polvo.auth.jwt_login("https://api.example.com/login", "ada", lambda: "secret", token_cache="t")
    polvo.auth.TokenCache("tokens.json").set_aside("reason")
    polvo.auth.TokenCache("tokens.json", elapsed=lambda: 1.0, check_files=False)
    polvo.stores.SQLiteStore("state.db", elapsed=lambda: 1.0, check_files=False)
    refusal = polvo.auth.CredentialRefusal(200, fields={"error": ("token_expired", 190)}, headers={"X": "y"}, text="z")
    polvo.auth.jwt_login("https://api.example.com/login", "ada", "secret", header="X-Token", scheme="", refused=refusal)
    polvo.auth.OAuth2(client_id="app", issuer="https://a.example.com", refused=[403, "slack", refusal, refuses])
    polvo.auth.OAuth2(client_id="app", issuer="https://a.example.com", refused=refuses)
    polvo.auth.OAuth2(client_id="app", issuer="https://a.example.com", refused=(401, 403))
    assert_type(polvo.auth.bearer("token"), polvo.auth.Bearer)
    assert_type(polvo.auth.signed(polvo.auth.bearer("token")), polvo.auth.SigningAuth)
    assert_type(polvo.auth.api_key("key", header="X-Key"), polvo.auth.APIKey)
    assert_type(polvo.auth.session_token("token"), polvo.auth.SessionToken)


def refuses(answer: polvo.retry.Answer) -> bool:
    return answer.status == 200 and answer.json() == {"error": "token_expired"}


def secrets() -> None:
    secret = polvo.Secret("vault://secret/data/app#password", ttl=60, stale_if_error=600)
    assert_type(secret.get(), str)
    assert_type(secret(), str)
    assert_type(secret.overdue, bool)
    vault = polvo.secrets.Vault("https://vault.example.com", role_id="app", secret_id=secret)
    polvo.Secret(polvo.secrets.first_of(vault, "env://PASSWORD", lambda: "last"), "secret/data/app", field="password")
    assert_type(polvo.secrets.fetch_all({"a": secret, "b": "env://B"}), dict[str, str])
    assert_type(polvo.auth.bearer(secret), polvo.auth.SecretAuth)
    assert_type(polvo.auth.api_key(secret, query="key"), polvo.auth.SecretAuth)
    assert_type(polvo.auth.session_token(secret), polvo.auth.SecretAuth)
    assert_type(polvo.auth.secret("env://KEY", header="X-Key"), polvo.auth.SecretAuth)
    polvo.auth.basic("ada", secret, refused=403)
    polvo.auth.api_key(secret, refused={401, 403})
    httpx.AsyncClient(auth=polvo.auth.bearer(secret, refused="slack").httpx())
    for auth in (polvo.auth.bearer("token"), polvo.auth.api_key("key", query="key"), polvo.auth.session_token("token")):
        httpx.Client(auth=auth.httpx())
    httpx.Client(auth=polvo.auth.signed(lambda request: request).httpx())
    polvo.auth.OAuth2(token_url="https://login.example.com/token", client_id="app", client_secret=secret)


def services() -> None:
    with double_o.Client("http://localhost:3001", timeout=60, retries=3, backoff_factor=0.5, bulkhead=5) as client:
        assert_type(client, double_o.Client)
        assert_type(client.get_env("token", cache_ttl=300), dict[str, Any])
        assert_type(client.load_env("token"), dict[str, str])
        assert_type(client.export_env("token", ".env", overwrite=False), dict[str, str])
        assert_type(client.health(), bool)
        client.proxy("v1/models", "token", "GET", headers={"X-Trace": "1"}, params={"limit": 5})
    try:
        double_o.get_secret("token", base_url="http://localhost:3001", cache_ttl=300)
        double_o.chat("token", [{"role": "user", "content": "Hello!"}], temperature=0.1)
    except double_o.SecretError as error:
        assert_type(error.status_code, int | None)
        assert_type(error.retry_after, float | None)
    double_o.invalidate_cache()
    taruvi_client = taruvi.Client("https://api.taruvi.cloud", "my-app", timeout=60, rate_limit="adaptive")
    assert_type(taruvi_client, taruvi.SyncClient)
    with taruvi_client.auth.signInWithPassword(username="alice@example.com", password="secret123") as signed:
        assert_type(signed, taruvi.SyncClient)
        assert_type(signed.functions.execute("f", {"a": 1}, is_async=True, timeout=120), dict[str, Any])
        query = signed.database.query("users").filter("age", "gte", 18).sort("name", "desc").populate("team")
        assert_type(query.page_size(20).get(), list[dict[str, Any]])
        assert_type(query.count(), int)
        assert_type(signed.storage.from_("images").filter("mimetype", "contains", "image/").download("a.jpg"), bytes)
        assert_type(signed.secrets.get_secrets(["A", "B"]), dict[str, dict[str, Any]])
        assert_type(signed.auth.verify_token("token"), bool)
        assert_type(signed.auth.signOut(), taruvi.SyncClient)
        assert_type(signed.users.list(is_active=True), dict[str, Any])
        assert_type(signed.users.create({"username": "bob"}), dict[str, Any])
        assert_type(signed.users.get_user_apps("bob"), list[Any])
        assert_type(signed.secrets.get("A", tags={"production"}), dict[str, Any])
        assert_type(signed.database.delete("users", record_ids=[1, "2"]), dict[str, Any] | None)
        assert_type(signed.policy.check_resources([{"kind": "d", "id": 1}], ["view"]), dict[str, Any])


async def asynchronous_services() -> None:
    client = taruvi.Client("https://api.taruvi.cloud", "my-app", mode="async", wire="2026-01")
    assert_type(client, taruvi.AsyncClient)
    assert_type(await client.auth.signInWithPassword("alice@example.com", "secret123"), taruvi.AsyncClient)
    async with client.auth.signInWithToken("key", token_type="api_key") as signed:
        assert_type(await signed.functions.execute("f", {"a": 1}), dict[str, Any])
        assert_type(await signed.database.query("users").filter("age", "gte", 18).get(), list[dict[str, Any]])
        assert_type(await signed.policy.filter_allowed([{"kind": "d", "id": 1}], ["view"]), list[dict[str, Any]])
        assert_type(await signed.users.delete_user("bob"), None)


def jobs(job_id: str) -> None:
    engine = ezthrottle.LocalEngine(
        "jobs", regions={"iad": "https://iad.example.com"}, workers=4, rate_limit="adaptive"
    )
    client = ezthrottle.EZThrottle(engine=engine, circuit_breaker=True)
    step = ezthrottle.Step(client).url("https://api.example.com/").method("POST").type(ezthrottle.StepType.FRUGAL)
    step.webhooks([{"url": "https://app.example.com/"}]).webhook_quorum(1).regions(["iad"]).execution_mode("race")
    step.idempotent_strategy(ezthrottle.IdempotentStrategy.UNIQUE).fallback(step, [500], 100).on_success(step)
    result = step.execute()
    assert_type(result, ezthrottle.JobResult)
    assert_type(result.wait(timeout=5), ezthrottle.JobResult)
    assert_type(result.status(), ezthrottle.JobResult)
    assert_type(engine.resolve(job_id, done=True), dict[str, Any])
    assert_type(engine.drain(5), bool)
    assert_type(client.find_job(job_id), ezthrottle.JobResult)
    own: ezthrottle.Engine = engine
    assert_type(own.cancel(job_id), bool)
    own = ezthrottle.HostedEngine("key")
    assert_type(client.request("https://api.example.com/"), requests.Response)
    assert_type(client.forward_or_fallback(lambda: 7, "https://api.example.com/"), ezthrottle.JobResult | int)

    @ezthrottle.auto_forward(client)
    def call(number: int) -> str:
        raise ezthrottle.ForwardToEZThrottle(url="https://api.example.com/")

    assert_type(call(7), str | ezthrottle.JobResult)
    receiver = ezthrottle.WebhookReceiver(["new", "old"], replays=ezthrottle.ReplayMemory())
    try:
        assert_type(receiver.receive(b"{}", ezthrottle.sign_webhook(b"{}", "new")), dict[str, Any])
    except ezthrottle.WebhookVerificationError as error:
        assert_type(error.reason, str | None)
    except ezthrottle.EZThrottleError as error:
        assert_type((error.retry_at, error.status_code), tuple[int | None, int | None])
    assert_type(ezthrottle.verify_webhook_signature(b"", None, "secret"), tuple[bool, str])


async def awaits_secrets(secret: polvo.Secret) -> None:
    assert_type(await secret.aget(), str)
    async with double_o.AsyncClient("http://localhost:3001", timeout=60, retries=3, rate_limit="adaptive") as client:
        assert_type(client, double_o.AsyncClient)
        assert_type(await client.get_env("token", cache_ttl=300), dict[str, Any])
        await client.proxy("v1/chat/completions", token="token", payload={"model": "gpt-4o-mini"})
        assert_type(await client.health(), bool)


def errors() -> None:
    try:
        polvo.get("https://api.example.com/")
    except polvo.RateLimitError as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.status_code, int | None)
    except polvo.CircuitOpenError as error:
        assert_type(error.circuit, str)
    except polvo.TokenRefreshError as error:
        assert_type(error.reason, str | None)
        assert_type(error.final, bool)
    except polvo.SecretError as error:
        assert_type((error.provider, error.name, error.final), tuple[str, str, bool])
    except polvo.PolvoError as error:
        assert_type(error.attempts, int)


def reports(report: Report) -> None:
    assert_type(report.waited, float)
    assert_type([attempt.status for attempt in report.attempts], list[int])
    assert_type([wait.reason for wait in report.waits], list[str])
    assert_type(report.queued, float)
    assert_type([quota.remaining for quota in report.quotas], list[float | None])


def headers(response: requests.Response) -> None:
    assert_type(polvo.headers.retry_after(response.headers, now=0.0), float | None)
    assert_type(polvo.headers.parse(response.headers, response.status_code, now=0.0), list[polvo.headers.Quota])
    assert_type(polvo.headers.parse_body(response.content, response.status_code), list[polvo.headers.Quota])
    refused = polvo.headers.throttled(response.headers, response.status_code, response.content, now=0.0)
    assert_type(refused, polvo.headers.Throttled | None)
    assert_type(polvo.headers.Quota(limit=5).reset, float | None)
    polvo.headers.register(polvo.headers.Dialect("acme", remaining="X-Calls-Left", windows=(60.0,), source="acme"))
    polvo.ratelimit.AdaptiveRateLimit(key=("/search", "/v1/orders"))
    polvo.ratelimit.TokenBucket(5, key=lambda call: call.method)


def transports() -> None:
    httpx.Client(transport=PolicyTransport(Twice(), polvo.retry.ExponentialBackoff(budget=None)))
    httpx.AsyncClient(transport=AsyncPolicyTransport(polvo.deadline.Deadline(5), http2=True))
    httpx.AsyncClient(transport=AsyncPolicyTransport(polvo.ratelimit.Adaptive()))
    httpx.Client(transport=ResilientTransport(deadline=5, rate_limit="adaptive", http2=True, stream=True))
    httpx.AsyncClient(transport=AsyncResilientTransport(retry={"base": 0.1}, limits=httpx.Limits(max_connections=5)))
    assert_type(polvo.install(httpx.Client(), deadline=5), httpx.Client)
    assert_type(polvo.install(httpx.AsyncClient(), prefix="all://*.example.com"), httpx.AsyncClient)
    assert_type(polvo.uninstall(httpx.AsyncClient()), httpx.AsyncClient)


def simulation() -> None:
    run = Simulation(Script([ScriptedReply(200)]), seed=1)
    call = run.call(compose([Twice()]))
    assert_type(call.outcome, Outcome | None)
    polvo.Session(clock=VirtualClock())


def testing() -> None:
    with FailureServer(port=0) as server:
        assert_type(server.url, str)


async def with_the_resilient_client(environ: dict[str, str]) -> None:
    config = resilient.ClientConfig(
        base_url="https://api.example.com",
        timeout=resilient.TimeoutConfig(connect=60.0, read=15.0),
        retry=resilient.RetryConfig(max_attempts=5, jitter=True, retry_non_idempotent=False),
        circuit_breaker=resilient.CircuitBreakerConfig(failure_threshold=5, recovery_timeout=30),
        bulkhead=resilient.BulkheadConfig(max_concurrency=50),
        logging=resilient.LoggingConfig(level="INFO", logger_name="my_client"),
        verify_ssl=True,
    )
    assert_type(config.retry.max_attempts, int)
    assert_type(resilient.ClientConfig.from_env("API_", environ), resilient.ClientConfig)
    resilient.ClientConfig(base_url="x", retrie=None)  # type: ignore[call-arg]
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    async with resilient.create_resilient_client(config, transport=transport) as client:
        assert_type(client, resilient.ResilientClient)
        assert_type(await client.get("/a", params={"q": 1}), httpx.Response)
        assert_type(await client.request("POST", "/a", json={}, request_id="mine"), httpx.Response)
        call = client.delete("/a")
        assert_type(call, resilient.PendingCall[httpx.Response])
        assert_type(call.done(), bool)
        assert_type(await asyncio.create_task(client.put("/a")), httpx.Response)
        assert_type(await asyncio.gather(client.get("/a"), client.head("/b")), tuple[httpx.Response, httpx.Response])
    async with resilient.ResilientClient(config) as again:
        try:
            await again.patch("/a")
        except client_errors.APIConnectionError as error:
            assert_type(error.response, httpx.Response | None)
            assert_type(error.request, httpx.Request | None)
            assert_type(error.status_code, int | None)
            assert_type(error.retry_after, float | None)
            assert_type(error.polvo, Report | None)
        await again._ensure_initialized()
        await again.close()
