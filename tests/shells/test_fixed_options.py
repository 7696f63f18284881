"""What is decided when a session or an adapter is made cannot be assigned later without effect."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.transports import AsyncResilientTransport, ResilientTransport

KINDS = (polvo.Session, polvo.AsyncSession, polvo.ResilientAdapter, ResilientTransport, AsyncResilientTransport)
OPTIONS = sorted(StackOptions.__annotations__)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.__name__)
def test_an_option_that_is_assigned_is_refused_with_the_way_to_say_it(make: Any, name: str) -> None:
    session, kind = make(), make.__name__
    with pytest.raises(AttributeError) as caught:
        setattr(session, name, False)
    way = f" or for one call, by polvo.call({name}=...)" if name in CallOptions.__annotations__ else ""
    assert str(caught.value) == f"{kind}: {name} cannot be set; say it when it is made, by {kind}({name}=...){way}"
    assert not hasattr(session, name)


def test_nor_does_a_session_take_another_store() -> None:
    with pytest.raises(AttributeError, match=r"Session: store cannot be set; .* by Session\(store=\.\.\.\)$"):
        polvo.Session().store = polvo.stores.MemoryStore()  # type: ignore[attr-defined]


class Mine(polvo.Session):
    """A session with attributes of its own, two of which are called like options."""

    def __init__(self) -> None:
        self.regions = ["before"]
        super().__init__(retry=False)
        self.fallback = "its own"


def test_a_subclass_may_have_attributes_of_these_names() -> None:
    session: Any = Mine()
    assert (session.regions, session.fallback) == (["before"], "its own")
    session.fallback = "another"
    assert session.fallback == "another"
    del session.fallback
    assert not hasattr(session, "fallback")
    with pytest.raises(AttributeError):
        del session.fallback


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_class_has_no_default_for_an_option(kind: Any) -> None:
    assert not any(hasattr(kind, name) for name in OPTIONS)
    fields = [("retry", object), ("place", str)]
    made = dataclasses.make_dataclass("Made", fields, bases=(kind,), eq=False, init=True)
    assert [field.default for field in dataclasses.fields(made)] == [dataclasses.MISSING] * 2


def test_sessions_pickle_and_copy_as_before() -> None:
    for session in (pickle.loads(pickle.dumps(polvo.Session())), copy.deepcopy(polvo.Session())):
        assert session.headers["User-Agent"]


def test_what_can_be_assigned_still_can() -> None:
    session: Any = polvo.Session()
    session.auth, session.timeout, session.base_url, session.note = ("u", "p"), 3, "https://api.example.com", "mine"
    assert session.note == "mine"
