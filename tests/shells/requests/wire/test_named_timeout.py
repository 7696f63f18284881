"""No timeout named, none on purpose, and the wrapped adapter's own default are three things."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

import polvo_adapters as polvo
from polvo_adapters.adapters import BreakerAdapter, PolicyAdapter, ResilientAdapter
from polvo_adapters.testing import FailureServer

seen: list[Any] = []
"""The timeouts of the connections that have sent a request."""


class NotingConnection(HTTPConnection):
    """A connection that notes its timeout."""

    def request(self, *args: Any, **keywords: Any) -> None:
        """Send a request."""
        seen.append(self.timeout)
        super().request(*args, **keywords)


class NotingPool(HTTPConnectionPool):
    """A pool of such connections."""

    ConnectionCls = NotingConnection


class Plain(HTTPAdapter):
    """An adapter with such pools."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        """Make a pool manager."""
        super().init_poolmanager(*args, **keywords)
        self.poolmanager.pool_classes_by_scheme = {"http": NotingPool}


class Recipe(Plain):
    """The recipe for a default timeout that is shared most."""

    __attrs__ = [*HTTPAdapter.__attrs__, "timeout"]

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.timeout = keywords.pop("timeout", 7)
        super().__init__(*args, **keywords)

    def send(self, request: Any, **keywords: Any) -> requests.Response:  # type: ignore[override]
        """Send a request with that timeout."""
        if keywords.get("timeout") is None:
            keywords["timeout"] = self.timeout
        return super().send(request, **keywords)


class PrivateRecipe(Plain):
    """The same with a number that is nowhere to be seen."""

    def send(self, request: Any, stream: Any = False, timeout: Any = None, *args: Any, **keywords: Any) -> Any:
        """Send a request with seven seconds."""
        return super().send(request, stream, timeout or 7, *args, **keywords)


class Passing(Plain):
    """An adapter with a `send` that leaves the timeout alone."""

    def send(self, request: Any, **keywords: Any) -> requests.Response:  # type: ignore[override]
        """Send a request."""
        request.headers["X-Passing"] = "1"
        return super().send(request, **keywords)


class Rebased(Plain, ResilientAdapter):
    """The recipe on top of ours, which puts its timeout there first."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.timeout = keywords.pop("timeout", 7)
        super().__init__(*args, **keywords)


class OfTheClass(Plain, ResilientAdapter):
    """A subclass of ours with another default."""

    timeout = 7


class ByProperty(Plain, ResilientAdapter):
    """A subclass of ours that works its default out."""

    @property
    def timeout(self) -> int:  # type: ignore[override]
        """Seven seconds."""
        return 7


class Ours(Plain, ResilientAdapter):
    """A subclass of ours with nothing of its own."""


class WithVerbs(requests.Session):
    """A session as SDKs derive them, which hands on what it is given."""

    def send(self, request: Any, **keywords: Any) -> requests.Response:
        """Send a prepared request."""
        return super().send(request, **keywords)

    def request(self, method: Any, url: Any, **keywords: Any) -> requests.Response:  # type: ignore[override]
        """Send a request."""
        return super().request(method, url, **keywords)


def mount(session: requests.Session, adapter: Any) -> requests.Session:
    session.trust_env = False
    session.mount("http://", adapter)
    return session


