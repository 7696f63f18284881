"""An installation lasts: whatever is mounted later is wrapped too, however it is mounted, until `uninstall`."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import requests
import requests_mock
from requests.adapters import HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.testing import FailureServer

FAST: Any = {"base": 0.001, "max_attempts": 3, "budget": None}

_keys = itertools.count()


class Special(HTTPAdapter):
    """An adapter of a caller."""


class Announcing(requests.Session):
    """A session with a `mount` of its own."""

    def mount(self, prefix: Any, adapter: Any) -> None:
        """Mount an adapter, for the prefix in lower case."""
        super().mount(prefix.lower(), adapter)


class LookingUp(requests.Session):
    """A session with a `get_adapter` of its own, which looks among the adapters as well."""

    def get_adapter(self, url: Any) -> Any:
        """Return the adapter for a URL."""
        return super().get_adapter(url)


class MountingPerRequest(requests.Session):
    """A session that mounts a new adapter for every request, as cloudscraper does."""

    def request(self, *args: Any, **keywords: Any) -> requests.Response:  # type: ignore[override]
        """Send a request through an adapter of its own."""
        self.mount("http://", Special())
        return super().request(*args, **keywords)


class AdapterOfItsOwn(requests.Session):
    """A session whose adapters are mounted nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Special()

    def get_adapter(self, url: Any) -> Any:
        """Return the one adapter."""
        return self.own


def by_mount(session: requests.Session, prefix: str, adapter: Any) -> None:
    session.mount(prefix, adapter)


def by_assignment(session: requests.Session, prefix: str, adapter: Any) -> None:
    session.adapters[prefix] = adapter


def by_update(session: requests.Session, prefix: str, adapter: Any) -> None:
    session.adapters.update({prefix: adapter})


def by_the_method_of_the_class(session: requests.Session, prefix: str, adapter: Any) -> None:
    requests.Session.mount(session, prefix, adapter)


def by_another_mapping_method(session: requests.Session, prefix: str, adapter: Any) -> None:
    session.adapters.pop(prefix, None)
    session.adapters.setdefault(prefix, adapter)


WAYS: list[Callable[..., None]] = [
    by_mount,
    by_assignment,
    by_update,
    by_the_method_of_the_class,
    by_another_mapping_method,
]
KINDS: list[Callable[[], requests.Session]] = [requests.Session, Announcing, LookingUp]


def failing(server: FailureServer, times: int = 2) -> str:
    return f"{server.url}/fault/status?times={times}&key={next(_keys)}"


