"""Files that an earlier version wrote are read: a store's states, and pickles. The modules of that version are found.

`states.sqlite`, `pickles.json`, `more_pickles.json` and `method_pickles.json` (whose pickles name methods and private
functions) were written by commit 9c7c6da, before the modules moved into layers. `modules.txt` lists its modules, and
`names.txt` the names in their `__all__` and in its documentation. They are never written anew.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import pkgutil
import shutil
import sqlite3
from pathlib import Path

import pytest
import requests

import polvo_adapters as polvo
import polvo_adapters.policies
import polvo_adapters.refresh
from polvo_adapters.moved import read_moves
from polvo_adapters.stores import SQLiteStore
from polvo_adapters.stores.codec import decode, encode

HERE = Path(__file__).parent


def texts() -> list[str]:
    with sqlite3.connect(f"file:{HERE / 'states.sqlite'}?mode=ro&immutable=1", uri=True) as connection:
        return [text for (text,) in connection.execute("SELECT state FROM states_1")]


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    path = shutil.copy(HERE / "states.sqlite", tmp_path)
    os.chmod(path, 0o600)
    return SQLiteStore(path)


def test_every_state_is_read_and_written_in_the_form_of_today() -> None:
    for package in (polvo_adapters.policies, polvo_adapters.refresh):  # whoever has a machine has imported its states
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    states = [decode(text) for text in texts()]
    assert len(states) == 14
    assert [decode(encode(state)) for state in states] == states


def test_a_circuit_that_was_open_is_open(store: SQLiteStore) -> None:
    adapter = polvo.BreakerAdapter(failure_threshold=2, store=store)
    status = adapter.circuit("http://localhost:18765").status
    assert (status.state, status.reason) == ("open", "2 failures in a row")


def test_an_operation_that_was_done_is_done(store: SQLiteStore) -> None:
    adapter = polvo.IdempotencyAdapter(record=True, store=store)
    assert adapter.operation("http://127.0.0.1:18765", '"order-1"').state == "done"


PICKLES = {
    name: base64.b64decode(text)
    for file in ("pickles.json", "more_pickles.json", "method_pickles.json")
    for name, text in json.loads((HERE / file).read_text()).items()
}


@pytest.mark.parametrize("name", PICKLES)
def test_every_pickle_is_read_and_written_anew(name: str) -> None:
    value = pickle.loads(PICKLES[name])
    assert type(pickle.loads(pickle.dumps(value))) is type(value)


def test_adapters_that_were_pickled_have_their_policies() -> None:
    adapter = pickle.loads(PICKLES["adapter"])
    assert isinstance(adapter, polvo.ResilientAdapter)
    assert {type(policy).__name__ for policy in adapter.policies} >= {"Deadline", "ExponentialBackoff", "Hedge"}
    kinds = [type(each).__name__ for each in pickle.loads(PICKLES["single"])]
    assert kinds[:3] == ["RetryAdapter", "BreakerAdapter", "RateLimitAdapter"]


def test_errors_that_were_pickled_say_what_they_said() -> None:
    limited, missing, unreachable, late, opened = pickle.loads(PICKLES["errors"])
    assert (type(limited), limited.attempts) == (polvo.RateLimitError, 1)
    assert isinstance(missing, polvo.StatusError)
    assert isinstance(unreachable, requests.ConnectionError)
    assert isinstance(late, polvo.DeadlineExceeded)
    assert isinstance(opened, polvo.CircuitOpenError)


@pytest.mark.parametrize("name", ["vault with a token", "double-o with a token"])
def test_a_credential_that_stayed_behind_is_missed_and_not_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "the token of another")
    monkeypatch.setenv("DOUBLE_O_TOKEN", "the token of another")
    with pytest.raises(polvo.ConfigurationError, match="stayed behind when this was pickled"):
        pickle.loads(PICKLES[name]).fetch("secret/data/app", None)


def test_a_request_that_was_pickled_with_its_hook_keeps_its_header_from_another_origin() -> None:
    response = pickle.loads(PICKLES["redirect with bearer"])
    (hook,) = response.request.hooks["response"]
    response.request.headers["Authorization"] = "Bearer of another day"
    hook(response)
    assert "Authorization" not in response.request.headers


def test_a_token_cache_that_was_pickled_has_its_path_and_its_size() -> None:
    cache = pickle.loads(PICKLES["token cache"])
    assert (cache.path, cache._max_keys) == ("/never/made/tokens.json", 7)


def test_paths_that_documentation_named_lead_to_the_same_objects() -> None:
    for path, name in [
        ("flow", "Call"),
        ("flow", "compose"),
        ("simulate", "VirtualClock"),
        ("simulate", "Timeline"),
        ("events", "Report"),
        ("session", "Session"),
        ("testing.limits", "FixedWindow"),
        ("policies.budget", "RetryBudget"),
        ("tenancy", "tenant"),
    ]:
        module = importlib.import_module(f"polvo_adapters.{path}")
        assert callable(getattr(module, name))
        with pytest.raises(AttributeError, match=r"it is .* now"):
            _ = module.not_there
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("polvo_adapters.never_there")


@pytest.mark.parametrize("name", (HERE / "modules.txt").read_text().split())
def test_every_module_of_before_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


@pytest.mark.parametrize("name", (HERE / "names.txt").read_text().split())
def test_every_name_that_modules_listed_or_documentation_used_is_found(name: str) -> None:
    pkgutil.resolve_name(name)


def test_the_class_of_a_call_in_progress_has_its_name_of_before() -> None:
    from polvo_adapters.adapters import CallStart, LogicalCall

    assert CallStart is LogicalCall
    assert importlib.import_module("polvo_adapters.adapters.policy").CallStart is LogicalCall


def test_every_old_path_leads_to_modules_that_are_there_and_to_the_names_of_today() -> None:
    modules, names = read_moves()
    for old, new in modules.items():
        for each in (old, *new.split()):
            importlib.import_module(f"polvo_adapters.{each}")
    for old, new in names.items():
        path, _, name = old.rpartition(".")
        homes = [importlib.import_module(f"polvo_adapters.{home}") for home in modules[path].split()]
        found = getattr(importlib.import_module(f"polvo_adapters.{path}"), name)
        assert [found] == list({getattr(home, new) for home in homes if hasattr(home, new)})


def test_a_look_at_every_module_imports_nothing() -> None:
    module = importlib.import_module("polvo_adapters.simulate")
    assert not hasattr(module, "__wrapped__")
