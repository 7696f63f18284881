"""The strict drop-in: everything that `requests` has, and nothing that it would not do."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import typing
from abc import ABC
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import requests
import requests.help
from requests.adapters import HTTPAdapter

import polvo_adapters as polvo
import polvo_adapters.requests as dropin
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.testing import FailureServer

VERBS = ("get", "options", "head", "post", "put", "patch", "delete")
OURS: dict[str, set[str]] = {
    "": {"Session", "session", "request", *VERBS, "sessions", "api"},
    "sessions": {"Session", "session"},
    "api": {"request", *VERBS, "sessions"},
}
"""What is not the object of `requests`, by submodule: it is resilient, or leads there."""
OF_THE_MODULE = {
    "__name__",
    "__doc__",
    "__file__",
    "__cached__",
    "__spec__",
    "__loader__",
    "__package__",
    "__builtins__",
}
"""What every module has of its own; those of the drop-in say where it is itself."""
SUBMODULES = [found.name for found in pkgutil.iter_modules(requests.__path__)]
PLACES = ["", *SUBMODULES]


def pair(place: str) -> tuple[ModuleType, ModuleType]:
    """Return a submodule of `requests`, and the same of the drop-in."""
    suffix = f".{place}" if place else ""
    return importlib.import_module(f"requests{suffix}"), importlib.import_module(f"polvo_adapters.requests{suffix}")


NAMES = [(place, name) for place in PLACES for name in dir(pair(place)[0])]


@pytest.mark.parametrize("place", PLACES)
def test_every_name_of_every_module_is_there_and_only_ours_differ(place: str) -> None:
    original, shown = pair(place)
    names = [name for name in dir(original) if name not in OF_THE_MODULE]
    same = {name for name in names if getattr(shown, name) is getattr(original, name)}
    assert set(names) - same - {"__all__"} == OURS.get(place, set())
    assert set(dir(original)) <= set(dir(shown))


def test_there_are_as_many_names_as_that() -> None:
    assert len(NAMES) > 600
    assert len(PLACES) > 15


@pytest.mark.parametrize("place", PLACES)
def test_nothing_that_is_not_resilient_is_left(place: str) -> None:
    original, shown = pair(place)
    plain = [requests.Session, requests.session, requests.request, *(getattr(requests, verb) for verb in VERBS)]
    assert [name for name in dir(original) if any(getattr(shown, name) is each for each in plain)] == []


def test_all_is_that_of_requests() -> None:
    older = dropin.__all__  # releases of requests that do not say
    assert sorted(dropin.__all__) == sorted(getattr(requests, "__all__", older))
    found: dict[str, Any] = {}
    exec("from polvo_adapters.requests import *", found)
    assert found["Session"] is dropin.Session
    assert set(dropin.__all__) <= set(found)


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_can_be_imported(name: str) -> None:
    original, shown = pair(name)
    assert (shown is original) == (name not in OURS)
    if name != "__version__":  # a string, in `requests` too
        assert shown is getattr(dropin, name)
    assert dropin.__version__ == requests.__version__


DEEPER = sorted(name for name in sys.modules if name.startswith("requests.packages"))


@pytest.mark.parametrize("name", [*DEEPER, "requests.packages.urllib3.contrib.socks", "requests.help"])
def test_modules_at_any_depth_can_be_imported(name: str) -> None:
    assert importlib.import_module(f"polvo_adapters.{name}") is importlib.import_module(name)


def test_importing_finds_the_same_in_a_fresh_interpreter() -> None:
    run(
        """
        from polvo_adapters.requests.packages.urllib3.util.retry import Retry
        from polvo_adapters.requests.packages.urllib3.contrib.socks import SOCKSProxyManager
        from polvo_adapters.requests.adapters import HTTPAdapter
        from polvo_adapters.requests.help import info
        import polvo_adapters.requests.packages.urllib3 as urllib3
        import polvo_adapters.requests as requests, requests as original
        import sys, urllib3 as real
        assert Retry is real.util.Retry and urllib3 is real and info is sys.modules["requests.help"].info
        assert requests.__version__ == original.__version__ and isinstance(requests.__version__, str)
        from importlib.util import find_spec
        assert find_spec("polvo_adapters.requests.nothing") is None
        assert find_spec("polvo_adapters.requests.packages.urllib3.contrib.nothing") is None
        try:
            import polvo_adapters.requests.nothing
        except ModuleNotFoundError as error:
            assert "nothing" in str(error)
        else:
            raise AssertionError
        """
    )


def test_reloading_changes_nothing() -> None:
    before = (dropin.Session, dropin.get, dropin.sessions)
    importlib.reload(dropin)
    assert (dropin.Session, dropin.get, dropin.sessions) == before
    assert dropin.codes is requests.codes


def run(program: str) -> None:
    """Run a program in an interpreter of its own, in which it must not fail."""
    command = [sys.executable, "-c", inspect.cleandoc(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["session", "request", *VERBS])
def test_signatures_are_those_of_requests(name: str) -> None:
    assert shape(getattr(dropin, name)) == shape(getattr(requests, name))


@pytest.mark.parametrize("name", [name for name, _ in inspect.getmembers(requests.Session, inspect.isfunction)])
def test_signatures_of_a_session_are_those_of_requests(name: str) -> None:
    assert shape(getattr(dropin.Session, name)) == shape(getattr(requests.Session, name))


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


def test_the_shown_submodules_have_our_session_and_verbs() -> None:
    assert dropin.sessions.Session is dropin.api.sessions.Session is dropin.Session
    assert dropin.api.get is dropin.get
    assert dropin.sessions.SessionRedirectMixin is requests.sessions.SessionRedirectMixin
    with pytest.raises(AttributeError):
        dropin.sessions.nothing  # type: ignore[attr-defined]  # noqa: B018


# Patches: what a test replaces, in the drop-in or in requests, is what the drop-in calls.


def call_get(url: str) -> Any:
    return dropin.get(url)


def call_session(url: str) -> Any:
    return dropin.Session().get(url)


PATCHED: dict[str, Any] = {
    "get": call_get,
    "api.request": call_get,
    "sessions.Session": call_get,
    "Session": call_session,
    "api.sessions.Session": call_get,
    "Session.request": call_get,
    "sessions.Session.request": call_session,
    "Session.send": call_get,
    "sessions.Session.send": call_session,
    "Session.get": call_session,
    "Session.get_adapter": call_session,
    "Session.prepare_request": call_session,
    "sessions.HTTPAdapter": call_get,
    "adapters.HTTPAdapter.send": call_get,
    "sessions.PreparedRequest": call_session,
    "sessions.session": lambda _: dropin.sessions.session(),
    "session": lambda _: dropin.session(),
    "request": lambda url: dropin.request("GET", url),
    "api.get": lambda url: dropin.api.get(url),
    **{verb: lambda url, verb=verb: getattr(dropin, verb)(url) for verb in VERBS},
    "models.PreparedRequest.prepare": call_get,
    "utils.default_headers": lambda _: dropin.utils.default_headers(),
    "exceptions.Timeout": lambda _: dropin.exceptions.Timeout(),
    "Response": lambda _: dropin.Response(),
    "__version__": lambda _: dropin.__version__.upper(),
}


def unreached(server: FailureServer) -> bool:
    return server.counters["received"] == 0


@pytest.fixture
def intact() -> Iterator[None]:
    """Make sure that after a patch all is as it was before."""
    before = {(place, name): getattr(pair(place)[which], name) for which in (0, 1) for place, name in NAMES}
    kinds = (requests.Session, dropin.Session, HTTPAdapter, requests.models.PreparedRequest)
    members = [dict(vars(kind)) for kind in kinds]
    yield
    after = {(place, name): getattr(pair(place)[which], name) for which in (0, 1) for place, name in NAMES}
    assert [key for key in before if before[key] is not after[key]] == []
    assert [dict(vars(kind)) for kind in kinds] == members


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("home", ["requests", "polvo_adapters.requests"])
@pytest.mark.parametrize("target", PATCHED)
def test_a_mock_is_reached(server: FailureServer, home: str, target: str) -> None:
    with mock.patch(f"{home}.{target}") as patched:
        try:
            PATCHED[target](server.url + "/echo")
        except (TypeError, ValueError, AttributeError):
            pass  # mocks of half of what is needed
        assert patched.mock_calls
        assert unreached(server)
    assert dropin.get(server.url + "/echo").polvo.attempts  # type: ignore[attr-defined]


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("home", ["requests", "polvo_adapters.requests"])
@pytest.mark.parametrize("target", PATCHED)
def test_a_monkeypatch_is_reached(
    server: FailureServer, home: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(f"{home}.{target}", lambda *arguments, **_: calls.append(arguments))
        try:
            PATCHED[target](server.url + "/echo")
        except (TypeError, ValueError, AttributeError):
            pass
        assert calls or target == "__version__"
        assert unreached(server)


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("home", ["requests", "polvo_adapters.requests"])
@pytest.mark.parametrize("target", ["get", "api.request", "Session.send", "sessions.Session.request"])
def test_a_mock_with_the_signature_is_reached(server: FailureServer, home: str, target: str) -> None:
    with mock.patch(f"{home}.{target}", autospec=True) as patched:
        dropin.get(server.url + "/echo")
        assert patched.call_count == 1
        assert unreached(server)


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("home", [requests, dropin])
@pytest.mark.parametrize("name", ["get", "Response"])
def test_patches_within_patches(home: Any, name: str) -> None:
    with mock.patch.object(home, name) as outer:
        with mock.patch.object(home, name) as inner:
            assert getattr(dropin, name) is inner
        assert getattr(dropin, name) is outer


def test_the_mocked_session_of_a_verb_is_called_as_by_requests(server: FailureServer) -> None:
    seen = []
    for module in (requests, dropin):
        with mock.patch("requests.sessions.Session") as patched:
            module.put(server.url, data=b"x", timeout=3)
        with mock.patch("requests.Session.request") as request:
            module.put(server.url, data=b"x", timeout=3)
        seen.append((patched.mock_calls, request.mock_calls))
    assert seen[0] == seen[1]


def test_a_foreign_adapter_in_the_place_of_that_of_requests_is_wrapped(server: FailureServer) -> None:
    class Named(HTTPAdapter):
        def send(self, request: Any, **keywords: Any) -> Any:
            request.headers["X-Name"] = "named"
            return super().send(request, **keywords)

    with mock.patch("requests.sessions.HTTPAdapter", Named):
        for get in (dropin.get, dropin.Session().get):
            response: Any = get(server.url + "/echo")
            assert response.json()["headers"]["x-name"] == "named"
            assert response.polvo.attempts


def test_a_class_in_the_place_of_the_session_is_used(server: FailureServer) -> None:
    class Cached(requests.Session):
        pass

    with mock.patch("requests.Session", Cached), mock.patch("requests.sessions.Session", Cached):
        assert type(dropin.Session()) is type(dropin.session()) is Cached
    assert type(dropin.Session()) is dropin.Session


def test_importing_it_below_a_patch() -> None:
    run(
        """
        from unittest import mock
        import requests
        with mock.patch("requests.get") as get, mock.patch("requests.api.request", autospec=True) as request:
            import polvo_adapters.requests as dropin
            dropin.get("http://127.0.0.1:9/")
            dropin.put("http://127.0.0.1:9/")
            assert get.call_count == request.call_count == 1
        assert dropin.get is not requests.get and dropin.request is not requests.request
        """
    )


def test_patching_a_shown_submodule_reaches_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropin.sessions, "preferred_clock", lambda: 0.0)
    assert requests.sessions.preferred_clock() == 0.0
    monkeypatch.setattr(dropin.sessions, "Session", None)
    assert requests.sessions.Session is not None
    monkeypatch.setattr(dropin, "invented", 1, raising=False)
    assert requests.invented == 1  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert not hasattr(requests, "invented")
    assert requests.sessions.preferred_clock() > 0


# Classes


class Sub(dropin.Session):
    """A subclass of a user."""

    def request(self, method: str, url: str, **keywords: Any) -> requests.Response:  # type: ignore[override]
        return super().request(method, url, **keywords)


class AbstractSub(dropin.Session, ABC):
    """A subclass with another base, whose metaclass is that of abstract classes."""


class GenericSub(dropin.Session, typing.Generic[typing.TypeVar("T")]):  # type: ignore[misc]
    """A generic subclass."""


class PlainSub(requests.Session):
    """A subclass of a library."""


class Both(PlainSub, dropin.Session):
    """A subclass of both."""


@pytest.mark.parametrize(
    "kind", [requests.Session, dropin.Session, polvo.Session, Sub, AbstractSub, GenericSub, PlainSub]
)
def test_every_session_is_an_instance(kind: Any) -> None:
    assert issubclass(kind, dropin.Session)
    assert isinstance(kind(), dropin.Session)
    assert isinstance(kind(), dropin.sessions.Session)
    assert isinstance(kind(), requests.Session)


@pytest.mark.parametrize("value", [None, 7, "session", HTTPAdapter(), object()])
def test_nothing_else_is_an_instance(value: Any) -> None:
    assert not isinstance(value, dropin.Session)
    assert not issubclass(type(value), dropin.Session)


def test_a_metaclass_made_as_the_documentation_says() -> None:
    for module in (requests, dropin):
        singleton = type("Singleton", (type(module.Session),), {})
        assert isinstance(singleton("Client", (module.Session,), {})(), requests.Session)


def test_a_method_deleted_from_the_class_of_requests_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("requests.sessions.Session.request")
    with pytest.raises(AttributeError, match="request"):
        dropin.get("http://api.example.com/")


def test_subclasses_have_only_their_own_instances() -> None:
    assert not isinstance(requests.Session(), Sub)
    assert not isinstance(dropin.Session(), Sub)
    assert isinstance(Sub(), Sub)


@pytest.mark.parametrize("kind", [dropin.Session, Sub, AbstractSub, GenericSub, Both])
def test_sessions_are_sessions(server: FailureServer, kind: Any) -> None:
    with kind() as session:
        assert isinstance(session, requests.Session)
        assert all(isinstance(adapter, ResilientAdapter) for adapter in session.adapters.values())
        session.headers["X-Name"] = "kept"
        for copied in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session), copy.copy(session)):
            assert type(copied) is kind
            response = copied.get(server.url + "/echo")
            assert response.json()["headers"]["x-name"] == "kept"
            assert response.polvo.attempts
    with pytest.raises(TypeError):
        kind(base_url="http://127.0.0.1/")


def test_the_class_of_responses_is_that_of_requests(server: FailureServer) -> None:
    for get in (dropin.get, dropin.Session().get, Sub().get):
        response = get(server.url + "/echo")
        assert type(response) is requests.Response is dropin.Response
        assert pickle.loads(pickle.dumps(response)).polvo.attempts


def test_exceptions_are_the_very_same(server: FailureServer) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        dropin.post(server.url + "/fault/reset")
    assert type(caught.value) is dropin.ConnectionError is requests.ConnectionError


def test_statuses_are_returned_and_never_raised(server: FailureServer) -> None:
    for code in (404, 429, 500):
        url = f"{server.url}/fault/status?code={code}&retry_after=7200"
        assert dropin.get(url).status_code == code
        assert dropin.Session().get(url).status_code == code


def test_it_is_resilient_underneath(server: FailureServer) -> None:
    for number, get in enumerate(
        (dropin.get, dropin.session().get, dropin.Session().get, dropin.sessions.Session().get)
    ):
        response: Any = get(f"{server.url}/fault/status?times=2&retry_after=0.01&key={number}")
        assert (response.status_code, len(response.polvo.attempts)) == (200, 3)
        assert isinstance(response, requests.Response)


def test_verbs_share_connections_and_no_cookies(server: FailureServer) -> None:
    for _ in range(3):
        dropin.get(server.url + "/echo", cookies={"id": "s3cret"})
    dropin.get(server.url + "/echo")
    assert server.open_connections == 1
    assert "cookie" not in server.requests[-1].headers


def test_a_stream_can_be_read_after_the_verb_has_returned(server: FailureServer) -> None:
    response = dropin.get(server.url + "/echo?size=200000", stream=True)
    dropin.get(server.url + "/echo")
    assert sum(map(len, response.iter_content(1000))) >= 200_000


# In the place of requests


def test_in_the_place_of_requests_for_code_that_is_imported_afterwards(server: FailureServer) -> None:
    run(
        f"""
        import sys, pickle
        from unittest import mock
        import polvo_adapters.requests
        sys.modules["requests"] = polvo_adapters.requests
        import requests
        import requests.help
        from requests import Session, get
        from requests.adapters import HTTPAdapter
        from requests.packages.urllib3.util.retry import Retry
        from requests.packages.urllib3.exceptions import InsecureRequestWarning
        import polvo_adapters as polvo
        url = "{server.url}/fault/status?times=1&retry_after=0.01&key="
        assert requests.__version__ and requests.help.info()["requests"]
        class Client(requests.Session):
            pass
        for number, call in enumerate((get, requests.get, Session().get, Client().get, requests.session().get)):
            assert len(call(url + str(number)).polvo.attempts) == 2
        assert isinstance(polvo.Session(), requests.Session)
        assert polvo.Session().get(url + "p").status_code == 200
        assert type(pickle.loads(pickle.dumps(Client()))) is Client
        for target in ("get", "api.request", "Session.send", "sessions.Session.request", "adapters.HTTPAdapter.send"):
            with mock.patch("requests." + target) as patched:
                try:
                    requests.get(url)
                except (TypeError, AttributeError):
                    pass
                assert patched.called, target
        """
    )