SESSIONS: dict[str, Callable[..., requests.Session]] = {
    "mounted": lambda inner, **keywords: mount(requests.Session(), ResilientAdapter(inner=inner, **keywords)),
    "nested": lambda inner, **keywords: mount(
        requests.Session(), ResilientAdapter(inner=BreakerAdapter(inner=inner), **keywords)
    ),
    "installed": lambda inner, **keywords: polvo.install(mount(requests.Session(), inner), **keywords),
    "installed, then mounted": lambda inner, **keywords: mount(polvo.install(requests.Session(), **keywords), inner),
    "pickled": lambda inner, **keywords: pickle.loads(
        pickle.dumps(polvo.install(mount(requests.Session(), inner), **keywords))
    ),
    "copied": lambda inner, **keywords: copy.deepcopy(polvo.install(mount(WithVerbs(), inner), **keywords)),
}
POLICIES: dict[str, dict[str, Any]] = {
    "no deadline": {},
    "a deadline": {"deadline": 3600},
    "a hedge": {"hedge": {"delay": 3600}},
}
CALLS: dict[str, Callable[[requests.Session, str], Any]] = {
    "none named": lambda session, url: session.get(url),
    "none named, sent": lambda session, url: session.send(session.prepare_request(requests.Request("GET", url))),
    "three": lambda session, url: session.get(url, timeout=3),
    "none on purpose": lambda session, url: session.get(url, timeout=None),
    "none on purpose, posted": lambda session, url: session.post(url, data=b"x", timeout=None, allow_redirects=False),
    "none on purpose, sent": lambda session, url: session.send(
        session.prepare_request(requests.Request("GET", url)), timeout=None
    ),
}
EXPECTED = {
    (Plain, "none"): 30,
    (Passing, "none"): 30,
    (Recipe, "none"): 7,
    (PrivateRecipe, "none"): 7,
    (Plain, "purpose"): None,
    (Passing, "purpose"): None,
    (Recipe, "purpose"): 7,  # as bare: that adapter tells them apart no better
    (PrivateRecipe, "purpose"): 7,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("inner", [Plain, Passing, Recipe, PrivateRecipe])
@pytest.mark.parametrize("kind", SESSIONS)
def test_the_timeout_of_an_attempt(kind: str, inner: Any, policies: str, call: str, server: FailureServer) -> None:
    session = SESSIONS[kind](inner(), retry=False, **POLICIES[policies])
    seen.clear()
    for _ in range(3):
        CALLS[call](session, server.url + "/echo")
    expected = 3 if call == "three" else EXPECTED[inner, "purpose" if "purpose" in call else "none"]
    if expected is None and policies == "a deadline":
        assert all(each is None or 3590 < each <= 3600 for each in seen)  # the deadline holds at the socket as well
    else:
        assert seen == [expected] * 3


@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("inner", [Plain, Recipe, PrivateRecipe])
def test_a_timeout_that_the_wrapping_adapter_is_given_comes_first(inner: Any, kind: str, server: FailureServer) -> None:
    session = SESSIONS[kind](inner(), timeout=5)
    seen.clear()
    session.get(server.url + "/echo")
    assert seen == [5]


@pytest.mark.parametrize("fault", ["hang", "drip"])
@pytest.mark.parametrize("keywords", [{}, {"timeout": None}])
@pytest.mark.parametrize("inner", [Plain, Passing, Recipe, PrivateRecipe])
@pytest.mark.parametrize("kind", ["mounted", "nested", "installed"])
def test_a_deadline_holds_whatever_the_timeout(
    kind: str, inner: Any, keywords: Any, fault: str, server: FailureServer
) -> None:
    session = SESSIONS[kind](inner(), deadline=0.2)
    began = time.monotonic()
    with pytest.raises(polvo.DeadlineExceeded):
        session.get(f"{server.url}/fault/{fault}?size=1000&interval=0.05", **keywords)
    assert time.monotonic() - began < 15
    session.close()


@pytest.mark.parametrize("kind", [Rebased, OfTheClass, ByProperty])
@pytest.mark.parametrize("given", [{}, {"inner": Plain}])
def test_a_subclass_keeps_its_timeout(kind: Any, given: Any, server: FailureServer) -> None:
    adapter = kind(**{name: make() for name, make in given.items()})
    for each in (adapter, pickle.loads(pickle.dumps(adapter)), copy.deepcopy(adapter)):
        seen.clear()
        mount(requests.Session(), each).get(server.url + "/echo")
        assert (seen, each.timeout) == ([7], 7)


def test_the_timeout_of_the_wrapped_adapter_is_read_and_written_through_ours() -> None:
    inner = Recipe()
    adapter = ResilientAdapter(inner=inner)
    assert adapter.timeout == 7
    adapter.timeout = 8
    assert (inner.timeout, adapter.timeout) == (8, 8)
    other = ResilientAdapter(inner=inner, timeout=5)
    other.timeout = 4
    assert (inner.timeout, other.timeout) == (8, 4)
    assert ResilientAdapter().timeout == ResilientAdapter(inner=HTTPAdapter()).timeout == 30
    assert PolicyAdapter().timeout is None


def test_the_verbs_that_need_no_session(server: FailureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(session: requests.Session) -> None:
        original(session)
        mount(session, Ours(retry=False))

    original = requests.Session.__init__
    monkeypatch.setattr(requests.Session, "__init__", init)
    seen.clear()
    requests.get(server.url + "/echo", timeout=10)
    requests.get(server.url + "/echo", timeout=None)
    requests.get(server.url + "/echo")
    assert seen == [10, None, 30]


def test_a_redirect_has_the_timeout_of_its_call(server: FailureServer) -> None:
    session = mount(requests.Session(), Ours())
    for keywords, expected in (({}, 30), ({"timeout": None}, None)):
        seen.clear()
        session.get(server.url + f"/fault/redirect?times=1&key={expected}", **keywords)  # type: ignore[arg-type]
        assert seen == [expected] * 2
