"""What is watched below urllib3, and which pool serves a request: remembered, and never wrongly."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from requests import adapters
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.shells.requests.wire.pools import AdapterView
from polvo_adapters.shells.requests.wire.responses import DeadlineReader
from polvo_adapters.shells.requests.wire.route import Route
from polvo_adapters.shells.requests.wire.transmission import Transmission
from polvo_adapters.testing.virtual_clock import VirtualClock

URL = "https://api.example.com/orders?page=1"


def prepared(url: str = URL) -> requests.PreparedRequest:
    return requests.Request("GET", url).prepare()


def view(adapter: HTTPAdapter) -> AdapterView:
    above = PolicyAdapter if isinstance(adapter, PolicyAdapter) else None
    return Route(adapter, above).bind(adapter, Transmission(SYSTEM, 0.0)).__self__


@pytest.fixture(params=[HTTPAdapter, ResilientAdapter])
def adapter(request: pytest.FixtureRequest) -> Any:
    return view(request.param())


def pool(adapter: Any, url: str = URL, verify: Any = True, proxies: Any = None, cert: Any = None) -> Any:
    """Return the pool below the view that serves a request."""
    return adapter.get_connection_with_tls_context(prepared(url), verify, proxies=proxies, cert=cert)._pool


def test_it_is_the_pool_that_requests_would_take(adapter: Any) -> None:
    known = [pool(adapter) for _ in range(2)]
    assert known[0] is known[1]
    asked = HTTPAdapter.get_connection_with_tls_context(adapter, prepared(), True)
    assert known[0] is asked


def test_it_is_looked_up_once(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pool(adapter)
    monkeypatch.setitem(adapter.poolmanager.key_fn_by_scheme, "https", None)
    assert pool(adapter, URL + "&other=2") is first


@pytest.mark.parametrize(
    "other",
    [
        {"url": "https://api.example.com:8443/"},
        {"url": "http://api.example.com/"},
        {"url": "https://other.example.com/"},
        {"verify": False},
        {"verify": "/a/bundle.pem"},
        {"cert": "/a/cert.pem"},
        {"cert": ("/a/cert.pem", "/a/key.pem")},
        {"proxies": {"https": "http://127.0.0.1:3128"}},
    ],
)
def test_what_differs_has_a_pool_of_its_own(adapter: Any, other: dict[str, Any]) -> None:
    first = pool(adapter)
    assert pool(adapter, **other) is not first
    assert pool(adapter) is first


def test_credentials_in_the_url_make_no_difference(adapter: Any) -> None:
    assert pool(adapter, "https://user:secret@API.example.com:443/x") is pool(adapter)


def test_a_pool_that_is_gone_is_made_again(adapter: Any) -> None:
    first = pool(adapter)
    adapter.poolmanager.clear()
    second = pool(adapter)
    assert second is not first
    assert pool(adapter) is second


def test_a_manager_with_new_settings_makes_other_pools(adapter: Any) -> None:
    first = pool(adapter)
    adapter.poolmanager.connection_pool_kw["assert_hostname"] = "other.example.com"
    second = pool(adapter)
    assert second is not first
    assert second.assert_hostname == "other.example.com"
    assert pool(adapter) is second


def test_a_pool_in_use_is_not_the_one_that_goes(adapter: Any) -> None:
    first = pool(adapter)
    for number in range(30):
        pool(adapter, f"https://host-{number}.example.com/")
        assert pool(adapter) is first
    assert len(adapter.poolmanager.pools) == 10


def test_looking_is_not_using(adapter: Any) -> None:
    """The pool unused for longest goes, as urllib3 has it, whatever was looked up meanwhile."""
    pools = [pool(adapter, f"https://host-{number}.example.com/") for number in range(10)]
    pool(adapter, "https://host-0.example.com/")
    pool(adapter, "https://one-more.example.com/")
    left = [adapter.poolmanager.pools[key] for key in adapter.poolmanager.pools.keys()]  # noqa: SIM118
    assert [number for number, each in enumerate(pools) if each not in left] == [1]


def test_a_thousand_origins_are_not_all_remembered(adapter: Any) -> None:
    for number in range(1000):
        pool(adapter, f"https://host-{number}.example.com/")
    assert len(adapter._known_pools._keys) <= 256


def test_an_adapter_with_a_way_of_its_own_is_asked_every_time() -> None:
    adapter = view(Telling())
    pools = {id(pool(adapter)) for _ in range(3)}
    assert len(pools) == 1
    Telling.timeout = 7
    try:
        assert id(pool(adapter)) not in pools
    finally:
        Telling.timeout = 5


class Telling(ResilientAdapter):
    """Tells pools apart by a setting of its own."""

    timeout = 5

    def build_connection_pool_key_attributes(self, *args: Any, **keywords: Any) -> Any:
        host, settings = super().build_connection_pool_key_attributes(*args, **keywords)
        return host, {**settings, "timeout": Telling.timeout}


def test_what_requests_refuses_is_refused_alike(adapter: Any) -> None:
    for url in ("http://", "https://api.example.com:port/"):
        request = prepared()
        request.url = url
        for proxies in (None, {}):
            with pytest.raises(Exception) as ours:  # noqa: PT011 - whichever it is
                adapter.get_connection_with_tls_context(request, True, proxies=proxies, cert=None)
            with pytest.raises(Exception) as theirs:  # noqa: PT011 - whichever it is
                HTTPAdapter().get_connection_with_tls_context(request, True)
            assert type(ours.value) is type(theirs.value)


@pytest.mark.parametrize("proxies", [None, {}, {"http": "http://proxy:3128"}, {"http": "socks5://proxy"}])
@pytest.mark.parametrize(
    "url", [URL, "http://a.example", "http://u:p@a.example/b?c#d", "http://a.example//b/c", "mock:"]
)
def test_the_target_is_that_of_requests(adapter: Any, url: str, proxies: Any) -> None:
    request = prepared(url)
    assert adapter.request_url(request, proxies) == HTTPAdapter().request_url(request, proxies)


def test_no_proxy_is_looked_for_where_there_is_none(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "select_proxy", None)
    assert adapter.request_url(prepared(), {}) == "/orders?page=1"


def test_a_target_of_ones_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absolute(HTTPAdapter):
        def request_url(self, request: Any, proxies: Any) -> str:
            return str(request.url)

    assert view(Absolute()).request_url(prepared(), {}) == URL
    monkeypatch.setattr(HTTPAdapter, "request_url", Absolute.request_url)
    assert view(HTTPAdapter()).request_url(prepared(), {}) == URL


class Socket:
    """Keeps the timeouts that it is given."""

    def __init__(self, timeout: float | None) -> None:
        self.timeouts = [timeout]

    def gettimeout(self) -> float | None:
        return self.timeouts[-1]

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)


@pytest.mark.parametrize(("patience", "timeouts"), [(30.0, [30.0, 6.0, 30.0]), (None, [None, 6.0, None]), (2.0, [2.0])])
def test_a_read_waits_no_longer_than_what_is_left(patience: Any, timeouts: Any, clock: VirtualClock) -> None:
    sock = Socket(patience)
    file = io.BufferedReader(io.BytesIO(b"abc"))
    reader = DeadlineReader(file, sock, None, Transmission(clock, 0.0, 10.0))
    clock.advance(4.0)
    buffer = bytearray(8)
    assert reader.readinto(buffer) == 3
    assert sock.timeouts == timeouts


def test_a_read_past_the_deadline_does_not_begin(clock: VirtualClock) -> None:
    file = io.BufferedReader(io.BytesIO(b"abc"))
    reader = DeadlineReader(file, Socket(None), None, Transmission(clock, 0.0, 10.0))
    clock.advance(10.0)
    with pytest.raises(TimeoutError):
        reader.readinto(bytearray(8))
    assert file.read() == b"abc"
