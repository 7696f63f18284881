"""Adapters of other projects do under this package what they do without it, request for request."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.testing import FailureServer
from tests.support import foreign_adapters
from tests.support.foreign_adapters import ADAPTERS, log

FAST: Any = {"base": 0.001, "max_attempts": 3, "budget": None}
NO_BASES = (foreign_adapters.Slotted, foreign_adapters.ClassOfTheObject)
"""Adapters that have no subclass without this package either: the second calls itself for ever."""
DERIVED: dict[Any, Any] = {
    each: type(f"Based{each.__name__}", (each, ResilientAdapter), {"__module__": __name__})
    for each in ADAPTERS
    if issubclass(each, HTTPAdapter) and each not in NO_BASES
}
globals().update({each.__name__: each for each in DERIVED.values()})  # so that they pickle


def mounted(adapter: BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    for prefix in ("http://", "canned://"):
        session.mount(prefix, adapter)
    return session


def install(kind: Any) -> requests.Session:
    return polvo.install(mounted(kind()), retry=FAST)


def mount_later(kind: Any) -> requests.Session:
    session = polvo.install(requests.Session(), deadline=60)
    session.trust_env = False
    session.mount("http://", kind())
    return session


WAYS: dict[str, Callable[[Any], requests.Session]] = {
    "inner": lambda kind: mounted(ResilientAdapter(inner=kind())),
    "inner of no policies": lambda kind: mounted(PolicyAdapter(inner=kind())),
    "inner of two": lambda kind: mounted(ResilientAdapter(inner=ResilientAdapter(inner=kind()), deadline=60)),
    "installed": install,
    "mounted later": mount_later,
    "as a base class": lambda kind: mounted(DERIVED[kind]()),
}


def combine(ways: Iterable[str]) -> list[Any]:
    """Return each adapter with each way, but not as a base class where it is none that can stand beside ours."""
    return [
        pytest.param(kind, way, id=f"{kind.__name__}-{way}")
        for kind in ADAPTERS
        for way in ways
        if way != "as a base class" or kind in DERIVED
    ]


def run(session: requests.Session, server: FailureServer, **keywords: Any) -> list[Any]:
    """Return what three requests and a POST look like from both sides."""
    session.headers.clear()
    seen: list[Any] = []
    for number in range(4):
        del log[:]
        before = len(server.requests)
        method, data = ("POST", b"body") if number == 3 else ("GET", None)
        response = session.request(method, server.url + "/echo", data=data, **keywords)
        at_server = [(each.method, each.path, dict(each.headers), each.body) for each in server.requests[before:]]
        seen.append((response.status_code, response.text, type(response).__name__, at_server, list(log)))
    session.close()
    return seen


def is_own_class(name: str) -> bool:
    return name not in ("Response", "requests.Response")


def compare(seen: list[Any], bare: list[Any], kind: Any) -> None:
    for one, other in zip(seen, bare, strict=True):
        assert (one[0], one[3]) == (other[0], other[3])
        assert one[1] == other[1]
        if is_own_class(other[2]):
            assert one[2] == other[2]
        # The class, where the object is of a class derived from it.
        assert [str(each).removeprefix("Based") if isinstance(each, str) else each for each in one[4]] == other[4], kind


@pytest.mark.parametrize(("kind", "way"), combine(WAYS))
def test_an_adapter_does_what_it_does_without_us(kind: Any, way: str, server: FailureServer) -> None:
    foreign_adapters.RotatingSettings.count = 0
    bare = run(mounted(kind()), server)
    foreign_adapters.RotatingSettings.count = 0
    compare(run(WAYS[way](kind), server), bare, kind)


@pytest.mark.parametrize(("kind", "way"), combine(["inner", "installed", "as a base class"]))
def test_the_same_through_a_proxy(kind: Any, way: str, server: FailureServer) -> None:
    foreign_adapters.RotatingSettings.count = 0
    proxies = {"http": server.url}
    bare = run(mounted(kind()), server, proxies=proxies)
    foreign_adapters.RotatingSettings.count = 0
    compare(run(WAYS[way](kind), server, proxies=proxies), bare, kind)


@pytest.mark.parametrize(
    "kind", [each for each in ADAPTERS if each is not foreign_adapters.Caching], ids=lambda kind: kind.__name__
)
def test_each_attempt_begins_with_the_request_of_the_caller(kind: Any, server: FailureServer) -> None:
    session = install(kind)
    for number in range(2):
        before = len(server.requests)
        response = session.put(f"{server.url}/fault/status?times=2&key={number}&x=/echo", data=b"body")
        attempts = [(each.method, each.path, dict(each.headers), each.body) for each in server.requests[before:]]
        assert (response.status_code, attempts) == (200, attempts[:1] * len(attempts))
    session.close()


def test_a_repeat_has_the_key_of_the_operation(server: FailureServer) -> None:
    session = polvo.install(mounted(foreign_adapters.Signing()), retry=FAST, idempotency=True)
    assert session.post(server.url + "/fault/status?times=2&key=1", data=b"x").status_code == 200
    keys = [each.headers.get("idempotency-key") for each in server.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]
    session.close()


@pytest.mark.parametrize("act", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy], ids=["pickle", "copy"])
@pytest.mark.parametrize(("kind", "way"), combine(["inner", "installed", "as a base class"]))
def test_a_copy_has_what_the_copy_of_the_bare_adapter_has(kind: Any, way: str, act: Any, server: FailureServer) -> None:
    try:
        bare = act(kind())
    except Exception as error:  # noqa: BLE001 - some cannot be copied
        bare = error
    session = WAYS[way](kind)
    if isinstance(bare, Exception):
        with pytest.raises(type(bare)):
            act(session)
        return
    copied: Any = act(session).get_adapter("http://")
    assert isinstance(copied, kind)
    for name, value in vars(bare).items():
        if isinstance(value, (str, int, tuple)):
            assert getattr(copied, name) == value


@pytest.mark.parametrize("way", ["inner", "installed"])
@pytest.mark.parametrize("kind", ADAPTERS, ids=lambda kind: kind.__name__)
def test_code_that_knows_the_adapter_finds_it(kind: Any, way: str) -> None:
    adapter: Any = WAYS[way](kind).get_adapter("http://")
    inner: Any = adapter.inner
    assert isinstance(adapter, kind)
    assert isinstance(adapter, ResilientAdapter)
    for name in {*vars(inner), *dir(kind)} - set(dir(ResilientAdapter)):
        if name.startswith("__"):
            continue
        assert getattr(adapter, name) == getattr(inner, name)
    for name in foreign_adapters.OwnContext.__dict__.keys() | {"request_url", "build_response", "cert_verify"}:
        if not name.startswith("__") and hasattr(inner, name):
            assert getattr(adapter, name) == getattr(inner, name)
    if kind is foreign_adapters.Slotted:  # shares no attributes with a view, and so has its own
        return
    for name in ("a_new_one", "_a_private_one", "poolmanager", "max_retries", "_pool_maxsize", "build_response"):
        value = object() if name != "max_retries" else 3
        setattr(adapter, name, value)
        assert getattr(inner, name) is getattr(adapter, name) is value
    del adapter.a_new_one
    assert not hasattr(inner, "a_new_one")


def _replace(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        below = getattr(owner, name)

        def replaced(*args: Any, **keywords: Any) -> Any:
            log.append(name)
            return below(*args, **keywords)

        monkeypatch.setattr(owner, name, replaced)

    return patch


PATCHES: dict[str, Any] = {
    **{
        f"{owner.__name__}.{name}": _replace(owner, name)
        for owner, names in (
            (HTTPAdapter, ("get_connection_with_tls_context", "build_connection_pool_key_attributes")),
            (HTTPAdapter, ("cert_verify", "request_url", "add_headers", "build_response", "send")),
            (
                urllib3.PoolManager,
                ("connection_from_host", "connection_from_context", "connection_from_pool_key", "_merge_pool_kwargs"),
            ),
            (requests.adapters, ("_urllib3_request_context",)),
            (urllib3.HTTPConnectionPool, ("urlopen", "_get_conn", "_put_conn")),
        )
        for name in names
    }
}


@pytest.mark.parametrize("way", ["inner", "installed", "as a base class"])
@pytest.mark.parametrize("patch", PATCHES)
def test_what_is_patched_after_the_first_request_is_called_from_the_next(
    patch: str, way: str, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [mounted(HTTPAdapter()), WAYS[way](foreign_adapters.PassingOver)]
    for session in sessions:
        assert session.get(server.url + "/echo").status_code == 200
    PATCHES[patch](monkeypatch)
    seen = []
    for session in sessions:
        del log[:]
        for _ in range(2):
            assert session.get(server.url + "/echo").status_code == 200
        seen.append(list(log))
        session.close()
    assert seen[0] == seen[1]
    assert seen[0]


@pytest.mark.parametrize("name", ["get_connection_with_tls_context", "request_url", "build_response", "send"])
@pytest.mark.parametrize("way", ["inner", "installed", "as a base class"])
def test_what_is_patched_in_the_mounted_object_is_called(name: str, way: str, server: FailureServer) -> None:
    session = WAYS[way](foreign_adapters.PassingOver)
    session.get(server.url + "/echo")
    adapter: Any = session.get_adapter(server.url)
    with mock.patch.object(adapter, name, wraps=getattr(adapter, name)) as patched:
        session.get(server.url + "/echo")
        session.get(server.url + "/echo")
        assert patched.call_count == 2
        assert getattr(adapter, name) is patched
    session.get(server.url + "/echo")
    assert patched.call_count == 2
    session.close()