@pytest.mark.parametrize("prefix", ["http://", "https://", "https://api.example.com/", "canned+x://"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_mounted_later_is_wrapped_and_given_back(kind: Any, way: Any, prefix: str) -> None:
    session, bare, special = kind(), kind(), Special()
    polvo.install(session)
    way(session, prefix, special)
    way(bare, prefix, special)
    wrapper: Any = session.adapters[prefix]
    assert type(session) is kind
    assert isinstance(wrapper, ResilientAdapter)
    assert wrapper.inner is special
    assert list(session.adapters) == list(bare.adapters)
    polvo.uninstall(session)
    assert session.adapters[prefix] is special
    assert list(session.adapters) == list(bare.adapters)
    assert type(session.adapters) is OrderedDict


def test_uninstall_gives_back_the_very_mapping_and_the_order() -> None:
    session = requests.Session()
    mapping, before = session.adapters, list(session.adapters.items())
    polvo.uninstall(polvo.install(polvo.install(session), prefix="https://api.example.com/"))
    assert session.adapters is mapping
    assert list(session.adapters.items()) == before
    assert vars(session).keys() == vars(requests.Session()).keys()


@pytest.mark.parametrize("kind", [MountingPerRequest, AdapterOfItsOwn])
def test_a_session_that_finds_its_adapters_in_a_way_of_its_own(kind: Any, server: FailureServer) -> None:
    session = polvo.install(kind(), retry=FAST)
    for _ in range(2):
        response = session.get(failing(server))
        assert (response.status_code, len(response.polvo.attempts)) == (200, 3)
    polvo.uninstall(session)
    assert type(session.get_adapter(server.url)) is Special
    assert session.get(failing(server)).status_code == 503


def test_the_same_adapter_mounted_again_keeps_its_wrapper() -> None:
    session, special = polvo.install(requests.Session()), Special()
    session.mount("https://", special)
    wrapper = session.get_adapter("https://x")
    session.mount("https://", special)
    session.mount("https://", wrapper)
    assert session.get_adapter("https://x") is wrapper


def test_state_outlives_the_adapters_of_single_requests(server: FailureServer) -> None:
    session = polvo.install(MountingPerRequest(), retry=False, circuit_breaker={"failure_threshold": 2})
    for _ in range(2):
        session.get(failing(server, times=9))
    with pytest.raises(polvo.CircuitOpenError):
        session.get(failing(server, times=9))


@pytest.mark.parametrize("act", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy], ids=["pickle", "copy"])
def test_a_copied_session_keeps_the_installation(act: Any, server: FailureServer) -> None:
    session = requests.Session()
    before = list(session.adapters)
    copied = act(polvo.install(session, retry=FAST))
    copied.mount("http://", Special())
    assert len(copied.get(failing(server)).polvo.attempts) == 3
    polvo.uninstall(copied)
    assert (list(copied.adapters), type(copied.get_adapter("http://x"))) == (before, Special)
    assert type(session.get_adapter("http://x").inner) is HTTPAdapter  # type: ignore[attr-defined]


def test_a_copied_mapping_keeps_the_installation_as_it_was() -> None:
    session, other = polvo.install(requests.Session(), prefix="https://api.example.com/"), requests.Session()
    for copied in (session.adapters.copy(), copy.copy(session.adapters)):
        other.adapters = copied
        session.mount("https://api.example.com/v1/", Special())
        assert list(other.adapters) == ["https://api.example.com/", "https://", "http://"]
        other.mount("https://api.example.com/v2/", Special())
        assert isinstance(other.get_adapter("https://api.example.com/v2/"), ResilientAdapter)
        polvo.uninstall(other)
        assert list(other.adapters) == ["https://api.example.com/v2/", "https://", "http://"]
        assert all(not isinstance(each, PolicyAdapter) for each in other.adapters.values())
        del session.adapters["https://api.example.com/v1/"]
    assert isinstance(session.get_adapter("https://api.example.com/"), ResilientAdapter)


def test_a_prefix_covers_what_is_below_it_and_nothing_else() -> None:
    session = polvo.install(requests.Session(), prefix="https://api.example.com/")
    session.mount("https://api.example.com/v2/", Special())
    session.mount("https://other.example.com/", Special())
    kinds = [type(session.get_adapter(f"https://{each}")) for each in ("api.example.com/v2/x", "other.example.com/x")]
    assert issubclass(kinds[0], ResilientAdapter)
    assert kinds[1] is Special


def test_a_prefix_that_was_not_mounted_follows_what_serves_it() -> None:
    session, special = polvo.install(requests.Session(), prefix="https://api.example.com/"), Special()
    session.mount("https://", special)
    assert session.get_adapter("https://api.example.com/x").inner is special  # type: ignore[attr-defined]
    assert session.get_adapter("https://other.example.com/") is special
    assert list(session.adapters) == ["https://api.example.com/", "https://", "http://"]
    polvo.uninstall(session)
    assert list(session.adapters.items())[:1] == [("https://", special)]


def test_two_prefixes_are_two_installations() -> None:
    session = polvo.install(requests.Session(), Deadline(1), prefix="https://a.example.com/")
    polvo.install(session, Deadline(2), prefix="https://b.example.com/")
    for host, seconds in (("a", 1), ("b", 2)):
        session.mount(f"https://{host}.example.com/v1/", Special())
        assert session.get_adapter(f"https://{host}.example.com/v1/x").policies == (Deadline(seconds),)  # type: ignore[attr-defined]
    polvo.install(session, Deadline(3))
    assert {each.policies for each in session.adapters.values()} == {(Deadline(3),)}  # type: ignore[attr-defined]
    polvo.uninstall(session)
    assert all(not isinstance(each, PolicyAdapter) for each in session.adapters.values())


def test_adapters_that_are_closed_or_taken_away_leave_nothing() -> None:
    session, special = polvo.install(requests.Session()), Special()
    session.mount("https://api.example.com/", special)
    assert session.adapters.pop("https://api.example.com/").inner is special  # type: ignore[attr-defined]
    session.close()
    polvo.uninstall(session)
    assert list(session.adapters) == ["https://", "http://"]


def test_mock_libraries_that_take_the_place_of_get_adapter_still_do() -> None:
    for session in (polvo.install(requests.Session()), polvo.install(LookingUp()), polvo.install(AdapterOfItsOwn())):
        with requests_mock.Mocker(session=session) as mocker:
            mocker.get("https://api.example.com/x", text="mocked")
            assert session.get("https://api.example.com/x").text == "mocked"
        polvo.uninstall(session)


def test_one_attempt_for_code_that_retries_by_itself(server: FailureServer) -> None:
    session = polvo.install(requests.Session(), retry=False)
    assert session.get(failing(server, times=9)).status_code == 503
    session.mount("http://", HTTPAdapter())
    assert len(session.get(failing(server, times=9)).polvo.attempts) == 1  # type: ignore[attr-defined]
