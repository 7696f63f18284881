"""503 with the page of a proxy, which has one page for its limit and for a service that is down."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.errors import CircuitOpenError
from polvo_adapters.headers.quota import Throttled
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, TokenBucket
from polvo_adapters.policies.ratelimit.turns import TurnRequest, TurnResult
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.limiters import TokenBucketLimiter
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import PolicyTransport

URL = "https://api.example.com/items"
_NGINX = (
    b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n"
    b"<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n<hr><center>%s</center>\r\n</body>\r\n"
    b"</html>\r\n"
)
NGINX = _NGINX % b"nginx/1.31.3"
HAPROXY = (
    b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
)
PADDING = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6


@pytest.mark.parametrize(
    ("status", "body", "in_doubt"),
    [
        (503, NGINX, True),
        (503, _NGINX % b"nginx", True),
        (503, NGINX + PADDING, True),
        (503, _NGINX % b"openresty/1.25.3.1", True),
        (503, _NGINX % b"Tengine", True),
        (503, HAPROXY, True),
        (500, NGINX, False),
        (502, _NGINX % b"nginx", False),
        (504, NGINX, False),
        (200, NGINX, False),
        (503, b"<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>", False),  # AWS: no target
        (503, b"no healthy upstream", False),
        (503, b'{"message": "the nginx in front is fine"}', False),
        (503, b"", False),
        (503, None, False),
    ],
)
def test_what_is_in_doubt(status: int, body: bytes | None, in_doubt: bool) -> None:
    verdict = verdict_of(Call("GET", URL), Outcome("response", status, {}, body=body))
    assert verdict.in_doubt == in_doubt
    assert not verdict.is_refusal


def test_a_proxy_that_says_when_to_come_again_leaves_no_doubt() -> None:
    verdict = verdict_of(Call("GET", URL), Outcome("response", 503, {"retry-after": "3"}, body=NGINX))
    assert (verdict.kind, verdict.in_doubt, verdict.retry_after) == ("unavailable", False, 3.0)


class Proxy:
    """A proxy that lets 20 requests a second through, 5 more at once, to a service that may be down."""

    def __init__(self, *policies: Any, rate: float = 20.0, page: bytes = NGINX) -> None:
        self.clock, self.page, self.is_up = VirtualClock(), page, True
        self.limiter = TokenBucketLimiter(6, 6 / rate)
        self.statuses: list[int] = []
        inner = httpx.MockTransport(self._handle)
        self.client = httpx.Client(transport=PolicyTransport(*policies, inner=inner, clock=self.clock))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        accepted = self.is_up and self.limiter.take(self.clock.now()).allowed
        self.statuses.append(200 if accepted else 503)
        return httpx.Response(200, json={}) if accepted else httpx.Response(503, content=self.page)

    def call(self, count: int = 1, every: float = 0.01) -> list[int | str]:
        """Make calls one after the other, and return their statuses, or the names of their errors."""
        seen: list[int | str] = []
        for _ in range(count):
            self.clock.advance(every)
            try:
                seen.append(self.client.get(URL).status_code)
            except CircuitOpenError as error:
                seen.append(type(error).__name__)
        return seen


RETRY = ExponentialBackoff(base=0.25, jitter="none")


@pytest.mark.parametrize("page", [NGINX, HAPROXY])
def test_a_limit_is_found_and_opens_no_circuit(page: bytes) -> None:
    proxy = Proxy(RETRY, CircuitBreaker(), AdaptiveRateLimit(), page=page)
    assert proxy.call(400) == [200] * 400
    assert proxy.statuses[100:].count(503) <= 0.05 * len(proxy.statuses[100:])
    assert proxy.clock.now() <= 400 / 20 * 1.15


@pytest.mark.parametrize(
    "breaker",
    [CircuitBreaker(), CircuitBreaker(failure_rate=0.5, window=10), CircuitBreaker(failure_rate=0.5, window_calls=20)],
    ids=["in a row", "seconds", "calls"],
)
def test_a_breaker_alone_does_not_take_a_limit_for_an_outage(breaker: CircuitBreaker) -> None:
    seen = Proxy(breaker).call(2000)  # 100 a second where 20 are let through
    assert set(seen) == {200, 503}
    assert 400 <= seen.count(200) <= 410


def test_a_service_that_is_down_opens_the_circuit() -> None:
    proxy = Proxy(CircuitBreaker())
    assert proxy.call(100, every=0.1) == [200] * 100
    proxy.is_up = False
    seen = proxy.call(100, every=0.1)
    assert seen[:50] == [503] * 50
    assert seen.index("CircuitOpenError") == pytest.approx(56, abs=1)  # five seconds, and five failures in a row
    assert set(seen[57:]) == {"CircuitOpenError"}


def test_a_success_ends_the_doubt() -> None:
    proxy = Proxy(CircuitBreaker(), rate=1000)
    for _ in range(10):
        proxy.is_up = False
        assert proxy.call(9, every=0.5) == [503] * 9
        proxy.is_up = True
        assert proxy.call() == [200]


@pytest.mark.parametrize("silence", [20.0, 60.0, 3600.0])
def test_a_silence_is_no_outage(silence: float) -> None:
    proxy = Proxy(CircuitBreaker(recovery_timeout=1.0))
    proxy.is_up = False
    for _ in range(5):  # of each burst of calls the refusals come back first
        proxy.clock.advance(silence)
        assert proxy.call(30) == [503] * 30


def test_doubt_lasts_as_long_as_calls_are_made() -> None:
    proxy = Proxy(CircuitBreaker())
    proxy.is_up = False
    assert "CircuitOpenError" in proxy.call(8, every=25.0)


@pytest.mark.parametrize("seconds", [60.0, 3600.0])
def test_what_is_in_doubt_ends_no_pause_that_the_server_has_named(seconds: float) -> None:
    limit, now = AdaptiveRateLimit(), 100.0
    state, asked = limit.initial, TurnRequest("/", -1, 0, 1e9, None)
    turns = []
    for _ in range(2):
        state, turn = limit.transition(state, asked, now)
        turns.append(turn)
    refused = [Throttled("rate", seconds, (), "429"), Throttled("rate", None, (), "503")]
    for each, turn, status in zip(refused, turns, (429, 503), strict=True):
        result = TurnResult("/", turn.group, turn.era, 0.1, status, (), each, in_doubt=status == 503)
        state, _ = limit.transition(state, result, now + 0.1)
    assert limit.transition(state, asked, now + 0.2)[1].wait > 10.0


def test_a_probe_in_doubt_has_failed() -> None:
    proxy = Proxy(CircuitBreaker(failure_threshold=1, recovery_timeout=10))
    proxy.is_up = False
    assert proxy.call(2, every=5.0) == [503, 503]
    assert proxy.call(1) == ["CircuitOpenError"]
    assert proxy.call(2, every=11.0) == [503, "CircuitOpenError"]


@pytest.mark.parametrize("before", [0, 100])
def test_a_rate_limit_does_not_wait_for_a_service_that_is_down(before: int) -> None:
    proxy = Proxy(AdaptiveRateLimit())
    proxy.call(before, every=0.1)
    proxy.is_up = False
    began = proxy.clock.now()
    assert proxy.call(100) == [503] * 100
    assert proxy.clock.now() - began <= (1.01 if not before else 10.0)
    proxy.is_up, began = True, proxy.clock.now()
    assert proxy.call(5) == [200] * 5
    assert proxy.clock.now() - began <= 1.0


def test_a_rate_that_is_configured_is_not_paused_by_what_is_in_doubt() -> None:
    proxy = Proxy(TokenBucket(1000))
    proxy.is_up = False
    assert proxy.call(50) == [503] * 50
    assert proxy.clock.now() == pytest.approx(0.5, abs=0.01)
