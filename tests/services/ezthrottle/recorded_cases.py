"""The calls that were recorded of the published client, to be made again with ours.

A case is a function that gets a World, arranges what the server answers, and returns what the call returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from polvo_adapters.services import ezthrottle as ez
from polvo_adapters.services.ezthrottle.webhooks import sign_webhook
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.ezthrottle_server import KEY, EZThrottleServer, Reply, forwarded

X = "https://api.example.com/x"
Step, FRUGAL, UNIQUE = ez.Step, ez.StepType.FRUGAL, ez.IdempotentStrategy.UNIQUE
POLICY = {"max_retries": 5, "max_reroutes": 3, "retry_codes": [429, 503], "reroute_codes": [500, 502, 504]}
NOW = 1_700_000_000.0
SECRET, BODY = "s" * 16, b'{"job_id":"job_1"}'


class World:
    """One client and one stand-in."""

    def __init__(self, server: EZThrottleServer) -> None:
        self.server = server
        self.client = ez.EZThrottle(KEY, server.url, server.url + "/ez", clock=VirtualClock())

    def step(self, url: str = X) -> ez.Step:
        return Step(self.client).url(url)

    def target(self, part: str) -> ez.Step:
        return self.step(f"{self.server.url}/target/{part}").type(FRUGAL)


def _execute(build: Callable[[ez.Step], ez.Step]) -> Callable[[World], Any]:
    return lambda world: build(world.step()).execute()


def _twice(build: Callable[[World], ez.Step]) -> Callable[[World], Any]:
    return lambda world: [build(world).execute(), build(world).execute()]


def _same_twice(world: World) -> Any:
    step = world.step().idempotent_strategy(UNIQUE)
    return [step.execute(), step.execute()]


def _submit(**fields: Any) -> Callable[[World], Any]:
    return lambda world: world.client.submit_job(X, **fields)


def _reply(reply: Reply, call: Callable[[World], Any] | None = None) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        world.server.always = reply
        return world.client.submit_job(X) if call is None else call(world)

    return run


def _error(status: int, body: Any, **headers: str) -> Callable[[World], Any]:
    return _reply(Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


def _legacy(world: World) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return world.client.queue_request(X, "https://w", "POST")


def _frugal(part: str, build: Callable[[ez.Step, World], ez.Step] = lambda step, world: step) -> Callable[[World], Any]:
    return lambda world: build(world.target(part), world).execute()


def _forward(**fields: Any) -> Callable[[World], Any]:
    def run(world: World) -> Any:
        @ez.auto_forward(world.client)
        def call() -> None:
            raise ez.ForwardToEZThrottle(**fields)

        return call()

    return run


def _down(call: Callable[[ez.EZThrottle], Any]) -> Callable[[World], Any]:
    return lambda world: call(ez.EZThrottle(KEY, "http://127.0.0.1:9", clock=VirtualClock()))


def _follow_redirect(world: World) -> Any:
    world.server.script.append(Reply(307, b"", {"Location": world.server.url + "/api/v1/proxy"}))
    return world.client.submit_job(X)


def _child_drops(world: World) -> Any:
    world.server.always = Reply(drop=True)
    return world.target("200").on_success(Step(world.client).url("https://n")).execute()


def _child_is_limited(world: World) -> Any:
    world.server.always = Reply(429, {"error": "slow"})
    return world.target("200").on_success(Step(world.client).url("https://n")).execute()


def _verify(header: str | None, body: bytes = BODY, secret: str = SECRET, now: float = NOW) -> Callable[[World], Any]:
    return lambda world: list(ez.verify_webhook_signature(body, header, secret, now=lambda: now))


def _try(first: str, second: str) -> Callable[[World], Any]:
    return lambda world: list(ez.try_verify_with_secrets(BODY, sign_webhook(BODY, SECRET), first, second))


GOOD = sign_webhook(BODY, SECRET, int(NOW))
MARK = GOOD.partition(",")[2]
SLOW = {"error": "slow"}

CASES: dict[str, Callable[[World], Any]] = {
    "submit_job minimal": _submit(),
    "submit_job all fields": _submit(
        method="POST",
        headers={"A": "b"},
        body='{"amount":1}',
        metadata={"o": "1"},
        webhooks=[
            {"url": "https://w/1", "regions": ["iad"], "has_quorum_vote": True},
        ],
        webhook_quorum=2,
        regions=["iad", "lax"],
        region_policy="strict",
        execution_mode="fanout",
        retry_policy={"max_retries": 5, "max_reroutes": 3, "retry_codes": [429], "reroute_codes": [500]},
        fallback_job={"url": "https://f", "method": "GET", "trigger": {"type": "on_error", "codes": [500]}},
        on_success={"url": "https://s", "method": "GET"},
        on_failure={"url": "https://e", "method": "GET"},
        on_failure_timeout_ms=60000,
        idempotent_key="order-1",
        retry_at=1700000000000,
    ),
    "submit_job body=dict (not a str)": _submit(method="POST", body={"a": 1}),
    "submit_job body='' falsy dropped": _submit(method="POST", body=""),
    "queue_request legacy": _legacy,
    "queue_and_wait timeout=1 (never polls)": lambda world: world.client.queue_and_wait(X, "https://w", timeout=1),
    "request() direct, bypass": lambda world: (
        f"Response: {world.client.request(world.server.url + '/target/200', 'POST', body='x')!r}"
    ),
    "Step quick start": _execute(lambda step: step.method("POST").webhooks([{"url": "https://w"}])),
    "Step default type": _execute(lambda step: step),
    "Step race seed": _execute(
        lambda step: (
            step.regions(["iad", "lax", "ord"])
            .region_policy("fallback")
            .execution_mode("race")
            .webhooks([{"url": "https://w1", "regions": ["iad"]}, {"url": "https://w2", "regions": ["lax"]}])
            .webhook_quorum(2)
        )
    ),
    "Step fanout strict": _execute(lambda step: step.regions(["iad"]).region_policy("strict").execution_mode("fanout")),
    "Step retry_policy seed": _execute(lambda step: step.retry_policy(POLICY)),
    "Step HASH twice": _twice(lambda world: world.step().body('{"a":1}')),
    "Step UNIQUE twice": _twice(lambda world: world.step().idempotent_strategy(UNIQUE)),
    "same Step object UNIQUE executed twice (new uuid each)": _same_twice,
    "Step custom key": _execute(lambda step: step.idempotent_key("order-7")),
    "Step fallback on_error": _execute(
        lambda step: step.fallback(Step().url("https://backup"), trigger_on_error=[500, 502, 503])
    ),
    "Step fallback on_timeout": _execute(
        lambda step: step.fallback(Step().url("https://backup"), trigger_on_timeout=500)
    ),
    "Step fallback no trigger": _execute(lambda step: step.fallback(Step().url("https://backup"))),
    "Step fallback both triggers (timeout dropped)": _execute(
        lambda step: step.fallback(Step().url("https://b"), trigger_on_error=[500], trigger_on_timeout=500)
    ),
    "Step two fallbacks nested": _execute(
        lambda step: step.fallback(Step().url("https://f1"), [500]).fallback(
            Step().url("https://f2"), trigger_on_timeout=500
        )
    ),
    "Step fallback that itself has fallback + second sibling (inner overwritten)": _execute(
        lambda step: step.fallback(Step().url("https://f1").fallback(Step().url("https://inner"))).fallback(
            Step().url("https://f2")
        )
    ),
    "Step on_success/on_failure": _execute(
        lambda step: step.on_success(Step().url("https://ok")).on_failure(Step().url("https://ko"), timeout_ms=5000)
    ),
    "Step on_success child UNIQUE key inside HASH parent": _execute(
        lambda step: step.on_success(Step().url("https://ok").idempotent_strategy(UNIQUE))
    ),
    "Step description not sent": _execute(lambda step: step.description("x").response_description("y")),
    "Step no url": lambda world: Step(world.client).execute(),
    "Step no client": lambda world: Step().url(X).execute(),
    "EZThrottle() with env key only": lambda world: ez.EZThrottle(),
    "FRUGAL 200": _frugal("200"),
    "FRUGAL 201 POST body+headers": _frugal(
        "201", lambda step, world: step.method("POST").headers({"X-A": "1"}).body('{"a":1}')
    ),
    "FRUGAL 404 not in codes": _frugal("404"),
    "FRUGAL 429 default codes -> forward": _frugal("429"),
    "FRUGAL 500 fallback_on_error([429]) -> not forwarded": _frugal(
        "500", lambda step, world: step.fallback_on_error([429])
    ),
    "FRUGAL POST 500 -> forwarded (double execution risk)": _frugal(
        "500", lambda step, world: step.method("POST").body("x")
    ),
    "FRUGAL POST read timeout -> forwarded": _frugal(
        "slow", lambda step, world: step.method("POST").body("x").local_timeout(0.2)
    ),
    "FRUGAL dropped conn -> forwarded": _frugal("drop"),
    "FRUGAL 200 + on_success PERFORMANCE": _frugal(
        "200", lambda step, world: step.on_success(Step(world.client).url("https://n"))
    ),
    "FRUGAL 404 + on_failure (never run?)": _frugal(
        "404", lambda step, world: step.on_failure(Step(world.client).url("https://n"))
    ),
    "FRUGAL 500 fallback FRUGAL 200 (local)": _frugal(
        "500", lambda step, world: step.fallback(world.target("200"), trigger_on_error=[500])
    ),
    "FRUGAL 500 fallback PERFORMANCE (skipped locally, forwarded)": _frugal(
        "500", lambda step, world: step.fallback(Step().url("https://b"), trigger_on_error=[500])
    ),
    "FRUGAL 500 fallback FRUGAL 500 (fallback itself forwards, then primary forwards)": _frugal(
        "500", lambda step, world: step.fallback(world.target("503"), trigger_on_error=[500])
    ),
    "FRUGAL forwarded payload carries on_success of FRUGAL type": _frugal(
        "429", lambda step, world: step.on_success(world.target("200"))
    ),
    "err 401": _error(401, {"error": f"bad key {KEY}"}),
    "err 402": _error(402, {"error": "quota"}),
    "err 403": _error(403, {"error": "no"}),
    "err 429 Retry-After: 7": _error(429, SLOW, Retry_After="7"),
    "err 429 body retry_at": _error(429, {"error": "slow", "retry_at": 1700000000000}),
    "err 429 Retry-After HTTP-date": _error(429, SLOW, Retry_After="Sat, 21 Nov 2026 09:51:09 GMT"),
    "err 429 Retry-After 1.5": _error(429, SLOW, Retry_After="1.5"),
    "err 429 non-JSON": _error(429, b"slow down"),
    "err 500": _error(500, {"error": "x"}),
    "err 503 Retry-After": _error(503, {"error": "x"}, Retry_After="1"),
    "200 denied": _reply(Reply(200, {"status": "denied", "error": "limit"})),
    "200 not json": _reply(Reply(200, b"<html>")),
    "200 allowed no forwarded_response": _reply(Reply(200, {"status": "allowed"})),
    "200 allowed inner 200 duplicate": _reply(forwarded(200, {"job_id": "j1", "status": "queued", "duplicate": True})),
    "200 allowed inner 409 duplicate": _reply(forwarded(409, '{"error":"duplicate"}')),
    "200 allowed inner 429": _reply(forwarded(429, "rate")),
    "200 allowed inner 201 empty body": _reply(forwarded(201, "")),
    "proxy down (conn refused)": _down(lambda client: client.submit_job(X)),
    "redirect 307 from proxy keeps POST": _follow_redirect,
    "create_webhook_secret": lambda world: world.client.create_webhook_secret("p" * 16),
    "create_webhook_secret + secondary": lambda world: world.client.create_webhook_secret("p" * 16, "s" * 16),
    "create_webhook_secret short": lambda world: world.client.create_webhook_secret("short"),
    "create_webhook_secret inner 400 (not checked)": _reply(
        forwarded(400, {"error": "bad"}), call=lambda world: world.client.create_webhook_secret("p" * 16)
    ),
    "get_webhook_secret": lambda world: world.client.get_webhook_secret(),
    "get_webhook_secret inner 404": _reply(
        forwarded(404, {"error": "none"}), call=lambda world: world.client.get_webhook_secret()
    ),
    "delete_webhook_secret": lambda world: world.client.delete_webhook_secret(),
    "rotate_webhook_secret (masked: drops the old secret)": lambda world: world.client.rotate_webhook_secret("n" * 16),
    "webhook secrets 429": _reply(Reply(429, SLOW), call=lambda world: world.client.get_webhook_secret()),
    "auto_forward with key": _forward(
        url=X,
        method="POST",
        headers={"A": "b"},
        body="{}",
        idempotent_key="order_1",
        metadata={"o": 1},
        webhooks=[{"url": "https://w"}],
        regions=["iad"],
    ),
    "auto_forward no key -> uuid4": _forward(url=X),
    "auto_forward no url": _forward(),
    "forward_or_fallback ok": lambda world: world.client.forward_or_fallback(lambda: "fb", X),
    "forward_or_fallback 503": _reply(
        Reply(503, {}), call=lambda world: world.client.forward_or_fallback(lambda: "fb", X)
    ),
    "forward_or_fallback down": _down(lambda client: client.forward_or_fallback(lambda: "fb", X)),
    "forward_or_fallback dropped after send (job may exist; fallback runs too)": _reply(
        Reply(drop=True), call=lambda world: world.client.forward_or_fallback(lambda: "fb", X)
    ),
    "sig valid": _verify(GOOD),
    "sig expired 301s": _verify(GOOD, now=NOW + 302),
    "sig future 200s accepted (abs)": _verify(GOOD, now=NOW - 200),
    "sig no header": _verify(None),
    "sig no v1": _verify(f"t={int(NOW)}"),
    "sig no t": _verify(MARK),
    "sig mismatch": _verify(GOOD, b"other"),
    "sig spaces after comma": _verify(GOOD.replace(",", ", ")),
    "sig two v1 (last wins)": _verify(GOOD + ",v1=00"),
    "sig non-utf8 body": _verify(sign_webhook(b"\xff", SECRET, int(NOW)), b"\xff"),
    "sig non-int t": _verify(f"t=abc,{MARK}"),
    "sig empty secret accepted": _verify(GOOD, secret=""),
    "sig strict raises": lambda world: ez.verify_webhook_signature_strict(BODY, None, SECRET),
    "sig try secondary": _try("x" * 16, SECRET),
    "sig try both fail": _try("x" * 16, "y" * 16),
    "FRUGAL 200 + on_success child whose submit is dropped (primary forwarded although it succeeded?)": _child_drops,
    "FRUGAL 200 + on_success child whose submit is 429 (result lost?)": _child_is_limited,
}
"""By the names that they have in the recording."""

UNREPEATED = {
    "defaults": "looks at attributes, and sends nothing",
    "vars(client) hold key in clear; repr": "looks at attributes, and sends nothing",
    "sig replay same header twice accepted": "the replay memory is an object of its own here, see test_webhooks",
    "webhook server url": "there is no built-in webhook server: it verified nothing",
    "webhook receiver accepts UNSIGNED post": "there is no built-in webhook server: it verified nothing",
    "webhook receiver non-json": "there is no built-in webhook server: it verified nothing",
    "webhook receiver duplicates overwrite, results unbounded": "there is no built-in webhook server",
    "Step with webhook_server adds localhost webhook": "there is no built-in webhook server",
    "Step webhooks list mutated by webhook_server": "there is no built-in webhook server",
}
"""Rows of the recording that are not repeated, and why."""
