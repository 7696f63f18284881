"""The strict drop-in: everything that `requests` has, and nothing that it would not do."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from typing import Any

import pytest
import requests

import polvo_adapters.requests as dropin
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.testing import FailureServer

OURS = {"Session", "session", "request", "get", "options", "head", "post", "put", "patch", "delete", "sessions", "api"}
PUBLIC = [name for name in dir(requests) if not name.startswith("__")]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_only_ours_differ(name: str) -> None:
    assert (getattr(dropin, name) is getattr(requests, name)) is (name not in OURS)


def test_all_is_that_of_requests() -> None:
    older = dropin.__all__  # releases of requests that do not say
    assert sorted(dropin.__all__) == sorted(getattr(requests, "__all__", older))


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(requests.__path__)])
def test_submodules_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"polvo_adapters.requests.{name}")
    assert module is getattr(dropin, name)
    if name not in OURS:
        assert module is importlib.import_module(f"requests.{name}")


@pytest.mark.parametrize("name", sorted(OURS - {"sessions", "api", "Session"}))
def test_signatures_are_those_of_requests(name: str) -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters]

    assert shape(getattr(dropin, name)) == shape(getattr(requests, name))


def test_the_shown_submodules_have_our_session_and_verbs() -> None:
    assert dropin.sessions.Session is dropin.Session
    assert dropin.api.get is dropin.get
    assert dropin.sessions.SessionRedirectMixin is requests.sessions.SessionRedirectMixin
    with pytest.raises(AttributeError):
        dropin.sessions.nothing  # noqa: B018


def test_patching_a_shown_submodule_reaches_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropin.sessions, "preferred_clock", lambda: 0.0)
    assert requests.sessions.preferred_clock() == 0.0
    monkeypatch.setattr(dropin.sessions, "Session", None)
    assert requests.sessions.Session is not None


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


def test_sessions_are_sessions(server: FailureServer) -> None:
    with dropin.Session() as session:
        assert isinstance(session, requests.Session)
        assert all(isinstance(adapter, ResilientAdapter) for adapter in session.adapters.values())
        copied = pickle.loads(pickle.dumps(session))
        assert copied.get(server.url + "/echo").status_code == 200
    with pytest.raises(TypeError):
        dropin.Session(base_url="http://127.0.0.1/")


def test_verbs_share_connections_and_no_cookies(server: FailureServer) -> None:
    for _ in range(3):
        dropin.get(server.url + "/echo", cookies={"id": "s3cret"})
    dropin.get(server.url + "/echo")
    assert server.open_connections == 1
    assert "cookie" not in server.requests[-1].headers
